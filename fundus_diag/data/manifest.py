"""Manifests: one table of photographs, their patients and what is known about each of them.

A manifest is a CSV file with the columns `image, patient, eye, split`, optionally `age, sex,
dataset`; every other column is a label. A label is 1, 0 or empty, and empty means not graded: it
is NaN from here on. Columns `grade_0 .. grade_k` are exclusive grades instead of labels.

What may stand in it is one set of rules (`columns.parse`): what is written (`write.write_manifest`)
passes them as what is read does.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fundus_diag.data import patients
from fundus_diag.data.columns import about, parse, raise_first
from fundus_diag.data.labels import SPLITS, nfc, task_of
from fundus_diag.data.pairing import pair_table, without_healthy
from fundus_diag.data.paths import NO_FILE, inside, not_there, wrong_path
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError, UsageError, shortened


@dataclass(frozen=True)
class Manifest:
    """A checked table of photographs, one row each.

    Attributes:
        table: the columns that are no labels (text; age is a float, NaN where unknown) and
            one float32 column of 1, 0 and NaN per label.
        labels: the label columns, in the order of the file.
        path: the file, or None for a table that was made here.
        sha256: of the file's bytes, or None.
        task: "grade" where the labels are grade_0 .. grade_k, else "multi_label".
    """

    table: pd.DataFrame
    labels: tuple[str, ...]
    path: Path | None
    sha256: str | None
    task: str


def read_manifest(
    path: Path,
    need_labels: bool | None = True,
    need_split: bool = False,
    keep_split: bool = True,
) -> Manifest:
    """Reads and checks a manifest.

    Args:
        path: a CSV file, UTF-8.
        need_labels: with False the table may lack labels, rows may lack their grade, and a column
            that holds anything but 1, 0 and nothing is left out instead of refused. None: True
            where the table has labels, else False.
        need_split: whether every row must stand in train, val or test.
        keep_split: with False the column `split` is not looked at, whatever stands in it.

    Raises:
        DataError: the first mistake, with its line and column, and how many more there are.
    """
    manifest, problems = examine(path, need_labels, need_split, keep_split)
    raise_first(problems)
    return manifest


def read_photographs(path: Path) -> Manifest:
    """A manifest without its labels: their columns are not looked at.

    Raises:
        DataError: see `read_manifest`.
    """
    text = read_table(path)
    manifest, problems = _examine(text.only(set(about(text.columns)).__contains__), False, False)
    raise_first(problems)
    return manifest


def examine(
    path: Path,
    need_labels: bool | None = True,
    need_split: bool = False,
    keep_split: bool = True,
) -> tuple[Manifest, list[str]]:
    """Like `read_manifest`, but returns all mistakes in rows; what they touch is empty or NaN.

    Raises:
        DataError: the file cannot be read as a table, or its columns are wrong.
    """
    text = read_table(path)
    if not keep_split:
        text = text.only(lambda name: name != "split")
    if need_labels is None:
        _, labels, _ = parse(text, need_labels=False, need_split=False)
        need_labels = bool(labels)
    return _examine(text, need_labels, need_split)


def _examine(text, need_labels, need_split):
    table, labels, problems = parse(text, need_labels, need_split)
    found = [shortened(f"{text.path} line {text.lines[i]}: {what}") for i, what in problems]
    task = task_of(text.path, labels)
    return Manifest(table, labels, text.path, text.sha256, task), found


def from_table(table: pd.DataFrame, path: Path | None = None) -> Manifest:
    """A manifest of a table that was made here: all columns but those of `about` are labels."""
    labels = tuple(name for name in table.columns if name not in about(table.columns))
    return Manifest(table.reset_index(drop=True), labels, path, None, task_of(path, labels))


def resolve_images(manifest: Manifest, image_root: Path, missing_ok: bool = False) -> list[Path]:
    """The path of every picture, in the order of the rows.

    No path in the table may leave the root by itself. A link that somebody put inside the root is
    followed wherever it leads: the owner of the folder made it, not the author of the table.
    Of a picture that is there and cannot be read, whoever opens it says why.

    Args:
        manifest: table with image.
        image_root: folder that the paths start from.
        missing_ok: whether the files may be missing, for who reads them and names all bad ones.

    Raises:
        DataError: the root is no folder, a path leads out of it, or pictures are missing (the
            first of them, and how many).
    """
    root = Path(image_root)
    if not os.path.isdir(root):
        raise DataError(f"{root}: the image root is not a folder")
    paths, missing = [], []
    for image in manifest.table["image"]:
        paths.append(inside(root, image))
        if paths[-1] is None:
            raise DataError(f"{manifest.path}: image {image!r} {wrong_path(image)}")
        if not missing_ok and not_there(paths[-1]) == NO_FILE:
            missing.append(image)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        names = ", ".join(missing[:3])
        raise DataError(f"{manifest.path}: no such picture under {root}: {names}{more}")
    return paths


def for_run(manifest: Manifest, labels: Sequence[str], split: str | None = None) -> Manifest:
    """The rows of a manifest that are asked for, with the labels that a run knows, in its order.

    Columns of other labels stay in the table: a patient's grade depends on all grades of the eyes.
    A run of an older version may hold a name that is not in NFC: it keeps it.

    Raises:
        UsageError: the table has no such split.
    """
    table = manifest.table
    if split is not None and split not in set(table.get("split", ())):
        raise UsageError(f"--split {split}: {manifest.path} has no row in it")
    if split is not None:
        table = table[table["split"] == split].reset_index(drop=True)
    known = tuple(x for x in labels if nfc(x) in manifest.labels)
    table = table.rename(columns={nfc(x): x for x in known if nfc(x) != x})
    return dataclasses.replace(manifest, table=table, labels=known)


def without(manifest: Manifest, labels: Sequence[str]) -> Manifest:
    """A manifest without some of its labels.

    Raises:
        UsageError: it has no such label, or no other.
    """
    for label in labels:
        if label not in manifest.labels:
            raise UsageError(f"--without-labels {label}: {manifest.path} has no such label")
    left = tuple(x for x in manifest.labels if x not in labels)
    if not left:
        raise UsageError(f"--without-labels: {manifest.path} has no others")
    table = manifest.table.drop(columns=list(labels))
    return dataclasses.replace(manifest, table=table, labels=left)


def check_splits(manifest: Manifest) -> list[str]:
    """Whether there are rows to train on and to choose by; returns warnings, one line each.

    Raises:
        DataError: a row has no split, or train or val has no row.
    """
    table, path = manifest.table, manifest.path
    if "split" not in table or (table["split"] == "").any():
        raise DataError(f"{path}: rows without a split: make one with `fundus-diag manifest split`")
    for split in ("train", "val"):
        if not (table["split"] == split).any():
            raise DataError(f"{path}: no row in split {split!r}")
    warnings = [] if (table["split"] == "test").any() else [f"{path}: no row in split 'test'"]
    return warnings + [f"{path}: {text}" for text in patients.notes(table)]


def check_trainable(manifest: Manifest, unit: str = "eye") -> list[str]:
    """Whether a run can be trained on the table; returns warnings, one line each.

    Args:
        manifest: with splits and labels.
        unit: "eye", or "patient" where both eyes' labels become one.

    Raises:
        DataError: there is no split, train or val has no row, there is no label, or a label has no
            graded row in train.
    """
    table, path = manifest.table, manifest.path
    if not manifest.labels:
        raise DataError(f"{path}: no label column")
    warnings = check_splits(manifest)
    train = table[table["split"] == "train"]
    for label in manifest.labels:
        if train[label].isna().all():
            raise DataError(f"{path}: label {label!r} has no graded row in split 'train'")
    warnings += labels_without_positive(table, manifest.labels, path)
    if unit == "patient" and manifest.task == "multi_label":
        warnings += [f"{path}: {text}" for text in without_healthy(manifest.labels)]
    return warnings


def summary(table: pd.DataFrame, labels: Sequence[str]) -> dict:
    """Counts per split ("all" where the table has none), of rows and patients, and per label.

    Returns:
        {"train": {"rows", "patients", "positives": {label: n}, "negatives", "ungraded"}, ..}.
    """
    split = table["split"] if "split" in table else pd.Series("all", index=table.index)
    present = [name for name in (*SPLITS, "all", "") if (split == name).any()]
    counts = {}
    for name in present:
        rows = table[split == name]
        counts[name] = {
            "rows": len(rows),
            "patients": int(rows["patient"].nunique()),
            "positives": {label: int((rows[label] == 1).sum()) for label in labels},
            "negatives": {label: int((rows[label] == 0).sum()) for label in labels},
            "ungraded": {label: int(rows[label].isna().sum()) for label in labels},
        }
    return counts


def pair_eyes(manifest: Manifest) -> Manifest:
    """One row per patient: patient, image_left, image_right, split, age, sex, dataset, labels.

    An eye without a picture is "". How labels of two eyes become the patient's: see
    `pairing.pair_table`.

    Raises:
        DataError: a patient has two pictures of one eye, or a picture of neither.
    """
    pairs = pair_table(manifest.table, manifest.labels, manifest.task, manifest.path)
    return dataclasses.replace(manifest, table=pairs)


def labels_without_positive(table: pd.DataFrame, labels: tuple[str, ...], path: Path) -> list[str]:
    """One line for each split that has rows, of the labels without a positive in it."""
    splits = table["split"] if "split" in table else pd.Series("", index=table.index)
    lines = []
    for split in (*SPLITS, ""):
        rows = table[splits == split]
        where = f"in split {split!r}" if split else "in the rows without a split"
        empty = [x for x in labels if not (rows[x] == 1).any()] if len(rows) else []
        named = ", ".join(map(repr, empty))
        if len(empty) == 1:
            lines.append(f"{path}: label {named} has no positive {where}")
        elif empty:
            lines.append(f"{path}: labels {named} have no positive {where}")
    return lines
