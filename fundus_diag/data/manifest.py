"""Manifests: one table of photographs, their patients and what is known about each of them.

A manifest is a CSV file with the columns `image, patient, eye, split`, optionally `age, sex,
dataset`; every other column is a label. A label is 1, 0 or empty, and empty means not graded: it
is NaN from here on. Columns `grade_0 .. grade_k` are exclusive grades instead of labels.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fundus_diag.data.columns import META, parse, wrong_path
from fundus_diag.data.labels import SPLITS, task_of
from fundus_diag.data.pairing import pair_table
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import write_text


@dataclass(frozen=True)
class Manifest:
    """A checked table of photographs, one row each.

    Attributes:
        table: the columns of META that the file has (text; age is a float, NaN where unknown) and
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


def read_manifest(path: Path, need_labels: bool = True, need_split: bool = False) -> Manifest:
    """Reads and checks a manifest.

    Args:
        path: a CSV file, UTF-8.
        need_labels: with False the table may lack labels, rows may lack their grade, and a column
            that holds anything but 1, 0 and nothing is left out instead of refused.
        need_split: whether every row must stand in train, val or test.

    Raises:
        DataError: the first mistake, with its line and column, and how many more there are.
    """
    manifest, problems = examine(path, need_labels, need_split)
    _raise_first(problems)
    return manifest


def read_photographs(path: Path) -> Manifest:
    """A manifest without its labels: columns outside META are not looked at.

    Raises:
        DataError: see `read_manifest`.
    """
    text = read_table(path)
    kept = [at for at, name in enumerate(text.columns) if name in META]
    columns = tuple(text.columns[at] for at in kept)
    rows = [[row[at] for at in kept] for row in text.rows]
    text = dataclasses.replace(text, columns=columns, rows=rows)
    table, labels, problems = parse(text, need_labels=False, need_split=False)
    _raise_first([f"{text.path} line {line}: {what}" for line, what in problems])
    return Manifest(table, labels, text.path, text.sha256, "multi_label")


def examine(
    path: Path, need_labels: bool = True, need_split: bool = False
) -> tuple[Manifest, list[str]]:
    """Like `read_manifest`, but returns all mistakes in rows; what they touch is empty or NaN.

    Raises:
        DataError: the file cannot be read as a table, or its columns are wrong.
    """
    text = read_table(path)
    table, labels, problems = parse(text, need_labels, need_split)
    found = [f"{text.path} line {line}: {what}" for line, what in problems]
    task = task_of(text.path, labels)
    return Manifest(table, labels, text.path, text.sha256, task), found


def from_table(table: pd.DataFrame, path: Path | None = None) -> Manifest:
    """A manifest of a table that was made here: the columns outside META are its labels."""
    labels = tuple(name for name in table.columns if name not in META)
    return Manifest(table.reset_index(drop=True), labels, path, None, task_of(path, labels))


def resolve_images(manifest: Manifest, image_root: Path, missing_ok: bool = False) -> list[Path]:
    """The path of every picture, in the order of the rows.

    No path in the table may leave the root by itself. A link that somebody put inside the root is
    followed wherever it leads: the owner of the folder made it, not the author of the table.

    Args:
        manifest: table with image.
        image_root: folder that the paths start from.
        missing_ok: whether the files may be missing, for who reads them and names all bad ones.

    Raises:
        DataError: the root is no folder, a path leads out of it, or pictures are missing (the
            first of them, and how many).
    """
    root = Path(image_root)
    if not root.is_dir():
        raise DataError(f"{root}: the image root is not a folder")
    paths, missing = [], []
    for image in manifest.table["image"]:
        wrong = wrong_path(image)
        if wrong:
            raise DataError(f"{manifest.path}: image {image!r} {wrong}")
        paths.append(root / image)
        if not missing_ok and not paths[-1].is_file():
            missing.append(image)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        names = ", ".join(missing[:3])
        raise DataError(f"{manifest.path}: no such picture under {root}: {names}{more}")
    return paths


def for_run(manifest: Manifest, labels: Sequence[str], split: str | None = None) -> Manifest:
    """The rows of a manifest that are asked for, with the labels that a run knows, in its order.

    Columns of other labels stay in the table: a patient's grade depends on all grades of the eyes.

    Raises:
        UsageError: the table has no such split.
    """
    table = manifest.table
    if split is not None and split not in set(table.get("split", ())):
        raise UsageError(f"--split {split}: {manifest.path} has no row in it")
    if split is not None:
        table = table[table["split"] == split].reset_index(drop=True)
    known = tuple(x for x in labels if x in manifest.labels)
    return dataclasses.replace(manifest, table=table, labels=known)


def write_manifest(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as a manifest, in one step: META first, then the labels as 1, 0 or nothing.

    Raises:
        DataError: the file cannot be written.
    """
    labels = [name for name in table.columns if name not in META]
    out = pd.DataFrame({name: table[name] for name in META if name in table.columns})
    if "age" in out:
        out["age"] = [_format_number(age) for age in table["age"]]
    for label in labels:
        out[label] = [_format_number(value) for value in table[label]]
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_text(path, out.to_csv(index=False, lineterminator="\n"))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def check_trainable(manifest: Manifest) -> list[str]:
    """Whether a run can be trained on the table; returns warnings, one line each.

    Raises:
        DataError: there is no split, train or val has no row, there is no label, or a label has no
            graded row in train.
    """
    table, path = manifest.table, manifest.path
    if not manifest.labels:
        raise DataError(f"{path}: no label column")
    if "split" not in table or (table["split"] == "").any():
        raise DataError(f"{path}: rows without a split: make one with `fundus-diag manifest split`")
    for split in ("train", "val"):
        if not (table["split"] == split).any():
            raise DataError(f"{path}: no row in split {split!r}")
    train = table[table["split"] == "train"]
    for label in manifest.labels:
        if train[label].isna().all():
            raise DataError(f"{path}: label {label!r} has no graded row in split 'train'")
    empty = [] if (table["split"] == "test").any() else [f"{path}: no row in split 'test'"]
    return empty + labels_without_positive(table, manifest.labels, path)


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


def _raise_first(problems):
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(problems[0] + more)


def _format_number(value):
    return "" if pd.isna(value) else str(int(value) if float(value).is_integer() else float(value))


def labels_without_positive(table: pd.DataFrame, labels: tuple[str, ...], path: Path) -> list[str]:
    """One line for each split that has rows and each label without a positive in it."""
    splits = table["split"] if "split" in table else pd.Series("", index=table.index)
    lines = []
    for split in (*SPLITS, ""):
        rows = table[splits == split]
        where = f"in split {split!r}" if split else "in the rows without a split"
        for label in labels if len(rows) else ():
            if not (rows[label] == 1).any():
                lines.append(f"{path}: label {label!r} has no positive {where}")
    return lines
