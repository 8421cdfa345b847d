"""`thresholds.json` of a run: calibration and operating points, checked when read."""

from pathlib import Path

from fundus_diag.metrics.thresholds import parse_criterion
from fundus_diag.utils import files
from fundus_diag.utils.errors import DataError, UsageError


def save_operating_points(path, points):
    """Writes thresholds.json: whole or not at all."""
    _check_points(path, points)
    files.write_json(path, points)


def load_operating_points(path):
    """Reads thresholds.json; everything in it is checked. Raises DataError with one line."""
    path = Path(path)
    points = files.read_json(path)
    _check_points(path, points)
    return points


def _check_points(path, points):
    """Raises DataError unless `points` has the shape that `fit_operating_points` gives."""

    def need(fine, what):
        if not fine:
            raise DataError(f"{path}: {what}")

    need(isinstance(points, dict), "not an object")
    for key in ("split", "criterion"):
        need(isinstance(points.get(key), str), f"{key} is not a text")
    try:
        need(points["criterion"] == "argmax" or parse_criterion(points["criterion"]), "")
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error
    need(isinstance(points.get("labels"), dict) and points["labels"], "labels is not an object")
    if "temperature" in points:
        need(_number(points["temperature"], 1e-6, 1e6), "temperature is not a number above 0")
    for label, entry in points["labels"].items():
        where = f"label {label[:40]!r}"
        need(isinstance(entry, dict), f"{where} is not an object")
        fine = entry.get("threshold", 0) is None or _number(entry.get("threshold"), 0, 1)
        need(fine, f"{where}: threshold is neither null nor in [0, 1]")
        need(_number(entry.get("slope"), 1e-300, 1e6), f"{where}: slope is not a number above 0")
        need(_number(entry.get("intercept"), -1e6, 1e6), f"{where}: intercept is not a number")
        for key in ("positives", "negatives"):
            count = entry.get(key)
            fine = isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**53
            need(fine, f"{where}: {key} is not a count")


def _number(value, low, high):
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and low <= value <= high
