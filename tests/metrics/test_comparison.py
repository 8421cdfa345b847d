"""Paired differences against closed forms, brute force and simulation."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from fundus_diag.metrics.comparison import (
    auc_difference,
    bootstrap_difference,
    by_pairs,
    macro_auc_influence,
    over_runs,
)


def delong(y, first, second):
    """Variance of the difference of two AUCs by the definition: all pairs, one by one."""
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)

    def kernel(score):
        a, b = score[positive][:, None], score[negative][None]
        return (a > b) + 0.5 * (a == b)

    tables = [kernel(first), kernel(second)]
    v10 = np.cov([t.mean(axis=1) for t in tables])
    v01 = np.cov([t.mean(axis=0) for t in tables])
    covariance = v10 / len(positive) + v01 / len(negative)
    return covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]


def scores(seed=0, n=80, ties=False):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.35).astype(float)
    first, second = y + rng.normal(size=(2, n))
    return (y, np.round(first), np.round(second)) if ties else (y, first, second)


@pytest.mark.parametrize("ties", [False, True])
def test_one_label_of_independent_rows_is_delongs_test(ties):
    y, first, second = scores(ties=ties)
    found = auc_difference(y[:, None], first[None, :, None], second[None, :, None], np.arange(80))
    difference = roc_auc_score(y, first) - roc_auc_score(y, second)
    assert found["difference"] == pytest.approx(difference)
    error = np.sqrt(delong(y, first, second))
    assert found["high"] - found["low"] == pytest.approx(2 * 1.959964 * error, rel=1e-5)
    assert found["p"] == pytest.approx(2 * stats.norm.sf(abs(difference) / error))


def test_rows_that_stand_twice_under_one_patient_say_no_more_than_once():
    y, first, second = scores()
    once = auc_difference(y[:, None], first[None, :, None], second[None, :, None], np.arange(80))
    y, first, second = (np.repeat(x, 2) for x in (y, first, second))
    shape = (y[:, None], first[None, :, None], second[None, :, None])
    twice = auc_difference(*shape, np.repeat(np.arange(80), 2))
    assert twice["difference"] == pytest.approx(once["difference"])
    assert twice["p"] == pytest.approx(once["p"], rel=0.1)  # m (m - 1) of twice as many
    apart = auc_difference(*shape, np.arange(160))
    assert apart["p"] < 0.5 * twice["p"]  # as they would if they were of others


def test_the_error_is_that_of_other_samples_of_patients():
    """Of two eyes each, alike, and three labels, one not graded everywhere; two runs and one."""
    rng = np.random.default_rng(0)

    def sample():
        patients = 60
        sick = rng.random((patients, 3)) < 0.4
        y = np.repeat(sick, 2, axis=0).astype(float)
        alike = np.repeat(rng.normal(size=(4, patients, 3)), 2, axis=1)
        noise = 0.5 * rng.normal(size=(4, 2 * patients, 3))
        y[rng.random(2 * patients) < 0.2, 2] = np.nan
        shown = np.nan_to_num(y) + alike + noise
        shown[2] += 0.3 * np.nan_to_num(y)
        return y, shown, np.repeat(np.arange(patients), 2)

    found = []
    for _ in range(400):
        y, shown, patients = sample()
        found.append(auc_difference(y, shown[:2], shown[2:3], patients))
    differences = np.array([x["difference"] for x in found])
    said = np.mean([x["high"] - x["low"] for x in found]) / (2 * 1.959964)
    assert said == pytest.approx(differences.std(ddof=1), rel=0.1)
    inside = [x["low"] < differences.mean() < x["high"] for x in found]
    assert 0.92 < np.mean(inside) < 0.98


def test_labels_that_lack_a_class_are_left_out_and_what_is_alike_differs_by_nothing():
    y, first, _ = scores()
    both = np.stack([y, np.ones(80), np.full(80, np.nan)], axis=1)
    shown = np.stack([first] * 3, axis=1)
    area, influence = macro_auc_influence(both, shown)
    assert area == pytest.approx(roc_auc_score(y, first))
    assert abs(influence.sum()) < 1e-9
    same = auc_difference(both, shown[None], shown[None], np.arange(80))
    assert (same["difference"], same["p"]) == (0, 1)
    nothing = auc_difference(both[:, 1:], shown[None, :, 1:], shown[None, :, 1:], np.arange(80))
    assert np.isnan([nothing["difference"], nothing["p"]]).all()


def test_a_label_of_one_positive_is_in_the_difference_and_takes_its_interval():
    y, first, second = scores()
    rare = np.zeros(80)
    rare[7] = 1
    both = np.stack([y, rare], axis=1)
    shown = [np.stack([x, x[::-1]], axis=1) for x in (first, second)]
    found = auc_difference(both, shown[0][None], shown[1][None], np.arange(80))
    wanted = roc_auc_score(both, shown[0]) - roc_auc_score(both, shown[1])
    assert found["difference"] == pytest.approx(wanted)
    assert np.isnan([found["low"], found["high"], found["p"]]).all()


def test_a_bootstrap_counts_the_resamples_on_the_other_side():
    first = np.arange(100.0)
    found = bootstrap_difference(50.0, 45.0, first, np.full(100, 4.5))
    assert found["difference"] == 5
    assert found["p"] == pytest.approx(2 * 6 / 101)  # 0 to 4 lie below, and one more is counted
    np.testing.assert_allclose(
        [found["low"], found["high"]], np.percentile(first - 4.5, [2.5, 97.5])
    )
    other = bootstrap_difference(45.0, 50.0, np.full(100, 4.5), first)
    assert other["p"] == found["p"]
    assert bootstrap_difference(1, 1, np.ones(9), np.ones(9))["p"] == 1
    undefined = bootstrap_difference(1, 1, np.full(9, np.nan), np.ones(9))
    assert np.isnan([undefined["low"], undefined["p"]]).all()


def test_paired_differences_have_the_t_interval_of_their_mean():
    low, high = by_pairs([0.1, 0.2, 0.4])
    want = stats.ttest_1samp([0.1, 0.2, 0.4], 0).confidence_interval()
    np.testing.assert_allclose([low, high], [want.low, want.high])
    assert np.isnan(by_pairs([0.1])).all()
    assert np.isnan(by_pairs([0.1, np.nan])).all()


def test_means_over_runs_vary_with_the_patients_and_with_the_runs():
    rng = np.random.default_rng(0)
    patients, runs = rng.normal(size=4000), np.array([0.0, 3.0, 6.0])
    found = over_runs(patients + runs[:, None])
    assert found.mean() == pytest.approx(3, abs=0.15)
    assert found.var() == pytest.approx(1 + runs.var() / 3, rel=0.1)
    np.testing.assert_array_equal(over_runs(patients[None]), patients)
