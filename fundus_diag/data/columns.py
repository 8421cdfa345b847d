"""What may stand in a manifest, column by column: text becomes values, or the line is named."""

import math
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd

from fundus_diag.data.labels import EYE_VALUES, GRADE, LABEL_NAME, LABELS, SPLITS, task_of
from fundus_diag.data.tables import TextTable
from fundus_diag.utils.errors import DataError

META = ("image", "patient", "eye", "split", "age", "sex", "dataset")

LABEL_VALUES = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "": math.nan}


def parse(
    text: TextTable, need_labels: bool, need_split: bool
) -> tuple[pd.DataFrame, tuple[str, ...], list[tuple[int, str]]]:
    """The table, its labels, and every mistake in a row as (line, what is wrong).

    A cell that is wrong is left as text (image, patient, eye, split) or becomes NaN (age, labels).

    Raises:
        DataError: a column is missing or its name or place is wrong.
    """
    required = ("image", "patient", "eye", "split") if need_split else ("image", "patient", "eye")
    missing = [name for name in required if name not in text.columns]
    if missing:
        raise DataError(f"{text.path}: no column {', '.join(repr(name) for name in missing)}")
    problems: list[tuple[int, str]] = []
    columns: dict[str, object] = {}
    for name in META:
        if name in text.columns:
            columns[name] = _read_meta(text, name, need_split, problems)
    for name in text.columns:
        if name not in META:
            values = _read_label(text, name, need_labels, problems)
            if values is not None:
                columns[name] = values
    labels = tuple(name for name in columns if name not in META)
    if need_labels and not labels:
        raise DataError(f"{text.path}: no label column beside {', '.join(META)}")
    table = pd.DataFrame(columns)
    if task_of(text.path, labels) == "grade":
        _check_grades(text, table[list(labels)].to_numpy(), need_labels, problems)
    problems += row_problems(text.lines, table)
    return table, labels, sorted(problems, key=lambda problem: problem[0])


def wrong_path(image: str) -> str | None:
    """Why the path of a picture cannot be taken, or None."""
    if not image:
        return "is empty"
    if any(ord(character) < 32 for character in image) or len(image) > 1000:
        return "is not the path of a file"
    for flavour in (PurePosixPath, PureWindowsPath):
        path = flavour(image)
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            return "leaves the image root"
    return None


def inside(root: Path, image: str) -> Path | None:
    """Where the picture lies under the root, or None where its path cannot be taken."""
    return None if wrong_path(image) else root / image


def row_problems(lines, table: pd.DataFrame) -> list[tuple[int, str]]:
    """Pictures that stand twice and patients who stand in two splits, as (line, what is wrong)."""
    problems = []
    first_image: dict[str, tuple[int, int]] = {}
    first_split: dict[str, tuple[str, int]] = {}
    splits = table["split"] if "split" in table else [""] * len(table)
    rows = zip(lines, table["image"], table["patient"], splits, strict=True)
    for i, (line, image, patient, split) in enumerate(rows):
        at, before = first_image.setdefault(str(PurePosixPath(image)), (i, line))
        if image and at != i:
            problems.append((line, f"image {image!r} stands already on line {before}"))
        if not patient or split not in SPLITS:
            continue
        before_split, before = first_split.setdefault(patient, (split, line))
        if split != before_split:
            where = f"in {before_split!r} (line {before}) and in {split!r}"
            problems.append((line, f"patient {patient!r} stands {where}"))
    return problems


def _read_meta(text: TextTable, name, need_split, problems):
    cells = text.column(name)
    if name == "age":
        return np.array([_read_age(text, i, cell, problems) for i, cell in enumerate(cells)])
    allowed = {"eye": EYE_VALUES, "split": SPLITS + (() if need_split else ("",))}
    for line, cell in zip(text.lines, cells, strict=True):
        wrong = None
        if name == "image":
            wrong = wrong_path(cell)
        elif name == "patient":
            wrong = None if cell else "is empty"
        elif name in allowed and cell not in allowed[name]:
            wrong = f"is not one of {', '.join(value or 'nothing' for value in allowed[name])}"
        if wrong:
            problems.append((line, f"{name} {cell!r} {wrong}"))
    return np.array(cells, dtype=object)


def _read_age(text, row, cell, problems):
    try:
        age = float(cell) if cell else math.nan
    except ValueError:
        age = math.inf
    if math.isinf(age) or (cell and math.isnan(age)):
        problems.append((text.lines[row], f"age {cell!r} is not a number of years"))
        return math.nan
    return age


def _read_label(text, name, need_labels, problems):
    """(n,) float32, or None for a column that is no label and need not be one."""
    if not LABEL_NAME.fullmatch(name):
        if not need_labels:
            return None
        raise DataError(f"{text.path}: {name!r} cannot be the name of a label")
    cells = text.column(name)
    wrong = [i for i, cell in enumerate(cells) if cell not in LABEL_VALUES]
    if wrong and not need_labels and name not in LABELS and not GRADE.fullmatch(name):
        return None
    for i in wrong:
        problems.append((text.lines[i], f"label {name!r} is {cells[i]!r}, not 1, 0 or nothing"))
    return np.array([LABEL_VALUES.get(cell, math.nan) for cell in cells], "float32")


def _check_grades(text, values, need_labels, problems):
    one = ((values == 1).sum(axis=1) == 1) & ((values == 0).sum(axis=1) == values.shape[1] - 1)
    if not need_labels:
        one |= np.isnan(values).all(axis=1)
    for i in np.flatnonzero(~one):
        problems.append((text.lines[i], "exactly one of the grades must be 1 and the others 0"))
