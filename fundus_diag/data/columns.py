"""What may stand in a manifest, column by column: text becomes values, or the line is named."""

import math
import posixpath
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from fundus_diag.data.labels import (
    EYE_VALUES,
    GRADE,
    LABELS,
    SPLITS,
    is_label,
    nfc,
    task_of,
    wrong_label,
)
from fundus_diag.data.paths import wrong_path
from fundus_diag.data.tables import TextTable
from fundus_diag.utils.errors import DataError

META = ("image", "patient", "eye", "split", "age", "sex", "dataset")
MASK = "mask_"  # a column mask_<name> holds the file that outlines one kind of thing ..
NO_MASK = "none"  # .. or says that somebody looked and there is none; empty: nobody looked

LABEL_VALUES = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "": math.nan}


def about(names: Iterable[str]) -> list[str]:
    """The columns that are no labels, in their order: those of META, then those of masks."""
    names = list(names)
    return [x for x in META if x in names] + [x for x in names if x.startswith(MASK)]


def parse(
    text: TextTable, need_labels: bool, need_split: bool, where: Sequence[str] | None = None
) -> tuple[pd.DataFrame, tuple[str, ...], list[tuple[int, str]]]:
    """The table, its labels, and every mistake in a row as (number of the row, what is wrong).

    A cell that is wrong is left as text (image, patient, eye, split) or becomes NaN (age, labels).
    Names of columns and ids of patients are in NFC; a picture's is as the file has it.

    Args:
        text: what stands in the file.
        need_labels, need_split: see `manifest.read_manifest`.
        where: what to call each row where a mistake names another one; by default "line 7".

    Raises:
        DataError: a column is missing or its name or place is wrong.
    """
    required = ("image", "patient", "eye", "split") if need_split else ("image", "patient", "eye")
    missing = [name for name in required if not text.has(name)]
    if missing:
        raise DataError(f"{text.path}: no column {', '.join(repr(name) for name in missing)}")
    problems: list[tuple[int, str]] = []
    columns: dict[str, object] = {}
    names = list(map(nfc, text.columns))
    others = about(names)
    for name in others:
        columns[name] = _read_meta(text, name, need_split, problems)
    for name in names:
        if name not in others:
            values = _read_label(text, name, need_labels, problems)
            if values is not None:
                columns[name] = values
    labels = tuple(name for name in columns if name not in others)
    if need_labels and not labels:
        raise DataError(f"{text.path}: no label column beside {', '.join(META)}")
    table = pd.DataFrame(columns)
    if task_of(text.path, labels) == "grade":
        _check_grades(table[list(labels)].to_numpy(), need_labels, problems)
    problems += row_problems(where or [f"line {line}" for line in text.lines], table)
    return table, labels, sorted(problems, key=lambda problem: problem[0])


def row_problems(where: Sequence[str], table: pd.DataFrame) -> list[tuple[int, str]]:
    """Pictures that stand twice and patients who stand in two splits.

    Args:
        where: what each row is called, such as "line 7".
        table: a manifest's.

    Returns:
        (number of the row, what is wrong) of each.
    """
    problems = []
    first_image: dict[str, int] = {}
    first_split: dict[str, tuple[str, int]] = {}
    splits = table["split"] if "split" in table else [""] * len(table)
    rows = zip(table["image"], table["patient"], splits, strict=True)
    for i, (image, patient, split) in enumerate(rows):
        before = first_image.setdefault(posixpath.normpath(image), i)
        if image and before != i:
            problems.append((i, f"image {image!r} stands already on {where[before]}"))
        if not patient or split not in SPLITS:
            continue
        before_split, before = first_split.setdefault(patient, (split, i))
        if split != before_split:
            both = f"in {before_split!r} ({where[before]}) and in {split!r}"
            problems.append((i, f"patient {patient!r} stands {both}"))
    return problems


def raise_first(problems: Sequence[str]) -> None:
    """DataError of the first mistake, and how many more there are, where there is any."""
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)


def _read_meta(text: TextTable, name, need_split, problems):
    cells = text.column(name)
    if name == "age":
        return np.array([_read_age(i, cell, problems) for i, cell in enumerate(cells)])
    allowed = {"eye": EYE_VALUES, "split": SPLITS + (() if need_split else ("",))}
    if name == "patient":
        cells = [nfc(cell) for cell in cells]
    for i, cell in enumerate(cells):
        wrong = None
        if name == "image" or (name.startswith(MASK) and cell not in ("", NO_MASK)):
            wrong = wrong_path(cell)
        elif name == "patient":
            # Lines are printed about patients: no id may break them, or steer a terminal.
            control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in cell)
            wrong = "holds control characters" if control else None if cell else "is empty"
        elif name in allowed and cell not in allowed[name]:
            wrong = f"is not one of {', '.join(value or 'nothing' for value in allowed[name])}"
        if wrong:
            problems.append((i, f"{name} {cell!r} {wrong}"))
    return np.array(cells, dtype=object)


def _read_age(row, cell, problems):
    try:
        age = float(cell) if cell else math.nan
    except ValueError:
        age = math.inf
    if math.isinf(age) or (cell and math.isnan(age)):
        problems.append((row, f"age {cell!r} is not a number of years"))
        return math.nan
    return age


def _read_label(text, name, need_labels, problems):
    """(n,) float32, or None for a column that is no label and need not be one."""
    if not is_label(name):
        if not need_labels:
            return None
        raise DataError(f"{text.path}: {wrong_label(name)}")
    cells = text.column(name)
    wrong = [i for i, cell in enumerate(cells) if cell not in LABEL_VALUES]
    if wrong and not need_labels and name not in LABELS and not GRADE.fullmatch(name):
        return None
    for i in wrong:
        problems.append((i, f"label {name!r} is {cells[i]!r}, not 1, 0 or nothing"))
    return np.array([LABEL_VALUES.get(cell, math.nan) for cell in cells], "float32")


def _check_grades(values, need_labels, problems):
    one = ((values == 1).sum(axis=1) == 1) & ((values == 0).sum(axis=1) == values.shape[1] - 1)
    if not need_labels:
        one |= np.isnan(values).all(axis=1)
    for i in np.flatnonzero(~one):
        problems.append((i, "exactly one of the grades must be 1 and the others 0"))
