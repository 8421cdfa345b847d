"""ODIR-5K: labels of eyes out of the diagnostic keywords, by the challenge's rules.

The rules are data and stand in the description: an eye has every disease that one of its keywords
stands for; it is normal if it has none and is called so; remarks on the picture say nothing. So
read, the labels of both eyes together are the patient's published labels for 2,870 of the 2,871
patients.
"""

import os
import re
from collections import Counter
from pathlib import Path

from fundus_diag.data.datasets.descriptions import find_file
from fundus_diag.data.findings import find, phrases_of, read_vocabulary
from fundus_diag.data.labels import EYES, HEALTHY, OTHER
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError


def odir_rows(root: Path, description, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of the table as on Kaggle (a row per eye) or of the challenge (a row per patient)."""
    text = read_table(table or find_file(root, description, "tables"), strict=False)
    columns = {name: rule.column for name, rule in description.columns.items()}
    for name in ("id", "age", "sex", "row"):
        (columns[name],) = columns[name]
    rules, prefix = description.keywords, description.patient_prefix
    by_eye = text.has(columns["row"])
    needed = [columns["id"], columns["age"], columns["sex"], *columns["left"], *columns["right"]]
    needed += [columns["row"]] if by_eye else []
    needed += description.eye_labels if labels == "patient" else []
    cells = {name: text.column(name) for name in needed}
    where = locate(root, description.files.folders)
    unknown: Counter[str] = Counter()
    strangers: Counter[str] = Counter()
    rows, words = [], read_vocabulary() if labels == "findings" else None
    for i, line in enumerate(text.lines):
        eyes = {eye: [cells[name][i] for name in columns[eye]] for eye in EYES}
        if by_eye:
            name = cells[columns["row"]][i]
            eyes = {eye: pair for eye, pair in eyes.items() if pair[0] == name}
            if len(eyes) != 1:
                raise DataError(f"{text.path} line {line}: {name!r} is neither eye of its row")
        for eye, (name, keywords) in eyes.items():
            found = eye_labels(keywords, rules, unknown)
            row = {
                "image": where.get(name, name),
                "patient": prefix + cells[columns["id"]][i],
                "eye": eye,
                "age": _age(text, line, cells[columns["age"]][i]),
                "sex": cells[columns["sex"]][i].lower(),
                "where": f"line {line}",
                "left_out": None,
            }
            if not found:
                row["left_out"] = "no diagnosis, only remarks on the picture"
            elif name not in where:
                row["left_out"] = "picture missing"
            phrases = phrases_of(keywords) if words else ()
            written = {x: find(words, x) for x in phrases}
            row |= {x.phrase: 1.0 for x in written.values() if x and x.label}
            strange = [x for x, known in written.items() if not known and x not in words.unmapped]
            strangers.update(strange)
            if strange and not row["left_out"]:
                row["left_out"] = "a finding that the vocabulary does not know"
            for label in () if words else description.eye_labels:
                given = cells[label][i] if labels == "patient" else str(int(label in found))
                if given not in ("0", "1"):
                    raise DataError(f"{text.path} line {line}: {label} is {given!r}, not 1 or 0")
                row[label] = float(given)
            rows.append(row)
    notes = [
        f"keyword {word!r} is not known: counted as {OTHER}, {n} eyes"
        for word, n in unknown.items()
    ]
    names = description.eye_labels
    if words:
        notes = [f"finding {x!r} is not in the vocabulary, {n} eyes" for x, n in strangers.items()]
        names = [x for x in words.finding if any(x in row for row in rows if not row["left_out"])]
        rows = [dict.fromkeys(names, 0.0) | row for row in rows]
    return {
        "rows": rows,
        "labels": names,
        "source": text.path,
        "image_root": root,
        "notes": notes,
    }


def eye_labels(keywords: str, rules: dict, unknown: Counter | None = None) -> set[str]:
    """Labels of an eye; empty for an eye of which only remarks on the picture are known.

    Args:
        keywords: as published, parted by commas.
        rules: the table `keywords` of the description.
        unknown: counts the keywords that no rule names.
    """
    found, normal = set(), False
    for word in re.split("|".join(map(re.escape, rules["separators"])), keywords):
        word = word.strip().lower()
        if not word or word in rules["remarks"]:
            continue
        if word in rules["normal"]:
            normal = True
            continue
        named = [k for k, texts in rules["contains"].items() if any(t in word for t in texts)]
        found.update(named or [OTHER])
        if not named and unknown is not None and word not in rules["other"]:
            unknown[word] += 1
    return found or ({HEALTHY} if normal else set())


def locate(root: Path, folders: list[str]) -> dict[str, str]:
    """File name -> path relative to the root; of a name in several folders the first one counts."""
    where: dict[str, str] = {}
    for folder in folders:
        try:
            with os.scandir(root / folder) as entries:
                names = [entry.name for entry in entries if entry.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"{root / folder}: cannot be read: {error.strerror}") from error
        for name in names:
            where.setdefault(name, name if folder == "." else f"{folder}/{name}")
    return where


def _age(text, line, cell):
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        raise DataError(f"{text.path} line {line}: age {cell!r} is not a number") from None
