"""`thresholds.json` of a run: calibration and operating points, checked when written and read."""

from pathlib import Path

from fundus_diag.runs import schema
from fundus_diag.utils import files


def save_operating_points(path, points):
    """Writes thresholds.json: whole or not at all."""
    schema.check(path, schema.Points, points)
    files.write_json(path, points)


def load_operating_points(path):
    """Reads thresholds.json; everything in it is checked. Raises DataError with one line."""
    path = Path(path)
    points = files.read_json(path)
    schema.check(path, schema.Points, points)
    return points


def check_possible(path, labels, criterion):
    """Raises DataError where no thresholds.json of these labels and criterion could be written.

    Said before a training, which would have to end without one.
    """
    point = {"threshold": None, "slope": 1.0, "intercept": 0.0, "positives": 0, "negatives": 0}
    points = {"split": "val", "criterion": criterion, "labels": dict.fromkeys(labels, point)}
    schema.check(path, schema.Points, points)
