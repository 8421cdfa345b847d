import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from fundus_diag.metrics import calibration
from fundus_diag.metrics.calibration import (
    apply_calibration,
    fit_operating_points,
    thresholds_array,
)
from fundus_diag.metrics.thresholds import choose_threshold, parse_criterion
from fundus_diag.runs.thresholds import load_operating_points, save_operating_points
from fundus_diag.utils.errors import DataError, UsageError


def logits_of(n=800, slope=0.6, intercept=-1.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, n)
    return rng.random(n) < special.expit(slope * z + intercept), z


def fit(truth, z, **options):
    y = np.asarray(truth, float)[:, None]
    points = fit_operating_points(y, np.asarray(z)[:, None], ["D"], **options)
    return points, points["labels"]["D"]


def test_calibration_equals_a_general_minimiser_and_finds_the_truth():
    truth, z = logits_of(20_000)
    points, entry = fit(truth, z)
    assert [entry["slope"], entry["intercept"]] == pytest.approx([0.6, -1], abs=0.05)

    def loss(theta):
        u = theta[0] * z + theta[1]
        penalty = calibration.SLOPE_PRIOR * (theta[0] - 1) ** 2 / 2
        return np.logaddexp(0, u).sum() - u[truth].sum() + penalty

    best = optimize.minimize(loss, [1, 0], method="Nelder-Mead", options={"xatol": 1e-7}).x
    assert [entry["slope"], entry["intercept"]] == pytest.approx(best, abs=1e-4)
    p = apply_calibration(z[:, None], points, ["D"])
    assert p.mean() == pytest.approx(truth.mean(), abs=1e-8)


def test_perfect_separation_leaves_finite_numbers_and_a_threshold_between():
    z = np.array([-3.0, -2, -1, 1, 2, 3])
    points, entry = fit(z > 0, z)
    assert 1 < entry["slope"] < 20
    p = apply_calibration(z[:, None], points, ["D"])[:, 0]
    assert p[2] < entry["threshold"] < p[3]


def test_a_ranking_that_is_worse_than_chance_is_not_turned_round():
    truth, z = logits_of()
    points, entry = fit(truth, -z)
    assert entry["slope"] == 1
    assert "not above 0" in entry["note"]
    p = apply_calibration(-z[:, None], points, ["D"])[:, 0]
    assert (np.diff(p[np.argsort(-z)]) >= 0).all()
    assert p.mean() == pytest.approx(truth.mean(), abs=1e-8)


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1], [np.nan] * 3])
def test_a_label_of_one_class_gets_no_threshold_and_no_call(truth):
    points, entry = fit(truth, [0.1, 0.2, 0.3])
    assert entry["threshold"] is None
    assert (entry["slope"], entry["intercept"]) == (1, 0)
    assert np.isnan(thresholds_array(points, ["D"])).all()


def test_ungraded_rows_do_not_move_the_fit():
    truth, z = logits_of(300)
    y = truth.astype(float)
    y[:100] = np.nan
    assert fit(y, z)[1] == fit(truth[100:], z[100:])[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40))
def test_the_threshold_of_best_f1_is_the_best_of_all_by_brute_force(rows):
    truth, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]) / 8
    if truth.all() or not truth.any():
        return

    def f1(t):
        called = p >= t
        return 2 * (called & truth).sum() / (called.sum() + truth.sum())

    t = choose_threshold(truth, p)
    assert f1(t) == pytest.approx(max(f1(x) for x in np.linspace(0, 1, 161)))


@pytest.mark.parametrize("least", [0.5, 0.8, 0.9, 0.99])
def test_asked_sensitivity_and_specificity_are_met_at_the_least_cost(least):
    truth, z = logits_of()
    points, entry = fit(truth, z, criterion=f"sensitivity={least}")
    p = apply_calibration(z[:, None], points, ["D"])[:, 0]
    called = p >= entry["threshold"]
    assert called[truth].mean() >= least
    fewer = p >= np.sort(p[called & truth])[0] + 1e-12  # one positive less
    assert fewer[truth].mean() < least

    entry = fit(truth, z, criterion=f"specificity={least}")[1]
    called = p >= entry["threshold"]
    assert (~called)[~truth].mean() >= least
    more = p >= np.sort(p[~called & truth])[-1]  # one positive more
    assert (~more)[~truth].mean() < least


def test_a_specificity_out_of_reach_gets_the_nearest_threshold():
    truth, p = np.array([True, False, False]), np.array([1.0, 1.0, 0.2])
    t = choose_threshold(truth, p, "specificity", 0.9)
    assert 0.2 < t <= 1


@pytest.mark.parametrize("text", ["f2", "f1=0.3", "sensitivity", "sensitivity=1", "specificity=x"])
def test_a_criterion_that_is_none_is_a_usage_error(text):
    with pytest.raises(UsageError, match="criterion"):
        parse_criterion(text)


def test_the_temperature_of_grades_is_the_one_the_logits_were_scaled_by():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.5, (6000, 4))
    grade = (special.softmax(z, axis=1).cumsum(axis=1) < rng.random((6000, 1))).sum(axis=1)
    y, labels = np.eye(4)[grade], [f"grade_{k}" for k in range(4)]
    points = fit_operating_points(y, 2.5 * z, labels, task="grade")
    assert points["temperature"] == pytest.approx(2.5, rel=0.06)
    p = apply_calibration(2.5 * z, points, labels)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == z.argmax(axis=1)).all()


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
    with pytest.raises(DataError, match=f"label 'D': {message}"):
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
