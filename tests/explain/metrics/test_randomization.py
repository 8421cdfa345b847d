"""How alike two maps are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maps_and_masks import maps_and_masks, pixels
from scipy import stats

from fundus_diag.explain.metrics.randomization import rank_correlation

same = settings(max_examples=80, deadline=None)


@same
@given(maps_and_masks(), st.integers(0, 99))
def test_rank_correlation_equals_a_count_of_ranks(drawn, seed):
    a = drawn[0]
    b = np.random.default_rng(seed).integers(0, 4, a.shape) / 3

    def ranks(m):
        flat = [m[p] for p in pixels(m)]
        return [sum(v < w for v in flat) + sum(v == w for v in flat) / 2 for w in flat]

    want = math.nan
    if a.max() > a.min() and b.max() > b.min():
        want = np.corrcoef(ranks(a), ranks(b))[0, 1]
        assert want == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic)
    assert rank_correlation(a, b) == pytest.approx(want, abs=1e-12, nan_ok=True)


def test_rank_correlation_sees_order_only():
    m = np.random.default_rng(0).random((15, 15))
    assert rank_correlation(m, np.exp(5 * m)) == pytest.approx(1, abs=1e-12)
    assert rank_correlation(m, -m) == pytest.approx(-1, abs=1e-12)
    assert math.isnan(rank_correlation(m, np.zeros((15, 15))))
    for other in (m[:5], np.full((15, 15), np.nan)):
        with pytest.raises(ValueError, match="finite and of one shape"):
            rank_correlation(m, other)
