"""Thresholds chosen by a criterion, against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logits import fit, logits_of

from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.metrics.thresholds import choose_threshold, parse_criterion
from fundus_diag.utils.errors import UsageError


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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), min_size=2, max_size=30),
    st.sampled_from(["f1", "sensitivity", "specificity"]),
    st.sampled_from([0.25, 0.5, 0.9]),
)
def test_rows_that_are_positives_by_a_share_count_by_it(rows, kind, least):
    """As if each row stood there four times, some of them positive."""
    share, p = np.array([r[0] for r in rows]) / 4, np.array([r[1] for r in rows]) / 8
    if not 0 < share.sum() < len(share):
        return
    often = np.repeat(p, 4)
    truth = np.concatenate([np.arange(4) < 4 * x for x in share])
    want = choose_threshold(truth, often, kind, least)
    assert choose_threshold(share, p, kind, least) == want


@pytest.mark.parametrize("positives", [10, 20, 30])
@pytest.mark.parametrize("percent", [10, 30, 70, 90])
def test_a_share_that_is_met_exactly_is_enough(positives, percent):
    """Nine of ten found are a sensitivity of .9, so the tenth is not called too."""
    found, least = positives * percent // 100, percent / 100
    p = np.arange(1, 2 * positives + 1) / 100
    truth = np.arange(2 * positives) % 2 == 0
    called = p >= choose_threshold(truth, p, "sensitivity", least)
    assert (called & truth).sum() == found
    called = p >= choose_threshold(truth, p, "specificity", least)
    assert (~called & ~truth).sum() == found


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
