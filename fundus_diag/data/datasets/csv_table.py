"""Any table of pictures, read through a mapping of its columns and values."""

from dataclasses import replace
from pathlib import Path

from fundus_diag.data.datasets import values
from fundus_diag.data.datasets.descriptions import find_file
from fundus_diag.data.datasets.lookup import Lookup, stem_of
from fundus_diag.data.datasets.masks import mask_columns
from fundus_diag.data.datasets.schema import Description, GradeRule
from fundus_diag.data.labels import EYE_WORDS, SPLIT_WORDS, nfc
from fundus_diag.data.paths import NO_FILE, not_there, wrong_path
from fundus_diag.data.patients import is_nobody
from fundus_diag.data.tables import Form, read_table
from fundus_diag.utils.errors import DataError, counted

META = ("image", "patient", "eye", "split", "age", "sex")
MISSING = "picture missing"


def csv_rows(root: Path, description: Description, labels: str, table: Path | None, out: Path):
    """Rows of a table through the mapping of its columns and values."""
    form = description.table
    header = None if form.header is None else tuple(x for x in form.header if x)
    text = read_table(
        table or find_file(root, description, "tables"),
        strict=False,
        form=Form(form.delimiter, form.encoding, form.sheet, header),
    )
    _check_columns(text, description)
    text, rows = _without(text, description)
    notes, nobody = [], 0
    meta = {name: _meta(text, name, description, notes) for name in META}
    graded = _graded(text, description, labels)
    lookup = Lookup(root, description.files.folders)
    masks = mask_columns(root, description) if labels == "masks" else None
    for i, line in enumerate(text.lines):
        row = {name: found[i] for name, found in meta.items()}
        row["image"], left_out = _located(text, line, lookup, row["image"])
        if is_nobody(row["patient"]):
            nobody, row["patient"] = nobody + 1, ""
        row["patient"] = description.patient_prefix + nfc(row["patient"] or row["image"])
        row |= {label: given[i] for label, given in graded.items()}
        if "grade_0" in graded and row["grade_0"] is None:
            left_out = left_out or "no grade"
        if masks:
            row |= masks(stem_of(row["image"]), row)
        rows.append(row | {"where": f"line {line}", "left_out": left_out})
    if nobody:
        notes.append(f"{counted(nobody, 'row')} with nobody for a patient: each is one of its own")
    return {
        "rows": rows,
        "labels": list(graded),
        "source": text.path,
        "image_root": root,
        "notes": notes,
    }


def _check_columns(text, description):
    """Raises DataError that names every column which the mapping needs and the table lacks."""
    rules = [description.columns.get("image"), description.columns.get("patient")]
    rules += [x for x in description.columns.values() if x.pattern is not None]
    rules += [rule for rule in description.labels.values() if not rule.optional]
    if isinstance(description.grades, GradeRule):
        rules.append(description.grades)
    rules += description.leave_out.values()
    missing = {}
    for rule in filter(None, rules):
        lacking = [x for x in rule.column if x and "{" not in x and not text.has(x)]
        if len(lacking) == len(rule.column):  # of several the first that is filled counts
            missing |= dict.fromkeys(lacking)
    if missing:
        names = ", ".join(map(repr, missing))
        raise DataError(f"{text.path}: no column {names} (it has {', '.join(text.columns[:20])})")


def _without(text, description):
    """(the table without the rows that `leave_out` names, these rows with the reason)."""
    reasons = [None] * len(text.lines)
    for reason, rule in description.leave_out.items():
        named = set(map(values.plain, rule.values))
        for i, cell in enumerate(values.cells(text, rule)[0]):
            if (values.plain(cell) in named) if named else cell:
                reasons[i] = reasons[i] or reason
    image = description.columns.get("image")
    names = values.cells(text, image)[0] if image else [""] * len(reasons)
    left = [
        {"image": names[i], "where": f"line {text.lines[i]}", "left_out": reason}
        for i, reason in enumerate(reasons)
        if reason
    ]
    kept = [i for i, reason in enumerate(reasons) if not reason]
    rows, lines = [text.rows[i] for i in kept], [text.lines[i] for i in kept]
    return replace(text, rows=rows, lines=lines), left


def _meta(text, name, description, notes):
    """What stands in the column of a name, "" (ages NaN) where it says nothing."""
    rule = description.columns.get(name)
    if rule is None or rule.column == [""]:
        if name == "image":
            raise DataError(f"{description.path}: [columns] does not say where the image stands")
        found, strange = [""] * len(text.lines), []
    else:
        required = name in ("image", "patient") or rule.pattern is not None
        found, strange = values.cells(text, rule, required, name)
    if strange:
        notes.append(
            f"{counted(len(strange), 'row')} not of the pattern of {name} ({strange[0]!r})"
        )
    if name == "age":
        years, odd = values.ages(found)
        if odd:
            notes.append(f"{counted(len(odd), 'age')} left out, no number of years ({odd[0]!r})")
        return years
    meanings = {
        "eye": EYE_WORDS,
        "split": SPLIT_WORDS,
    }.get(name, {}) | description.values.get(name, {})
    if name in ("eye", "split") or name in description.values:
        found = [x or "" for x in values.translated(text, name, found, meanings)]
    if name == "split" and description.split:
        found = [x or description.split for x in found]
    return found


def _graded(text, description, labels):
    """{label: [1.0, 0.0 or None]} of the columns that `labels` asks for."""
    if labels == "masks":
        return {}
    rule, graded = description.grades, {}
    own = description.labels if labels != "grade" else {}
    if isinstance(rule, GradeRule) and (labels == "grade" or labels == "odir" or not own):
        found, _ = values.cells(text, rule)
        graded = values.grades(text, rule, found)
    for label, one in own.items():
        found, _ = values.cells(text, one, required=not one.optional)
        if any(found):
            graded[label] = values.label(text, label, one, found)
    if not graded:
        raise DataError(f"{text.path}: no label that {description.path} names")
    return graded


def _located(text, line, lookup, image):
    """(path of the picture as it is on the disk, why its row is left out or None)."""
    found = lookup.find(image)
    path = found or image.replace("\\", "/")
    wrong = None if found else wrong_path(path)
    missing = None if wrong else not_there(lookup.root / path)  # what is found may be unreadable
    if missing and missing != NO_FILE:
        wrong = missing
    if wrong:
        raise DataError(f"{text.path} line {line}: image {image!r} {wrong}")
    return path, MISSING if missing else None
