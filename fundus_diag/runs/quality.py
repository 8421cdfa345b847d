"""`quality.json` of a run: limits that its training photographs keep, and who does not."""

from pathlib import Path

import numpy as np

from fundus_diag.data.labels import EYES
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.imaging.gradability import SHARE, fit_limits, measured, said, why_poor
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.runs import schema
from fundus_diag.runs.contents import QUALITY
from fundus_diag.runs.run_files import read_config
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import read_json, write_json

BATCH = 64
MOST = 2000  # photographs of train that are looked at, evenly over its rows
FINE, POOR = "fine", "poor"


def fit_quality(run_dir, pictures, rows):
    """Writes the limits of the photographs of some rows; returns them.

    Args:
        run_dir: folder of the run.
        pictures: `pictures.Pictures`.
        rows: `inputs.Rows`, of train.
    """
    numbers = np.unique(rows.pictures[rows.pictures >= 0])
    chosen = np.linspace(0, len(numbers) - 1, min(MOST, len(numbers))).round().astype(int)
    values = _measured(pictures, numbers[chosen])
    limits = fit_limits(values)
    record = {"photographs": len(values), "share": SHARE, "limits": limits}
    schema.check(Path(run_dir) / QUALITY, schema.Quality, record)
    write_json(Path(run_dir) / QUALITY, record)
    return limits


def read_limits(run_dir):
    """Limits of a run, or None of one that was trained before there were any.

    Raises:
        DataError: the file is not what `fit_quality` writes.
    """
    path = Path(run_dir) / QUALITY
    if not path.is_file():
        return None
    record = read_json(path)
    schema.check(path, schema.Quality, record)
    return record["limits"]


def judge_of(run_dir):
    """A function of a file to why its photograph is poor by the limits of a run, or "".

    Raises:
        DataError: no finished run is there.
        UsageError: it has no limits.
    """
    config, limits = read_config(run_dir), read_limits(run_dir)
    if limits is None:
        raise UsageError(f"--run {run_dir}: has no limits: it was trained before there were any")
    size, crop = config["image_size"], config["crop"]
    return lambda path: why_poor(load_picture(path, size, crop), limits, crop)


def why_poor_rows(pictures, rows, limits):
    """Why the photographs of rows are poor: (N,) texts, "" where they are not.

    Args:
        pictures: `pictures.Pictures`.
        rows: (N,) numbers of pictures, or (N, 2) of pairs, -1 for a missing eye.
        limits: of `read_limits`.
    """
    numbers, values = np.unique(rows[rows >= 0]), _measured(pictures, rows)
    reasons = [text.decode() for text in said(values, limits).numpy()]
    known = dict(zip(numbers.tolist(), reasons, strict=True))
    return [why_of(known.get(int(k), "") for k in np.atleast_1d(row)) for row in rows]


def why_of(reasons):
    """One text of that of a photograph, or of those of both eyes, left first."""
    reasons = list(reasons)
    if len(reasons) == 1:
        return reasons[0]
    return "; ".join(f"{eye} eye: {x}" for eye, x in zip(EYES, reasons, strict=True) if x)


def _measured(pictures, rows):
    """Measures of the pictures that rows name, each once, in the order of their numbers."""
    numbers = np.unique(rows[rows >= 0])
    batches = scoring_batches(pictures, numbers, BATCH)
    return np.concatenate([measured(batch.numpy(), pictures.crop) for batch in batches])
