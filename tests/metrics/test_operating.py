"""What thresholds reach: counted by hand, and Bayes' rule by counting people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_diag.metrics import calibration
from fundus_diag.metrics.operating import at_prevalence, reached
from fundus_diag.metrics.thresholds import choose_threshold


def test_figures_are_those_of_the_four_cells():
    rng = np.random.default_rng(0)
    truth = rng.choice([0.0, 1.0, np.nan], 300, p=[0.6, 0.3, 0.1])
    p = np.clip(0.3 * np.nan_to_num(truth) + rng.random(300) * 0.7, 0, 1)
    found = reached(truth, p, 0.5, np.arange(300) // 2, resamples=200)
    y, called = truth[~np.isnan(truth)] == 1, p[~np.isnan(truth)] >= 0.5
    want = {
        "recall": (y & called).sum() / y.sum(),
        "specificity": (~y & ~called).sum() / (~y).sum(),
        "precision": (y & called).sum() / called.sum(),
        "npv": (~y & ~called).sum() / (~called).sum(),
    }
    for name, value in want.items():
        assert found[name][0] == pytest.approx(value)
        low, high = found[name][1]
        assert low < value < high
    # Two eyes of one patient that are equal say no more than one.
    once = reached(truth[::2], p[::2], 0.5, np.arange(150), resamples=200)
    twice = reached(np.repeat(truth[::2], 2), np.repeat(p[::2], 2), 0.5,
                    np.repeat(np.arange(150), 2), resamples=200)  # fmt: skip
    assert twice == once


def test_what_is_undefined_stays_so():
    truth, p = np.array([0.0, 0, 0]), np.array([0.1, 0.2, 0.3])
    found = reached(truth, p, 0.5, np.arange(3), resamples=100)
    assert np.isnan(found["recall"][0])
    assert np.isnan(found["precision"][0])
    assert found["specificity"][0] == found["npv"][0] == 1
    assert all(np.isnan(x) for x, _ in reached(truth, p, np.nan, np.arange(3)).values())


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 99))
def test_predictive_values_count_people(sensitivity, specificity, ill):
    """Of a million people, so many are ill and found, well and called, and so on."""
    people = 1_000_000
    sick, well = people * ill / 100, people * (100 - ill) / 100
    found, missed = sick * sensitivity / 100, sick * (100 - sensitivity) / 100
    alarms, quiet = well * (100 - specificity) / 100, well * specificity / 100
    positive, negative = at_prevalence(sensitivity / 100, specificity / 100, ill / 100)
    assert positive == pytest.approx(found / (found + alarms))
    assert negative == pytest.approx(quiet / (quiet + missed))


def test_at_the_prevalence_of_the_rows_nothing_changes():
    truth = np.array([1.0] * 30 + [0.0] * 70)
    p = np.linspace(1, 0, 100)
    plain = reached(truth, p, 0.65, np.arange(100), resamples=0)
    same = reached(truth, p, 0.65, np.arange(100), resamples=0, prevalence=0.3)
    for name in plain:
        assert same[name][0] == pytest.approx(plain[name][0])


@pytest.mark.parametrize("criterion", ["f1", "sensitivity=0.8", "specificity=0.9"])
def test_a_threshold_is_chosen_as_after_training(criterion):
    rng = np.random.default_rng(1)
    y = (rng.random((400, 1)) < 0.2).astype(float)
    logits = 2 * y + rng.normal(size=y.shape)
    points = calibration.fit_operating_points(y, logits, ["a"], criterion)
    p = calibration.apply_calibration(logits, points, ["a"])[:, 0]
    again = calibration.threshold_of(y[:, 0] == 1, p, criterion)
    assert again == points["labels"]["a"]["threshold"]
    kind, _, least = criterion.partition("=")
    assert again == choose_threshold(y[:, 0], p, kind, float(least or 0))
    assert calibration.threshold_of(np.zeros(9, bool), p[:9], criterion) is None
