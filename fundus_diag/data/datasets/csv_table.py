"""Any table of pictures, read through a mapping of its columns and values."""

import re
from pathlib import Path

from fundus_diag.data.datasets.descriptions import find_file, section
from fundus_diag.data.labels import EYE_WORDS, nfc
from fundus_diag.data.paths import NO_FILE, inside, not_there, wrong_path
from fundus_diag.data.tables import TextTable, read_table
from fundus_diag.utils.errors import DataError


def csv_rows(root: Path, description: dict, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of a table through the mapping of its columns and values."""
    text = read_table(table or find_file(root, description, "tables"), strict=False)
    columns = section(description, "columns")
    values = {
        name: {str(given).lower(): meant for given, meant in meanings.items()}
        for name, meanings in description.get("values", {}).items()
    }
    values["eye"] = EYE_WORDS | values.get("eye", {})
    meta, notes = {}, []
    for name in ("image", "patient", "eye", "split", "age", "sex"):
        rule, required = columns.get(name, ""), name in ("image", "patient")
        if isinstance(rule, str):
            meta[name] = _cells(text, rule, required)
        else:
            meta[name] = _parts(text, name, rule, description["path"], notes)
        if name in values:
            meta[name] = _translate(text, name, meta[name], values[name])
    graded = _grades(text, description["grades"]) if "grades" in description else {}
    for label, rule in description.get("labels", {}).items() if not graded else ():
        cells = _cells(text, rule["column"], required=not rule.get("optional", False))
        given = {str(value).lower(): 1.0 for value in rule["positive"]}
        given |= {str(value).lower(): 0.0 for value in rule["negative"]}
        if any(cells):
            graded[label] = _translate(text, label, cells, given | {"": None})
    if not graded:
        raise DataError(f"{text.path}: no label that {description['path']} names")
    rows = []
    for i, line in enumerate(text.lines):
        row = {name: cells[i] for name, cells in meta.items()}
        if isinstance(columns.get("patient"), str) and columns["patient"] and not row["patient"]:
            raise DataError(f"{text.path} line {line}: no patient")
        row["image"], left_out = _located(text, line, root, row["image"])
        row["patient"] = description["patient_prefix"] + nfc(row["patient"] or row["image"])
        row["age"] = _number(text, line, row["age"])
        row |= {label: cells[i] for label, cells in graded.items()}
        if "grades" in description and row["grade_0"] is None:
            left_out = "no grade"
        rows.append(row | {"where": f"line {line}", "left_out": left_out})
    return {
        "rows": rows,
        "labels": list(graded),
        "source": text.path,
        "image_root": root,
        "notes": notes,
    }


def _located(text, line, root, image):
    """(path of the picture as it is on the disk, why its row is left out or None)."""
    path, wrong = inside(root, image), wrong_path(image)
    missing = None if wrong else not_there(path)
    if missing and missing != NO_FILE:
        wrong = missing
    if wrong:
        raise DataError(f"{text.path} line {line}: image {image!r} {wrong}")
    return path.relative_to(root).as_posix(), "picture missing" if missing else None


def _parts(text: TextTable, name: str, rule: dict, path: Path, notes: list) -> list[str]:
    """What a pattern finds in the cells of a column: its group of that name, else its first.

    A cell that does not fit gives "", and a note says how many do not.
    """
    pattern = re.compile(rule["pattern"], re.IGNORECASE)
    if not pattern.groups:
        raise DataError(f"{path}: the pattern of {name} has no group: put the part in brackets")
    group = name if name in pattern.groupindex else 1
    cells = _cells(text, rule["column"], required=True)
    found = [pattern.fullmatch(nfc(cell)) for cell in cells]
    strange = [cell for cell, match in zip(cells, found, strict=True) if not match]
    if strange:
        notes.append(f"{len(strange)} rows do not fit the pattern of {name} ({strange[0]!r})")
    return [(match[group] or "").strip() if match else "" for match in found]


def _cells(text: TextTable, column: str, required: bool) -> list[str]:
    """Cells of a column, or of a text with columns in braces; empty where there is no column."""
    if "{" in column:
        names = re.findall(r"{([^{}]+)}", column)
        parts = {name: text.column(name) for name in names}
        return [
            re.sub(r"{([^{}]+)}", lambda m, i=i: parts[m.group(1)][i], column)
            for i in range(len(text.lines))
        ]
    if column and (required or text.has(column)):
        return text.column(column)
    return [""] * len(text.lines)


def _translate(text, name, cells, meanings):
    meanings = {"": ""} | meanings
    for line, cell in zip(text.lines, cells, strict=True):
        if nfc(cell).lower() not in meanings:
            raise DataError(
                f"{text.path} line {line}: {name} {cell!r} has no meaning in the mapping"
            )
    return [meanings[nfc(cell).lower()] for cell in cells]


def _grades(text, rule):
    """One column per grade; a row without a grade is NaN in all of them."""
    order = [str(value).lower() for value in rule["values"]]
    cells = _translate(text, "grade", text.column(rule["column"]), {v: v for v in order})
    return {
        f"grade_{k}": [float(cell == value) if cell else None for cell in cells]
        for k, value in enumerate(order)
    }


def _number(text, line, cell):
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        raise DataError(f"{text.path} line {line}: age {cell!r} is not a number") from None
