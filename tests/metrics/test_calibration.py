import numpy as np
import pytest
from logits import fit, logits_of
from scipy import optimize, special

from fundus_diag.metrics import calibration
from fundus_diag.metrics.calibration import (
    apply_calibration,
    fit_operating_points,
    thresholds_array,
)


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
