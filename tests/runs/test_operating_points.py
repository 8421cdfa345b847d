"""thresholds.json: written, read back, and refused where it is wrong."""

import json

import pytest
from logits import fit, logits_of

from fundus_diag.runs.thresholds import load_operating_points, save_operating_points
from fundus_diag.utils.errors import DataError


def test_operating_points_read_back_as_they_were_written(tmp_path):
    truth, z = logits_of()
    points, _ = fit(truth, z)
    path = tmp_path / "thresholds.json"
    save_operating_points(path, points)
    assert load_operating_points(path) == points
    assert [p.name for p in tmp_path.iterdir()] == ["thresholds.json"]


GOOD = {"threshold": 0.3, "slope": 1.0, "intercept": 0.0, "positives": 3, "negatives": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": "0.3"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"slope": 0}, "slope"),
        ({"slope": -1.0}, "slope"),
        ({"slope": 10**400}, "slope"),
        ({"intercept": None}, "intercept"),
        ({"positives": -1}, "positives"),
        ({"negatives": 2.5}, "negatives"),
    ],
)
def test_an_entry_that_is_wrong_is_named(tmp_path, change, message):
    path = tmp_path / "thresholds.json"
    points = {"split": "val", "criterion": "f1", "labels": {"D": GOOD | change}}
    path.write_text(json.dumps(points))
    with pytest.raises(DataError, match=f"labels.D.{message}: "):
        load_operating_points(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"split": "val", "criterion": "f1", "labels": {}}',
        '{"split": "val", "criterion": "best", "labels": {"D": 1}}',
        '{"split": "val", "criterion": "f1", "labels": {"D": NaN}}',
        '{"split": "val", "criterion": "f1", "labels": {"D": [1]}}',
        '{"split": "val", "criterion": "f1", "temperature": 0, "labels": {"D": {}}}',
    ],
)
def test_a_file_that_is_no_thresholds_file_is_one_line(tmp_path, text):
    path = tmp_path / "thresholds.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"thresholds\.json: ") as caught:
        load_operating_points(path)
    assert "\n" not in str(caught.value)


def test_a_thresholds_file_that_is_missing_is_one_line(tmp_path):
    with pytest.raises(DataError, match="not found"):
        load_operating_points(tmp_path / "thresholds.json")
