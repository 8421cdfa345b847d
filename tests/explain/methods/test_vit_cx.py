"""ViT-CX against one mask after the other."""

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from attentive import LABELS, NEW, SIZE, as_pairs, classifier, pictures

from fundus_diag import explain
from fundus_diag.explain.methods import vit_cx
from fundus_diag.models.geometry import Grid, stretched
from fundus_diag.models.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def images():
    return pictures()


def slow_masks(tokens):
    """Channels joined one pair at a time, the nearest first, by their largest distance."""
    patches = tokens[-16:].T.astype(float)
    channels = [(c - c.min()) / (c.max() - c.min()) for c in patches]

    def apart(a, b):
        cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x in a for y in b]
        return 1 - min(cosines)

    clusters = [[c] for c in channels]
    while len(clusters) > 1:
        pairs = [(i, j) for j in range(len(clusters)) for i in range(j)]
        i, j = min(pairs, key=lambda p: apart(clusters[p[0]], clusters[p[1]]))
        if apart(clusters[i], clusters[j]) > 0.1:
            break
        clusters[i] += clusters.pop(j)
    sums = [np.sum(c, axis=0) for c in clusters]
    return [((s - s.min()) / (s.max() - s.min())).reshape(4, 4) for s in sums]


def slow_vit_cx(predict, picture, masks, label):
    """One mask after the other; `predict`: one picture to its logits."""
    rng = np.random.default_rng(vit_cx.SEED)
    blank = np.zeros_like(picture) + np.float32(IMAGENET_MEAN)
    total, shown_by = np.zeros((4, 4)), np.zeros((4, 4))
    for mask in masks:
        wide = cv2.resize(mask, (SIZE, SIZE))[..., None]
        noise = rng.normal(size=picture.shape) * 0.1 * np.array(IMAGENET_STD) * (1 - wide)
        rise = predict(picture * wide + blank * (1 - wide) + noise) - predict(picture + noise)
        total += (rise + predict(picture))[label] * mask
        shown_by += mask
    return total / shown_by - (total / shown_by).min()


def in_order_of(masks, others):
    """`masks` in the order of `others`: the noise is drawn in it."""
    return [min(masks, key=lambda m: np.abs(m - other).max()) for other in others]


@pytest.mark.slow
@pytest.mark.traced
def test_vit_cx_equals_one_mask_after_the_other(images, monkeypatch):
    monkeypatch.setattr(vit_cx, "AT_ONCE", 10)  # so that the last batch is not full
    model = classifier("mae_vit_tiny")
    layer = model.get_layer("blocks.2.norm1")
    tokens = keras.Model(model.input, layer.output)(images[:1]).numpy()[0]
    logits = tf.function(lambda x: model(x[None], training=False)[0], autograph=False)
    found = vit_cx.masks_of(tokens)
    masks = in_order_of(slow_masks(tokens), found)
    assert 4 < len(slow_masks(tokens)) == len(found) < tokens.shape[-1]  # some joined, not all
    np.testing.assert_allclose(masks, found, atol=1e-5)
    got = explain.maps(model, images[:1], "vit_cx", fuse=False)[0, :, 0]
    for label in range(LABELS):
        want = slow_vit_cx(lambda x: logits(np.float32(x)).numpy(), images[0], masks, label)
        np.testing.assert_allclose(got[label], want, atol=1e-3 * got.max())
    assert got.max() > 0.01


@pytest.mark.slow
def test_eyes_that_are_both_missing_have_maps_of_zeros(images):
    model, pairs = classifier("mae_vit_tiny", "patient"), as_pairs(images)
    mask = np.array([[1, 1], [0, 0]], "float32")
    for method in NEW:
        got = explain.maps(model, pairs["images"], method, [0], mask=mask, fuse=False)
        assert got.shape == (2, 2, 1, 1, 4, 4)
        assert got[0].any()
        assert not got[1].any()


@pytest.mark.slow
@pytest.mark.traced
def test_vit_cx_masks_one_eye_beside_the_other(images, monkeypatch):
    model, pairs = classifier("mae_vit_tiny", "patient"), as_pairs(images)
    asked, explain_one = [], vit_cx.explain
    monkeypatch.setattr(vit_cx, "explain", lambda *given: asked.append(1) or explain_one(*given))
    got = explain.maps(model, pairs["images"], "vit_cx", [0, 2], mask=pairs["mask"], fuse=False)
    assert got.shape == (2, 2, 2, 1, 4, 4)
    assert not got[1, 1].any()
    assert len(asked) == 3  # a missing eye costs nothing
    layer = keras.Model(model.input, model.get_layer("blocks.2.norm1").output)
    tokens = layer(pairs).numpy()
    logits = tf.function(lambda x: model(x, training=False)[0], autograph=False)
    for row, eye in ((0, 1), (1, 0)):

        def predict(picture, row=row, eye=eye):
            both = pairs["images"][row : row + 1].copy()
            both[0, eye] = picture
            return logits({"images": both, "mask": pairs["mask"][row : row + 1]}).numpy()

        own = tokens[2 * row + eye]
        masks = in_order_of(slow_masks(own), vit_cx.masks_of(own))
        for k, label in enumerate((0, 2)):
            want = slow_vit_cx(predict, pairs["images"][row, eye], masks, label)
            np.testing.assert_allclose(got[row, eye, k, 0], want, atol=1e-3 * got.max())


def test_channels_of_one_value_are_no_masks():
    tokens = np.zeros((5, 3))
    assert vit_cx.masks_of(tokens).shape == (0, 2, 2)
    tokens[1:, 1] = [1, 2, 3, 5]
    np.testing.assert_allclose(vit_cx.masks_of(tokens), [[[0, 0.25], [0.5, 1]]])
    picture = np.ones((4, 4, 3), "float32")
    predict = lambda x: (np.ones((len(x), 2)), np.zeros((len(x), 5, 3)))  # noqa: E731
    got = vit_cx.explain(predict, picture, [1], stretched((2, 2), 4))
    np.testing.assert_array_equal(got, np.zeros((2, 2, 1)))


def test_masks_are_shown_where_the_tokens_stand():
    tokens = np.zeros((4, 1))
    tokens[3] = 1  # one mask: the last of 2 x 2 cells
    shown = []

    def predict(pictures):
        shown.append(pictures)
        return np.zeros((len(pictures), 1)), tokens[None]

    picture = np.full((8, 8, 3), 1e6, "float32")  # beside which hidden pixels are nothing
    vit_cx.explain(predict, picture, [0], Grid((2, 2), (0.5, 1.5), (4.0, 4.0), 8))
    rows = np.clip(np.arange(8) / 4, 0, 1)  # from the middle of the first cell to that of the last
    columns = np.clip((np.arange(8) - 1) / 4, 0, 1)
    np.testing.assert_allclose(shown[1][0, ..., 0] / 1e6, np.outer(rows, columns), atol=1e-3)
