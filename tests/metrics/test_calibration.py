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
from fundus_diag.metrics.thresholds import choose_threshold
from fundus_diag.utils.errors import UsageError


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


@pytest.mark.parametrize("n", [24, 60])
def test_the_prior_of_the_slope_has_a_variance_of_ten(n):
    """On rows that are all but separated the prior decides: written out here, weight .1 and all."""
    z = np.linspace(-3, 3, n)
    truth = z > 0
    truth[n // 2] = False
    _, entry = fit(truth, z)

    def loss(theta):
        p = special.expit(theta[0] * z + theta[1])
        return -np.log(np.where(truth, p, 1 - p)).sum() + 0.1 * (theta[0] - 1) ** 2 / 2

    best = optimize.minimize(loss, [1, 0], method="Nelder-Mead", options={"xatol": 1e-7}).x
    assert [entry["slope"], entry["intercept"]] == pytest.approx(best, abs=1e-3)


def one_glaucoma(rank=68, n=85):
    """Logits of 85 photographs with one positive, which 67 others are ahead of."""
    z = np.sort(np.random.default_rng(3).normal(-3, 1.2, n))[::-1]
    return np.arange(n) == rank - 1, z


def test_one_positive_that_was_missed_does_not_call_everything():
    truth, z = one_glaucoma()
    points, entry = fit(truth, z)
    p = apply_calibration(z[:, None], points, ["D"])[:, 0]
    assert ((p >= choose_threshold(truth, p)) & ~truth).sum() == 67  # the best F1 of one positive
    assert ((p >= entry["threshold"]) & ~truth).sum() <= 5
    assert entry["note"].startswith("1 positive in val, fewer than 10:")
    assert calibration.notes(points) == [f"label D: {entry['note']}"]


def test_one_positive_that_stands_out_is_found():
    truth, z = one_glaucoma(rank=1)
    points, entry = fit(truth, z)
    called = apply_calibration(z[:, None], points, ["D"])[:, 0] >= entry["threshold"]
    assert called[truth].all()
    assert called.sum() <= 5


@pytest.mark.parametrize("positives", [1, 4, 9, 10])
def test_few_positives_lean_on_the_networks_own_logits_by_their_number(positives):
    """The whole rule by another route: a grid of slopes, every threshold tried."""
    rng = np.random.default_rng(positives)
    z = rng.normal(-1, 1.5, 60)
    truth = np.arange(60) < positives
    z[truth] += 2.0
    points, entry = fit(truth, z)
    lean = 1 - positives / 10

    def loss(theta):
        p = special.expit(theta[0] * z + theta[1])
        prior = 0.1 + (10 - positives) / positives
        return -np.log(np.where(truth, p, 1 - p)).sum() + prior * (theta[0] - 1) ** 2 / 2

    best = optimize.minimize(loss, [1, -2], method="Nelder-Mead", options={"xatol": 1e-8}).x
    assert [entry["slope"], entry["intercept"]] == pytest.approx(best, abs=1e-3)
    p = apply_calibration(z[:, None], points, ["D"])[:, 0]
    likely = (1 - lean) * truth + lean * p

    def f1(t):
        return 2 * likely[p >= t].sum() / (likely.sum() + (p >= t).sum())

    assert f1(entry["threshold"]) == pytest.approx(max(f1(t) for t in p), abs=1e-9)
    assert ("note" in entry) == (positives < 10)


def interval_of_the_slope(truth, z):
    """By the profile of the likelihood: the slopes that lose less than 1.92 from the best."""

    def loss(slope):
        def of(b):
            return np.logaddexp(0, slope * z + b).sum() - (slope * z + b)[truth].sum()

        return optimize.minimize_scalar(of, bounds=(-30, 30), method="bounded").fun

    slopes = np.linspace(-2, 4, 301)
    values = np.array([loss(x) for x in slopes])
    near = slopes[values <= values.min() + 3.841 / 2]
    return near.min(), near.max()


@pytest.mark.parametrize(("gap", "thin"), [(0.3, True), (1.6, False)])
def test_a_slope_whose_interval_reaches_0_is_drawn_towards_the_networks_own(gap, thin):
    rng = np.random.default_rng(4)
    z = rng.normal(-1, 1.0, 80)
    truth = np.arange(80) < 14
    z[truth] += gap
    _, entry = fit(truth, z)
    low, _ = interval_of_the_slope(truth, z)
    assert (low <= 0) == thin
    assert ("the 95 % interval of the slope in val reaches 0" in entry.get("note", "")) == thin
    weight = 1.0 if thin else 0.1

    def loss(theta):
        p = special.expit(theta[0] * z + theta[1])
        return -np.log(np.where(truth, p, 1 - p)).sum() + weight * (theta[0] - 1) ** 2 / 2

    best = optimize.minimize(loss, [1, -2], method="Nelder-Mead", options={"xatol": 1e-8}).x
    assert [entry["slope"], entry["intercept"]] == pytest.approx(best, abs=1e-3)


def test_rows_that_are_separated_are_not_too_thin():
    z = np.linspace(-3, 3, 40)
    assert "note" not in fit(z > 0.5, z)[1]


def test_who_is_referred_has_a_threshold_by_the_criterion():
    """Counted over every cut between two scores of those with the asked sensitivity."""
    rng = np.random.default_rng(2)
    grade = rng.integers(0, 5, 300)
    logits = rng.normal(size=(300, 5)) - 0.7 * np.abs(np.arange(5) - grade[:, None])
    labels, y = [f"grade_{k}" for k in range(5)], np.eye(5)[grade]
    for cut in (None, 3):
        how = {"criterion": "sensitivity=0.9", "task": "grade", "cut": cut}
        points = fit_operating_points(y, logits, labels, **how)
        point, start = points["referable"], 2 if cut is None else cut
        assert (point["cut"], point["criterion"]) == (start, "sensitivity=0.9")
        p = apply_calibration(logits, points, labels)[:, start:].sum(axis=1)
        ill = grade >= start
        assert (point["positives"], point["negatives"]) == (ill.sum(), (~ill).sum())
        found = (p[ill] >= point["threshold"]).mean()
        alarms = (p[~ill] >= point["threshold"]).sum()
        assert found >= 0.9
        assert alarms == min((p[~ill] >= t).sum() for t in p if (p[ill] >= t).mean() >= 0.9)
    with pytest.raises(UsageError, match="--referable-cut 5: a grade from 1 to 4"):
        fit_operating_points(y, logits, labels, task="grade", cut=5)
    two = fit_operating_points(y[:, :2], logits[:, :2], labels[:2], task="grade")
    assert two["referable"]["cut"] == 1


def test_a_label_without_a_positive_in_val_is_said_never_to_be_called():
    points, _ = fit(np.zeros(20), np.arange(20.0))
    (line,) = calibration.notes(points)
    assert line == "label D: no positive in val: no threshold, it is never called"


def test_perfect_separation_leaves_finite_numbers_and_a_threshold_between():
    z = np.array([-3.0, -2, -1, 1, 2, 3])
    points, entry = fit(z > 0, z)
    assert 1 < entry["slope"] < 3
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
