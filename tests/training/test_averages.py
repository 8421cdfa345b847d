"""Averaged weights are scored and kept with the BatchNorm statistics that belong to them."""

import keras
import numpy as np
import pytest
from fitted import a_batch, config, fit, network, statistics

from fundus_diag.models.classifier import encoder_layers
from fundus_diag.training import phases
from fundus_diag.training.loop import STATISTICS_BATCHES, statistics_rows


@pytest.fixture
def model():
    return network()


@pytest.fixture(scope="module")
def batch():
    return a_batch()


def moments(x):
    return x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))


def by_hand(weights, images):
    """Means of the batch statistics of `tiny`'s two BatchNorms, from convolutions written out."""
    found = []
    for x in images:
        x = x / 127.5 - 1
        for i in (1, 2):
            kernel, gamma, beta = (weights[f"conv{i}{end}"] for end in ("", "_bn/g", "_bn/b"))
            windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
            x = np.einsum("bijcuv,uvcd->bijd", windows[:, ::2, ::2], kernel)
            mean, variance = moments(x)
            found.append((mean, variance))
            x = np.maximum(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0)
    return [np.mean([found[2 * k + i] for k in range(len(images))], axis=0) for i in (0, 1)]


def test_statistics_of_the_averages_equal_those_computed_by_hand(model, batch):
    images, _ = batch
    fit(model, 2, batch, pretrained=False, steps=3, ema=10, phase2_rate=0.05)
    raw, raw_statistics = [v.numpy() for v in model.trainable_variables], statistics(model)
    with phases.averaged(model, [images[:4], images[4:]]):
        weights = {}
        for i in (1, 2):
            weights[f"conv{i}"] = model.get_layer(f"conv{i}").kernel.numpy()
            norm = model.get_layer(f"conv{i}_bn")
            weights |= {f"conv{i}_bn/g": norm.gamma.numpy(), f"conv{i}_bn/b": norm.beta.numpy()}
        want = by_hand(weights, [images[:4], images[4:]])
        for i, (mean, variance) in enumerate(want, start=1):
            norm = model.get_layer(f"conv{i}_bn")
            np.testing.assert_allclose(norm.moving_mean.numpy(), mean, atol=1e-4)
            np.testing.assert_allclose(norm.moving_variance.numpy(), variance, rtol=2e-3)
            assert norm.momentum != 0
        inside = statistics(model)
    assert all(np.any(a != b) for a, b in zip(inside, raw_statistics, strict=True))
    # Training goes on from what it left.
    for a, b in zip(raw_statistics, statistics(model), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, v in zip(raw, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, v.numpy())


@pytest.mark.parametrize(("phase", "pretrained"), [(1, False), (1, True), (2, True)])
def test_batch_norm_that_does_not_train_keeps_its_statistics(model, batch, phase, pretrained):
    fit(model, phase, batch, pretrained=pretrained, steps=2, ema=10)
    before = statistics(model)
    encoder = [a for x in encoder_layers(model) for a in x.get_weights()]

    def none_is_wanted():
        raise AssertionError("no photograph has to be looked at")
        yield

    with phases.averaged(model, none_is_wanted()):
        for a, b in zip(before, statistics(model), strict=True):
            np.testing.assert_array_equal(a, b)
        if phase == 1:
            inside = [a for x in encoder_layers(model) for a in x.get_weights()]
            for a, b in zip(encoder, inside, strict=True):
                np.testing.assert_array_equal(a, b)


def test_without_averages_nothing_changes(model, batch):
    fit(model, 2, batch, pretrained=False, steps=1, ema=0)
    before = [v.numpy() for v in model.variables]
    with phases.averaged(model, [batch[0]]):
        for a, v in zip(before, model.variables, strict=True):
            np.testing.assert_array_equal(a, v.numpy())


@pytest.mark.parametrize(("count", "size"), [(3441, 32), (100, 32), (32, 32), (20, 32), (1, 8)])
def test_statistics_are_of_a_bounded_number_of_whole_batches(count, size):
    rows = statistics_rows(count, size, seed=4)
    assert len(set(rows)) == len(rows) <= max(STATISTICS_BATCHES * size, count % size)
    assert len(rows) == count if count < size else len(rows) % size == 0
    assert set(rows) <= set(range(count))
    np.testing.assert_array_equal(rows, statistics_rows(count, size, seed=4))
    if count > STATISTICS_BATCHES * size:
        assert len(rows) == STATISTICS_BATCHES * size
        assert rows.max() > 0.9 * count  # from all over the table
        assert set(rows) != set(statistics_rows(count, size, seed=5))


def test_a_long_epoch_keeps_keras_momentum_and_a_short_one_reaches_back_no_further(model):
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 2
    for steps, momentum in ((10, 0.9), (25, 0.96), (100, 0.99), (5000, 0.99), (1, 0.5)):
        phases.compile_phase(model, 2, config(), "mse", steps, pretrained=False)
        assert [x.momentum for x in norms] == pytest.approx([momentum] * 2), steps
