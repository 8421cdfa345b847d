"""Manifests of data sets as they are published.

What is known about a data set (origin, licence, where its files lie, what its words mean) stands in
`data_manifests/<name>.toml`; how its kind of file is read stands in the builders, one function
each: `f(root, description, labels, table, out)` gives the rows of the manifest.
"""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pandas as pd

from fundus_diag.manifest import from_table, summary, write_manifest
from fundus_diag.sources.files import csv_rows, folder_rows
from fundus_diag.sources.grades import retinamnist_rows
from fundus_diag.sources.odir import odir_rows
from fundus_diag.tables.rules import EYES, LABEL_NAME, LABELS, META, SPLITS, row_problems, task_of
from fundus_diag.utils.errors import DataError, UsageError

# name: (builder, values of --labels, the first one is the default)
BUILDERS = {
    "odir5k": (odir_rows, ("eye", "patient")),
    "retinamnist": (retinamnist_rows, ("grade", "odir")),
    "folders": (folder_rows, ("own", "odir")),
    "csv": (csv_rows, ("own", "odir")),
}


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
        name: one of BUILDERS.
        root: folder of the data set as it was published.
        out: the manifest. The pictures of retinamnist are written into a folder beside it.
        labels: odir5k: "eye" (from the diagnostic keywords) or "patient" (as published);
            retinamnist: "grade" or "odir"; folders, csv: "own" (what the mapping names) or "odir".
            "odir" gives the eight columns of ODIR, empty where the data set does not grade them.
        mapping: TOML file to use in place of `data_manifests/<name>.toml`.
        table: the data set's table, where it is not where the description says.

    Returns:
        {"out", "image_root": the root for the manifest's pictures, "rows", "patients", "left_out":
        {reason: rows}, "notes": [line, ..], "licence", "splits": see `manifest.summary`}.

    Raises:
        UsageError: no such data set or labels.
        DataError: files are missing or wrong, or no row is left.
    """
    if name not in BUILDERS:
        raise UsageError(f"no data set {name!r}: choose from {', '.join(BUILDERS)}")
    builder, choices = BUILDERS[name]
    labels = labels or choices[0]
    if labels not in choices:
        raise UsageError(f"--labels {labels}: {name} has {' and '.join(choices)}")
    root, out = Path(root), Path(out)
    if not root.is_dir():
        raise DataError(f"{root}: not a folder")
    description = describe(name, mapping)
    try:
        built = builder(root, description, labels, table and Path(table), out)
    except (KeyError, TypeError, AttributeError, re.error) as error:
        if mapping is None:
            raise
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"{mapping}: not a mapping of {name} ({what})") from error
    kept = [row for row in built["rows"] if row["left_out"] is None]
    left_out = Counter(row["left_out"] for row in built["rows"] if row["left_out"])
    if not kept:
        reasons = ", ".join(f"{count} rows: {reason}" for reason, count in left_out.items())
        raise DataError(f"{built['source']}: no row is left ({reasons or 'nothing found'})")
    frame = _frame(kept, built, labels, description)
    write_manifest(frame, out)
    manifest = from_table(frame, out)
    return {
        "out": str(out),
        "image_root": str(built["image_root"]),
        "rows": len(frame),
        "patients": int(frame["patient"].nunique()),
        "left_out": dict(left_out),
        "notes": built["notes"],
        "licence": description["licence"],
        "splits": summary(frame, manifest.labels),
    }


def describe(name: str, mapping: Path | None = None) -> dict:
    """The description of a data set: its TOML file as a dict.

    Raises:
        DataError: the file is missing or no TOML, or lacks what every description has.
    """
    path = Path(mapping) if mapping else descriptions_dir() / f"{name}.toml"
    try:
        description = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file: {error}".replace("\n", " ")) from error
    # What a user's own mapping need not say.
    defaults = {"title": path.stem, "dataset": "", "patient_prefix": "", "licence": "not stated"}
    return {**defaults, "path": path, **description}


def descriptions_dir() -> Path:
    """The folder of the descriptions: in the installed package, or beside it in the repository."""
    installed = Path(__file__).parent / "data_manifests"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "data_manifests"


def _frame(rows, built, labels, description):
    columns = list(built["labels"])
    if labels == "odir":
        strange = [label for label in columns if label not in LABELS]
        if strange:
            raise UsageError(f"--labels odir: {strange[0]!r} is no label of ODIR")
        columns = list(LABELS)
    for label in columns:
        if label in META or not LABEL_NAME.fullmatch(label):
            raise DataError(f"{description['path']}: {label!r} cannot be the name of a label")
    task_of(description["path"], columns)
    frame = pd.DataFrame(rows)
    frame["dataset"] = description["dataset"]
    problems = row_problems(frame["line"], frame)
    for name, allowed in (("eye", EYES), ("split", (*SPLITS, ""))):
        if name in frame:
            wrong = frame[~frame[name].isin(allowed)]
            problems += [(line, f"{name} {v!r}") for line, v in wrong[["line", name]].to_numpy()]
    if problems:
        line, what = problems[0]
        raise DataError(f"{built['source']} line {line}: {what}")
    filled = (frame.notna() & (frame != "")).any()
    meta = [c for c in META if c in ("image", "patient", "eye") or filled.get(c, False)]
    frame = frame.reindex(columns=meta + columns)
    return frame.astype({label: "float32" for label in columns})
