"""Where the pixels of a segmenter's class come from: attention, multiplied out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from attentive import sharpen
from small_encoders import shake

from fundus_diag import explain
from fundus_diag.explain.methods import attention
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.layers.attention import AttentionWeights
from fundus_diag.models.segmenter import build_segmenter, of_classes

pytestmark = pytest.mark.usefixtures("eager")
CASES = {
    "transunet": (
        "se_xception_small", 128, {"width": 0.25, "channels": 32, "depth": 2, "heads": 2},
        {"width": 0.1, "middle_blocks": 1}, 4,
    ),
    "unetr": (
        "mae_vit_tiny", 64, {"features": 4}, {"width": 24, "depth": 4, "heads": 2, "patch": 8}, 8,
    ),
}  # fmt: skip
CLASSES = 3


@pytest.fixture(scope="module", params=CASES)
def made(request):
    """(segmenter, pictures, cells a side); the third class is called nowhere."""
    encoder, side, own, options, cells = CASES[request.param]
    keras.utils.set_random_seed(0)
    model = build_segmenter(request.param, encoder, side, CLASSES, decoder_options=own, **options)
    shake(model)
    sharpen(model)
    rng = np.random.default_rng(1)
    coarse = rng.uniform(0, 255, (3, 8, 8, 3)).astype("float32")
    images = tf.image.resize(coarse, (side, side), "bicubic").numpy().clip(0, 255)
    calibrate_batch_norm(model, [images])
    head = model.get_layer("head_logits")
    kernel, bias = head.get_weights()
    logits = np.asarray(model(images))
    middle = np.median(logits, axis=(0, 1, 2))
    highest = logits.max(axis=(0, 1, 2))
    head.set_weights([kernel, bias - np.array([middle[0], middle[1], highest[2] + 1])])
    return model, images, cells


def shares_of(logits):
    """(N, S, S, K) by the definition, pixel by pixel."""
    found = np.zeros_like(logits)
    for n, k in np.ndindex(logits.shape[0], logits.shape[3]):
        one = logits[n, ..., k]
        weight = (one >= 0).astype(float) if (one >= 0).any() else 1 / (1 + np.exp(-one))
        found[n, ..., k] = weight / weight.sum()
    return found


def rows_of(shares, cells, first):
    """(N, t, K): what of each class lies in each token's cell."""
    n, side, _, k = shares.shape
    part = side // cells
    cut = shares.reshape(n, cells, part, cells, part, k).sum(axis=(2, 4))
    return np.concatenate([np.zeros((n, first, k)), cut.reshape(n, cells**2, k)], axis=1)


def test_a_class_is_the_mean_of_its_own_pixels(made):
    model, images, _ = made
    logits = np.asarray(model(images))
    assert (logits[..., :2] >= 0).any(axis=(1, 2)).all()
    assert not (logits[..., 2] >= 0).any()
    want = (shares_of(logits) * logits).sum(axis=(1, 2))
    np.testing.assert_allclose(of_classes(model)(images), want, rtol=1e-5, atol=1e-5)
    first = logits[0, ..., 0]
    assert want[0, 0] == pytest.approx(first[first >= 0].mean(), abs=1e-5)


def test_maps_are_the_blocks_multiplied_out_from_the_pixels_of_the_class(made):
    model, images, cells = made
    twin = attention.readable(model)
    blocks = [x.output for x in twin.layers if isinstance(x, AttentionWeights)]
    with tf.GradientTape(persistent=True) as tape:
        inputs = tf.constant(images)
        tape.watch(inputs)
        *weights, logits = keras.Model(twin.input, [*blocks, twin.output])(inputs)
        shares = shares_of(logits.numpy())
        scores = [tf.reduce_sum(shares[..., k] * logits[..., k]) for k in range(CLASSES)]
    slopes = [[x.numpy() for x in tape.gradient(score, weights)] for score in scores]
    weights = [x.numpy() for x in weights]
    size = weights[0].shape[2]
    first = size - cells**2
    rows = rows_of(shares, cells, first)
    classifier = of_classes(model)
    found = {
        method: np.asarray(explain.maps(classifier, images, method, fuse=False))[:, :, 0]
        for method in ("rollout", "chefer")
    }
    for n, k in np.ndindex(len(images), CLASSES):
        product, relevance = np.eye(size), np.eye(size)
        for block, slope in zip(weights, slopes[k], strict=True):
            mixed = 0.5 * block[n].mean(axis=0) + 0.5 * np.eye(size)
            product = mixed / mixed.sum(axis=1, keepdims=True) @ product
            relevance = relevance + np.maximum(block[n] * slope[n], 0).mean(axis=0) @ relevance
        for method, matrix in (("rollout", product), ("chefer", relevance - np.eye(size))):
            want = (rows[n, :, k] @ matrix)[first:].reshape(cells, cells)
            np.testing.assert_allclose(found[method][n, k], want, rtol=2e-3, atol=1e-7)
    for method, maps in found.items():
        flat = maps[:, :2].reshape(len(images), 2, -1)
        alike = [np.corrcoef(both)[0, 1] for both in flat]
        assert max(alike) < 0.999, method  # each class has a map of its own


def test_layers_of_the_encoder_have_maps_of_a_class_too(made):
    model, images, _ = made
    name = "blocks.3.norm1" if model.name.startswith("mae") else "block13_add"
    found = np.asarray(explain.maps(of_classes(model), images, "layer_cam", layers=[name]))
    assert found.shape[:2] == (3, CLASSES)
    assert np.isfinite(found).all()
