"""Manifests of data sets as they are published.

What is known about a data set (origin, licence, where its files lie, what its words mean) stands in
`data_manifests/<name>.toml`, and nowhere else: another data set is another such file. How a kind of
files is read stands in the readers, one file each: `f(root, description, labels, table, out)` gives
{"rows", "labels", "source": what to name in an error, "image_root", "notes"}; a row holds the
columns of the manifest, `where` it stands in the source ("line 7"), and `left_out`: why, or None.
`strange` may list files that the reader does not know: what no other part takes is counted.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data import patients
from fundus_diag.data.columns import MASK, NO_MASK, about
from fundus_diag.data.datasets.by_path import path_rows
from fundus_diag.data.datasets.csv_table import csv_rows
from fundus_diag.data.datasets.descriptions import NotThere, describe, parts_of
from fundus_diag.data.datasets.folders import folder_rows
from fundus_diag.data.datasets.masks import unseen
from fundus_diag.data.datasets.npz import npz_rows
from fundus_diag.data.datasets.odir import odir_rows
from fundus_diag.data.labels import (
    GRADE,
    HEALTHY,
    LABELS,
    is_healthy,
    is_label,
    nfc,
    task_of,
    wrong_label,
)
from fundus_diag.data.manifest import from_table, summary
from fundus_diag.data.paths import escaped
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import DataError, UsageError, counted

READERS = {
    "csv": csv_rows,
    "files": path_rows,
    "folders": folder_rows,
    "npz": npz_rows,
    "odir": odir_rows,
}
NOT_VERIFIED = (
    "its layout was not seen as published in all parts, see its notes: check what was built"
)


def build(
    name: str,
    root: Path,
    out: Path,
    labels: str | None = None,
    mapping: Path | None = None,
    table: Path | None = None,
    image_root: Path | None = None,
) -> dict:
    """Writes the manifest of a data set.

    Args:
        name: a data set that has a description, `data_manifests/<name>.toml`.
        root: folder of the data set as it was published.
        out: the manifest. Pictures that are published in an archive are written into a folder
            beside it.
        labels: one of the description's `label_choices`, None for the first: "eye" (from diagnostic
            keywords), "patient" (as published), "grade", or "own" (what the description names).
            "odir" gives the eight columns of ODIR, empty where the data set does not grade them.
        mapping: TOML file to use in place of the description.
        table: the data set's table, where it is not where the description says.
        image_root: what the paths of pictures start from: the root, or a folder above it that holds
            other data sets too, for `merge`.

    Returns:
        {"out", "image_root": the root for the manifest's pictures, "rows", "patients", "left_out":
        [line, ..], "notes": [line, ..], "licence", "splits": see `manifest.summary`}.

    Raises:
        UsageError: no such data set or labels, or the image root is not above the root.
        DataError: files are missing or wrong, the description is, or no row is left.
    """
    description = describe(name, mapping)
    choices = description.label_choices
    labels = labels or choices[0]
    if labels not in choices:
        raise UsageError(f"--labels {labels}: {name} has {' and '.join(choices)}")
    root, out = Path(root), Path(out)
    if not os.path.isdir(root):
        raise DataError(f"{root}: not a folder")
    built = _read(description, root, labels, table and Path(table), out)
    if image_root is not None:
        _below(Path(image_root), built)
    kept = [row for row in built["rows"] if row["left_out"] is None]
    if not kept:
        reasons = ", ".join(_left_out(built["rows"]) + built["notes"]) or "nothing found"
        raise DataError(f"{built['source']}: no row is left ({reasons})")
    built["notes"] += unseen(kept)
    frame = _frame(kept, built["labels"], labels, description)
    write_manifest(frame, out, built["source"], [row["where"] for row in kept])
    manifest = from_table(frame, out)
    notes = [] if description.verified else [f"{description.path.name}: {NOT_VERIFIED}"]
    return {
        "out": str(out),
        "image_root": str(built["image_root"]),
        "rows": len(frame),
        "patients": int(frame["patient"].nunique()),
        "left_out": _left_out(built["rows"]),
        "notes": notes + built["notes"] + patients.notes(frame),
        "licence": description.licence,
        "splits": summary(frame, manifest.labels),
    }


def _read(description, root, labels, table, out):
    """What the readers of all parts find, as one; a part whose files are not there is a note."""
    parts = parts_of(description, labels)
    if table is not None and len(parts) > 1:
        raise UsageError(f"--table {table}: {description.path.stem} has several tables")
    found, absent = [], []
    for part in parts:
        if part.reader not in READERS:
            known = ", ".join(READERS)
            raise DataError(f"{description.path}: reader {part.reader!r}: one of {known}")
        try:
            found.append(READERS[part.reader](root, part, labels, table, out))
        except NotThere as error:
            absent.append((error, f" ({part.without})" if part.without else ""))
        except KeyError as error:  # of a reader of one form, which needs keys that others do not
            raise DataError(
                f"{description.path}: not a mapping of {description.path.stem} ({error})"
            ) from error
    if not found:
        raise absent[0][0]
    rows = _once(found)
    return {
        "rows": rows,
        "labels": list(dict.fromkeys(label for one in found for label in one["labels"])),
        "source": found[0]["source"] if len(found) == 1 else root,
        "image_root": found[0]["image_root"],
        "notes": [note for one in found for note in one["notes"]]
        + _strange(rows, found)
        + [f"a part is not there: {error}{without}" for error, without in absent],
    }


def _once(found):
    """The rows of all parts; what one places is not missing in another that reads its table."""
    if len({one["source"] for one in found}) == len(found):
        return [row for one in found for row in one["rows"]]
    placed: dict[tuple, dict] = {}
    for one in found:
        for row in one["rows"]:
            key = (one["source"], row["where"])
            if key not in placed or placed[key]["left_out"] is not None:
                placed[key] = row
    return list(placed.values())


def _strange(rows, found):
    """A line on the files that no part of the data set knows, where there are any."""
    files = dict.fromkeys(image for one in found for image in one.get("strange", []))
    taken = {row["image"] for row in rows}
    strange = [image for image in files if image not in taken]
    if not strange:
        return []
    shown = escaped(strange[0])
    return [f"left out: {len(strange)} files whose path is of no picture here ('{shown}')"]


def _below(image_root, built):
    """Lets the paths start from a folder above the one they start from."""
    whole, part = os.path.abspath(image_root), os.path.abspath(built["image_root"])
    if not os.path.isdir(whole) or os.path.commonpath([whole, part]) != whole:
        raise UsageError(f"--image-root {image_root}: no folder that holds {built['image_root']}")
    at = os.path.relpath(part, whole).replace(os.sep, "/")
    built["image_root"] = image_root
    for row in built["rows"] if at != "." else ():
        image, patient = row["image"], row.get("patient", "")
        row["image"] = f"{at}/{image}"
        if patient.endswith(nfc(image)):  # nobody is known: called as the picture
            row["patient"] = patient.removesuffix(nfc(image)) + nfc(row["image"])
        for name in row:
            if name.startswith(MASK) and row[name] not in ("", NO_MASK):
                row[name] = f"{at}/{row[name]}"


def _left_out(rows):
    """A line for each reason: how many rows, and one of them."""
    reasons: dict[str, list] = {}
    for row in rows:
        if row["left_out"]:
            reasons.setdefault(row["left_out"], []).append(row)
    return [
        f"{counted(len(found), 'row')}, {reason} "
        f"(such as {escaped(found[0]['image'])!r}, {found[0]['where']})"
        for reason, found in reasons.items()
    ]


def _frame(rows, columns, labels, description):
    """The manifest's table, with what it calls the label of no disease (`healthy`) called N."""
    frame, healthy = pd.DataFrame(rows), description.healthy
    if labels == "odir" and description.odir:
        frame, columns = _odir(frame, columns, description)
    elif healthy and healthy not in columns:
        raise DataError(f"{description.path}: healthy = {healthy!r} is none of the labels")
    elif healthy and not is_healthy(healthy):
        if HEALTHY in columns:
            raise DataError(
                f"{description.path}: healthy = {healthy!r}, and {HEALTHY} is a label too"
            )
        columns = [HEALTHY if label == healthy else label for label in columns]
        frame = frame.rename(columns={healthy: HEALTHY})
    if labels == "odir":
        strange = [label for label in columns if label not in LABELS]
        if strange:
            raise UsageError(f"--labels odir: {strange[0]!r} is no label of ODIR")
        columns = list(LABELS)
    for label in columns:
        if about([label]):
            raise DataError(f"{description.path}: {label!r} cannot be the name of a label")
        if not is_label(label):
            raise DataError(f"{description.path}: {wrong_label(label)}")
    task_of(description.path, columns)
    frame["dataset"] = description.dataset
    filled = (frame.notna() & (frame != "")).any()
    needed = ("image", "patient", "eye")
    others = [c for c in about(frame.columns) if c in needed or filled.get(c, False)]
    frame = frame.reindex(columns=others + columns)
    return frame.astype({label: "float32" for label in columns})


def _odir(frame, columns, description):
    """(table with ODIR's labels, which of them) by the rules of `[odir]`.

    A label is 1 where any of the set's own labels that stand for it is, 0 where all of them are
    and those that leave it `unknown` too, else not graded; or 1 from a grade on.
    """
    grades = [label for label in columns if GRADE.fullmatch(label)]
    for label, rule in description.odir.items():
        missing = [x for x in rule.any + rule.unknown if x not in columns]
        if missing or (rule.grade is not None and not grades) or not (rule.any or rule.grade):
            what = f"{missing[0]!r} is none of the labels" if missing else "no labels, or no grades"
            raise DataError(f"{description.path}: odir.{label}: {what}")
    given = {}
    for label, rule in description.odir.items():
        if rule.grade is not None:
            values = frame[grades].to_numpy(float)
            one = values[:, rule.grade :].sum(axis=1) == 1
            known = ~np.isnan(values).any(axis=1)
        else:
            values = frame[rule.any].to_numpy(float)
            one = (values == 1).any(axis=1)
            known = one | (frame[rule.any + rule.unknown].to_numpy(float) == 0).all(axis=1)
        given[label] = np.where(known, one.astype(float), np.nan)
    rest = frame.drop(columns=[label for label in columns])
    return rest.assign(**given), [label for label in LABELS if label in given]
