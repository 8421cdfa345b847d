"""Distances from what was seen, by other routes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from fundus_diag.metrics.ood import fit_mahalanobis, mahalanobis, shrinkage


def distances(x, fitted):
    return np.asarray(mahalanobis(x.astype("float32"), fitted))


def features(count, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(
        size=width
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.integers(2, 12), st.integers(0, 99))
def test_the_shrinkage_is_scikit_learns(count, width, seed):
    x = features(count, width, seed)
    assert shrinkage(x) == pytest.approx(LedoitWolf().fit(x).shrinkage_, abs=1e-9)


@pytest.mark.parametrize(("count", "width"), [(200, 10), (8, 20)])
def test_with_all_directions_it_is_the_distance_by_the_inverse_covariance(count, width):
    x, y = features(count, width), features(30, width, seed=1)
    known = LedoitWolf().fit(x)
    want = np.sqrt(known.mahalanobis(y) / width)
    fitted = fit_mahalanobis(x, most=width)
    np.testing.assert_allclose(distances(y, fitted), want, rtol=1e-4)


def test_beyond_the_directions_that_are_kept_the_spread_is_one():
    x, y = features(300, 12), features(20, 12, seed=1)
    fitted = fit_mahalanobis(x, most=4)
    assert fitted["basis"].shape == (12, 4)
    values, vectors = np.linalg.eigh(LedoitWolf().fit(x).covariance_)
    values[:8] = values[:8].mean()  # all but the four largest
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    centred = y - x.mean(axis=0)
    want = np.sqrt(np.einsum("nd,de,ne->n", centred, inverse, centred) / 12)
    np.testing.assert_allclose(distances(y, fitted), want, rtol=1e-4)


def test_what_was_seen_lies_about_1_and_what_is_far_further():
    x = features(2000, 20)
    fitted = fit_mahalanobis(x[:1000])
    seen = distances(x[1000:], fitted)
    assert np.sqrt((seen**2).mean()) == pytest.approx(1, abs=0.05)
    assert distances(x[1000:] + 100, fitted).min() > seen.max()


def test_features_without_spread_have_distances_too():
    fitted = fit_mahalanobis(np.ones((10, 5)))
    assert distances(np.ones((2, 5)), fitted).tolist() == [0, 0]
    assert np.isfinite(distances(np.full((2, 5), 3.0), fitted)).all()
