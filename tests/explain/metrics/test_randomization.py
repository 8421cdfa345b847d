"""How alike two maps are."""

import math

import keras
import numpy as np
import pytest
import tiny  # the encoder of that name
from hypothesis import given, settings
from hypothesis import strategies as st
from maps_and_masks import maps_and_masks, pixels
from scipy import stats

from fundus_diag.explain.metrics.randomization import cascade, rank_correlation
from fundus_diag.models import build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm

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


@pytest.mark.usefixtures("eager")
def test_a_block_once_randomised_stays_so_and_its_statistics_are_those_of_the_new_weights():
    keras.utils.set_random_seed(3)
    model = build_classifier(tiny.tiny.__name__, 32, 2)
    images = np.random.default_rng(0).uniform(0, 255, (6, 32, 32, 3)).astype("float32")
    calibrate_batch_norm(model, [images])
    before = [w.copy() for w in model.get_weights()]
    order, seen = ("head_logits", "conv2", "conv1"), []

    def kernels():
        """A map of each layer's kernel; and in passing how far the statistics are off."""
        for name in ("conv1", "conv2"):
            made = keras.Model(model.input, model.get_layer(name).output)(images).numpy()
            norm = model.get_layer(f"{name}_bn")
            off = norm.moving_mean.numpy() - made.mean(axis=(0, 1, 2))
            seen.append(np.abs(off / made.std(axis=(0, 1, 2))).max())
        found = [model.get_layer(name).get_weights()[0] for name in order]
        return [one.reshape(-1, one.shape[-1]) for one in found]

    stages = cascade(model, images, {"kernels": kernels})
    assert [block for block, _ in stages] == ["head", "conv2", "conv1"]
    for k, (_, found) in enumerate(stages):
        assert np.abs(found["kernels"][: k + 1]).max() < 0.7  # that block's, and all above it
        np.testing.assert_allclose(found["kernels"][k + 1 :], 1)
    assert max(seen) < 1e-3  # with statistics of other weights the signal would die
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
