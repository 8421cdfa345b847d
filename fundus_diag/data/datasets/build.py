"""Manifests of data sets as they are published.

What is known about a data set (origin, licence, where its files lie, what its words mean) stands in
`data_manifests/<name>.toml`, and nowhere else: another data set is another such file. How a kind of
files is read stands in the readers, one file each: `f(root, description, labels, table, out)` gives
{"rows", "labels", "source": what to name in an error, "image_root", "notes"}; a row holds the
columns of the manifest, `where` it stands in the source ("line 7"), and `left_out`: why, or None.
"""

import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from fundus_diag.data import patients
from fundus_diag.data.columns import META
from fundus_diag.data.datasets.csv_table import csv_rows
from fundus_diag.data.datasets.descriptions import describe
from fundus_diag.data.datasets.folders import folder_rows
from fundus_diag.data.datasets.npz import npz_rows
from fundus_diag.data.datasets.odir import odir_rows
from fundus_diag.data.labels import HEALTHY, LABELS, is_healthy, is_label, task_of, wrong_label
from fundus_diag.data.manifest import from_table, summary
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import DataError, UsageError

READERS = {"csv": csv_rows, "folders": folder_rows, "npz": npz_rows, "odir": odir_rows}


def build(
    name: str,
    root: Path,
    out: Path,
    labels: str | None = None,
    mapping: Path | None = None,
    table: Path | None = None,
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

    Returns:
        {"out", "image_root": the root for the manifest's pictures, "rows", "patients", "left_out":
        {reason: rows}, "notes": [line, ..], "licence", "splits": see `manifest.summary`}.

    Raises:
        UsageError: no such data set or labels.
        DataError: files are missing or wrong, the description is, or no row is left.
    """
    description = describe(name, mapping)
    choices = description["label_choices"]
    labels = labels or choices[0]
    if labels not in choices:
        raise UsageError(f"--labels {labels}: {name} has {' and '.join(choices)}")
    root, out = Path(root), Path(out)
    if not os.path.isdir(root):
        raise DataError(f"{root}: not a folder")
    if description["reader"] not in list(READERS):
        known = ", ".join(READERS)
        raise DataError(f"{description['path']}: reader {description['reader']!r}: one of {known}")
    try:
        built = READERS[description["reader"]](
            root, description, labels, table and Path(table), out
        )
    except (KeyError, TypeError, AttributeError, re.error) as error:
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"{description['path']}: not a mapping of {name} ({what})") from error
    kept = [row for row in built["rows"] if row["left_out"] is None]
    left_out = Counter(row["left_out"] for row in built["rows"] if row["left_out"])
    if not kept:
        reasons = [f"{count} rows: {reason}" for reason, count in left_out.items()]
        reasons = ", ".join(reasons + built["notes"]) or "nothing found"
        raise DataError(f"{built['source']}: no row is left ({reasons})")
    frame = _frame(kept, built, labels, description)
    write_manifest(frame, out, built["source"], [row["where"] for row in kept])
    manifest = from_table(frame, out)
    return {
        "out": str(out),
        "image_root": str(built["image_root"]),
        "rows": len(frame),
        "patients": int(frame["patient"].nunique()),
        "left_out": dict(left_out),
        "notes": built["notes"] + patients.notes(frame),
        "licence": description["licence"],
        "splits": summary(frame, manifest.labels),
    }


def _frame(rows, built, labels, description):
    """The manifest's table, with what it calls the label of no disease (`healthy`) called N."""
    frame = pd.DataFrame(rows)
    columns, healthy = list(built["labels"]), description.get("healthy", "")
    if healthy and healthy not in columns:
        raise DataError(f"{description['path']}: healthy = {healthy!r} is none of the labels")
    if healthy and not is_healthy(healthy):
        if HEALTHY in columns:
            raise DataError(
                f"{description['path']}: healthy = {healthy!r}, and {HEALTHY} is a label too"
            )
        columns = [HEALTHY if label == healthy else label for label in columns]
        frame = frame.rename(columns={healthy: HEALTHY})
    if labels == "odir":
        strange = [label for label in columns if label not in LABELS]
        if strange:
            raise UsageError(f"--labels odir: {strange[0]!r} is no label of ODIR")
        columns = list(LABELS)
    for label in columns:
        if label in META:
            raise DataError(f"{description['path']}: {label!r} cannot be the name of a label")
        if not is_label(label):
            raise DataError(f"{description['path']}: {wrong_label(label)}")
    task_of(description["path"], columns)
    frame["dataset"] = description["dataset"]
    filled = (frame.notna() & (frame != "")).any()
    meta = [c for c in META if c in ("image", "patient", "eye") or filled.get(c, False)]
    frame = frame.reindex(columns=meta + columns)
    return frame.astype({label: "float32" for label in columns})
