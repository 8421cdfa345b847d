"""Of those scored alike, how many had it: counted one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_diag.metrics.meaning import FEWEST, NEAR, scored_alike

scores = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0, np.nan])), max_size=60)


@given(scores, st.floats(0, 1))
def test_it_is_what_counting_says(cases, score):
    p, y = np.array([x for x, _ in cases]), np.array([x for _, x in cases])
    n, k, low, high = scored_alike(p, y, score)
    known = sorted(((abs(a - score), a, b) for a, b in cases if b == b), key=lambda x: x[0])
    alike = [x for x in known if x[0] <= NEAR]
    if len(alike) < FEWEST:
        alike = known[:FEWEST]
    assert n == len(alike)
    if not n:
        assert k == 0
        assert np.isnan([low, high]).all()
        return
    assert max(abs(low - score), abs(high - score)) <= max(x[0] for x in alike)
    ties = [x for x in known if x[0] == alike[-1][0]]
    if len(alike) + len(ties) == len([x for x in known if x[0] <= alike[-1][0]]) + len(
        [x for x in alike if x[0] == alike[-1][0]]
    ):  # none of equal distance was left out
        assert k == sum(x[2] for x in alike)


def test_a_sure_score_is_compared_with_sure_ones():
    p = np.concatenate([np.linspace(0, 0.2, 80), np.linspace(0.96, 1, 20)])
    y = np.concatenate([np.zeros(80), np.ones(20)])
    y[-3] = 0
    assert scored_alike(p, y, 0.999)[:2] == (20, 19)
    assert scored_alike(p, y, 0.6)[:2] == (10, 10)  # none is near: the nearest ten
    assert scored_alike(p, y, 0.999)[2:] == (pytest.approx(0.96), 1.0)
