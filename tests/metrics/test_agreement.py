"""Kappas of several raters: published figures, loops, scikit-learn, and what is undefined."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from fundus_diag.metrics.agreement import agreement, fleiss_kappa, weighted_kappa

SCALE = (1, 2, 3, 4, 5)


def test_fleiss_is_that_of_a_worked_example():
    """Ten subjects, fourteen raters, five categories: .210, as tables of Fleiss's kappa have it."""
    counts = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    ratings = [[x for x, n in zip(SCALE, row, strict=True) for _ in range(n)] for row in counts]
    assert fleiss_kappa(np.array(ratings), SCALE) == pytest.approx(0.2099, abs=1e-4)


def by_pairs(ratings):
    """Fleiss by counting pairs of raters who agree."""
    agree, categories = [], []
    for row in ratings:
        row = [x for x in row if not np.isnan(x)]
        if len(row) < 2:
            continue
        agree.append(np.mean([a == b for a, b in itertools.permutations(row, 2)]))
        categories += row
    share = [np.mean(np.array(categories) == x) for x in SCALE]
    chance = sum(p * p for p in share)
    return (np.mean(agree) - chance) / (1 - chance)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.booleans())
def test_both_equal_loops(seed, gaps):
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 6, 12)
    ratings = np.clip(truth[:, None] + rng.integers(-1, 2, (12, 3)), 1, 5).astype(float)
    if gaps:
        ratings[rng.random(ratings.shape) < 0.15] = np.nan
    assert fleiss_kappa(ratings, SCALE) == pytest.approx(by_pairs(ratings))
    each = []
    for i, j in itertools.combinations(range(3), 2):
        both = ~np.isnan(ratings[:, [i, j]]).any(axis=1)
        a, b = ratings[both][:, [i, j]].T.astype(int)
        each.append(cohen_kappa_score(a, b, labels=list(SCALE), weights="quadratic"))
    assert weighted_kappa(ratings, SCALE) == pytest.approx(np.nanmean(each))


def test_agreement_and_its_lack():
    same = np.repeat(np.arange(1, 6)[:, None], 4, axis=1)
    assert fleiss_kappa(same, SCALE) == weighted_kappa(same, SCALE) == 1
    rng = np.random.default_rng(0)
    chance = rng.integers(1, 6, (400, 3))
    assert abs(fleiss_kappa(chance, SCALE)) < 0.05
    assert abs(weighted_kappa(chance, SCALE)) < 0.08
    # One step apart is nearly right by weights, and wrong without.
    near = np.stack([same[:, 0], np.minimum(same[:, 0] + 1, 5)], axis=1)
    assert weighted_kappa(near, SCALE) > 0.7 > 0.1 > fleiss_kappa(near, SCALE)


def test_intervals_hold_the_figure_and_narrow_with_cases():
    rng = np.random.default_rng(1)

    def width(count):
        truth = rng.integers(1, 6, count)
        ratings = np.clip(truth[:, None] + rng.integers(-1, 2, (count, 3)), 1, 5)
        found = agreement(ratings, SCALE, resamples=300)
        for name in ("fleiss", "weighted"):
            assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
        assert found["fleiss"] == fleiss_kappa(ratings, SCALE)
        return found["weighted_high"] - found["weighted_low"]

    assert width(300) < 0.6 * width(30)


@pytest.mark.parametrize(
    "ratings",
    [np.full((5, 3), 2.0), np.full((5, 3), np.nan), np.ones((5, 1)), np.array([[1.0, 2.0]])],
)
def test_what_is_undefined_stays_so(ratings):
    assert np.isnan(fleiss_kappa(ratings, SCALE))
