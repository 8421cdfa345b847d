"""From which likeness on two photographs are one: thumbnails whose correlation is known."""

import numpy as np
import pytest

from fundus_diag.data.duplicates import near_pairs


def correlated(r, size=1024, seed=0):
    """Two vectors of length 1 and mean 0 with that correlation."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, size))
    a -= a.mean()
    b -= b.mean()
    a /= np.linalg.norm(a)
    b -= (a @ b) * a
    b /= np.linalg.norm(b)
    return a.astype("float32"), (r * a + np.sqrt(1 - r * r) * b).astype("float32")


@pytest.mark.parametrize(("r", "near"), [(0.7, False), (0.895, False), (0.905, True), (0.95, True)])
def test_photographs_are_near_from_a_correlation_of_nine_tenths_on(r, near):
    a, b = correlated(r)
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(r, abs=1e-5)
    found = near_pairs([a, b], ["p1", "p2"], ["x", "y"])
    assert len(found) == near
    if near:
        assert found[0][2] == pytest.approx(r, abs=1e-5)
