"""Maps of transformers by value: against the papers' formulas in plain loops, and by hand."""

import functools
import json

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from test_cam import as_pairs
from test_explain_commands import evaluate, files, rows_of, spots
from test_models import NARROW, shake
from tiny import make_photographs, ready_run

from fundus_diag import explain, load_run, models
from fundus_diag.cli import main
from fundus_diag.explain import explainer
from fundus_diag.explain.explain import Settings
from fundus_diag.explain.methods import attention, vit_cx
from fundus_diag.explain.methods.registry import method_name, possible
from fundus_diag.explain.metrics import randomization
from fundus_diag.explain.output import laid_back
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.models import build_classifier, mae_vit
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.layers.attention import AttentionWeights
from fundus_diag.models.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.mixed_precision import precision

SIZE = 64  # 4 x 4 patches of a ViT, 4 x 4 cells of CvT's last stage with 2 x 2 keys
LABELS = 3
FAMILIES = ("mae_vit_tiny", "cvt_13")
NEW = ("rollout", "chefer", "vit_cx")
pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    return tf.image.resize(coarse, (SIZE, SIZE), "bicubic").numpy().clip(0, 255)


@functools.lru_cache(maxsize=8)
def classifier(name, unit="eye", pool="mean", readable=False):
    """A classifier whose attention and logits vary with the picture; always of the same weights."""
    keras.utils.set_random_seed(0)
    options = {**NARROW[name], "readable": readable}
    model = build_classifier(name, SIZE, LABELS, unit=unit, pool=pool, **options)
    shake(model)
    sharpen(model)
    pictures = np.random.default_rng(2).uniform(0, 255, (4, SIZE, SIZE, 3)).astype("float32")
    calibrate_batch_norm(model, [pictures if unit == "eye" else as_pairs(pictures)])
    return model


def sharpen(model):
    """Larger queries and keys: with fresh weights every token attends to all others alike."""
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if layer.name.rsplit(".", 1)[-1] in ("q", "k", "proj_q", "proj_k"):
            shape = layer.kernel.shape
            layer.kernel.assign(rng.normal(0, 1.5 * shape[0] ** -0.5, shape))


def attention_of(name, inputs, unit="eye", pool="mean"):
    """Weights (N, heads, t, s) of the last stage's blocks, from a network built to be read."""
    model = classifier(name, unit, pool, readable=True)
    found = [x.output for x in model.layers if isinstance(x, AttentionWeights)]
    found = [x for x in found if x.shape[2] == SIZE // 16 * SIZE // 16 + 1]
    return [x.numpy() for x in keras.Model(model.input, found)(inputs)]


def spread(matrix):
    """(t, s) to (t, t): of 2 x 2 keys over 4 x 4 cells each stands for the 2 x 2 cells around."""
    if matrix.shape[1] == matrix.shape[0]:
        return matrix
    wide = np.zeros((17, 17))
    wide[:, 0] = matrix[:, 0]
    for row in range(4):
        for column in range(4):
            wide[:, 1 + 4 * row + column] = matrix[:, 1 + 2 * (row // 2) + column // 2] / 4
    return wide


def read(matrix, pool):
    """The map of a (t, t) matrix: the class token's row, or the mean of the patches' rows."""
    rows = [0] if pool == "class_token" else range(1, len(matrix))
    side = round((len(matrix) - 1) ** 0.5)
    return np.mean([matrix[i, 1:] for i in rows], axis=0).reshape(side, side)


def slow_rollout(blocks, fusion, ratio, pool):
    """Abnar & Zuidema with every matrix multiplied out; blocks (heads, t, s) of one picture."""
    product = np.eye(17)
    for heads in blocks:
        fused = {"mean": np.mean, "max": np.max, "min": np.min}[fusion](heads, axis=0).astype(float)
        entries = [(i, j) for i in range(17) for j in range(1, fused.shape[1])]
        for i, j in sorted(entries, key=lambda at: fused[at])[: int(ratio * len(entries))]:
            fused[i, j] = 0
        mixed = 0.5 * spread(fused) + 0.5 * np.eye(17)
        for row in mixed:
            row /= row.sum()
        product = mixed @ product
    return read(product, pool)


def slow_chefer(blocks, gradients, pool):
    """Chefer et al., equations 5 and 6, with every matrix multiplied out."""
    start = np.eye(len(blocks[0][0]))
    relevance = start
    for heads, slopes in zip(blocks, gradients, strict=True):
        relevance = relevance + spread(np.maximum(heads * slopes, 0).mean(axis=0)) @ relevance
    return read(relevance - start, pool)


@pytest.mark.parametrize(("name", "unit"), [("mae_vit_tiny", "patient"), ("cvt_13", "eye")])
def test_the_readable_twin_is_the_fast_network_and_shares_its_weights(name, unit, images):
    model = classifier(name, unit)
    inputs = images if unit == "eye" else as_pairs(images)
    twin = attention.readable(model)
    want = model.predict(inputs, verbose=0)
    assert want.std(axis=0).min() > 1e-2
    np.testing.assert_allclose(twin.predict(inputs, verbose=0), want, atol=1e-5)
    assert {id(w) for w in twin.weights} == {id(w) for w in model.weights}
    found = [x.output for x in twin.layers if isinstance(x, AttentionWeights)]
    read_out = keras.Model(twin.input, found)(inputs)
    for got, there in zip(read_out[-2:], attention_of(name, inputs, unit)[-2:], strict=True):
        np.testing.assert_allclose(got, there, atol=1e-6)
        np.testing.assert_allclose(there.sum(axis=-1), 1, atol=1e-5)
        assert there.std(axis=-1).mean() > 0.1 * there.mean()
    built = classifier(name, unit, readable=True)
    assert attention.readable(built) is built


@pytest.mark.parametrize("pool", ["mean", "class_token"])
@pytest.mark.parametrize("name", FAMILIES)
def test_rollout_is_the_product_of_the_blocks(name, pool, images):
    blocks = attention_of(name, images, pool=pool)
    patches = np.arange(17) > 0
    reading = 1.0 - patches if pool == "class_token" else patches / 16
    for fusion, ratio in (("mean", 0.0), ("max", 0.0), ("min", 0.15), ("mean", 0.7)):
        got = attention.rollout([tf.constant(b) for b in blocks], reading, fusion, ratio).numpy()
        want = np.stack([slow_rollout([b[k] for b in blocks], fusion, ratio, pool) for k in (0, 3)])
        assert want.std() > 0.02 * want.mean() > 0
        np.testing.assert_allclose(got[[0, 3], 1:].reshape(2, 4, 4), want, rtol=1e-4)
    options = {"head_fusion": "max", "discard_ratio": 0.3, "fuse": False}
    got = explain.maps(classifier(name, pool=pool), images, "rollout", **options)
    assert got.shape == (4, LABELS, 1, 4, 4)
    built = classifier(name, pool=pool, readable=True)
    np.testing.assert_allclose(explain.maps(built, images, "rollout", **options), got, rtol=1e-4)
    for k in range(4):
        want = slow_rollout([b[k] for b in blocks], "max", 0.3, pool)
        for label in range(LABELS):  # it knows no label
            np.testing.assert_allclose(got[k, label, 0], want, rtol=1e-4)


def differences(model, picture, label):
    """Gradients of a logit by the attention weights of each block, by central differences."""
    found = []
    for layer in [x for x in model.layers if isinstance(x, AttentionWeights)]:
        tail = keras.Model([model.input, layer.output], model.output)
        weights = keras.Model(model.input, layer.output)(picture).numpy()
        steps = np.eye(weights.size).reshape(-1, *weights.shape[1:]).astype("float32") * 0.02
        moved = np.concatenate([weights + steps, weights - steps])
        logits = tail([np.repeat(picture, len(moved), axis=0), moved]).numpy()[:, label]
        slopes = (logits[: len(steps)] - logits[len(steps) :]) / 0.04
        found.append((weights[0], slopes.reshape(weights.shape[1:])))
    return zip(*found, strict=True)


@pytest.mark.parametrize("pool", ["mean", "class_token"])
def test_chefer_follows_the_paper_with_gradients_by_differences(pool, images):
    picture = images[:1, :32, :32]
    options = {"pool": pool, **NARROW["mae_vit_tiny"]}
    model = build_classifier("mae_vit_tiny", 32, 2, **options)
    readable = build_classifier("mae_vit_tiny", 32, 2, readable=True, **options)
    sharpen(model)
    readable.set_weights(model.get_weights())
    want = slow_chefer(*differences(readable, picture, 1), pool)
    got = explain.maps(model, picture, "chefer", [1], fuse=False)[0, 0, 0]
    assert want.std() > 0.1 * want.mean() > 0
    np.testing.assert_allclose(got, want, atol=1e-2 * want.max())


def test_chefer_of_strided_keys_follows_the_paper(images):
    model, readable = classifier("cvt_13"), classifier("cvt_13", readable=True)
    layers = [x.output for x in readable.layers if isinstance(x, AttentionWeights)][-2:]
    network = keras.Model(readable.input, [*layers, readable.output])
    got = explain.maps(model, images, "chefer", fuse=False)
    for label in range(LABELS):
        with tf.GradientTape() as tape:
            first, second, logits = network(images)
            score = logits[:, label]
        gradients = [x.numpy() for x in tape.gradient(score, [first, second])]
        for k in range(4):
            blocks = [first[k].numpy(), second[k].numpy()]
            want = slow_chefer(blocks, [g[k] for g in gradients], "mean")
            assert want.max() > 0
            np.testing.assert_allclose(got[k, label, 0], want, atol=1e-4 * want.max())


def test_strided_attention_done_by_hand():
    # A class token and 2 x 2 cells; keys: the class token and one of all four cells.
    weights = np.array([[0.4, 0.6], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]], "float32")
    blocks = [tf.constant(weights[None, None])]
    patches, token = np.array([0, 1, 1, 1, 1]) / 4, np.array([1, 0, 0, 0, 0])
    # A patch gives .8 / 4 to each cell: .1 after halving, and .5 to itself.
    np.testing.assert_allclose(attention.rollout(blocks, patches), [[0.1] + [0.225] * 4], rtol=1e-6)
    # The class token keeps .5 + .2, and gives .6 / 4 / 2 to each cell.
    np.testing.assert_allclose(attention.rollout(blocks, token), [[0.7] + [0.075] * 4], rtol=1e-6)
    # Two blocks: .1 x .7 + .9 x .1 to the class token, the rest to the cells alike.
    np.testing.assert_allclose(
        attention.rollout(blocks * 2, patches), [[0.16] + [0.21] * 4], rtol=1e-6
    )
    # Relevance: the second key is worth 3 x .8 to each patch, the first counts against.
    slopes = [tf.constant(np.tile([-1.0, 3.0], (5, 1))[None, None], tf.float32)]
    once = attention.chefer(blocks, slopes, patches)
    np.testing.assert_allclose(once, [[0] + [0.6] * 4], rtol=1e-6)
    # Over two blocks each of the four cells is worth .6 + .6 + 4 x .6 x .6.
    twice = attention.chefer(blocks * 2, slopes * 2, patches)
    np.testing.assert_allclose(twice, [[0] + [0.6 + 0.6 + 4 * 0.36] * 4], rtol=1e-6)


def test_keys_stand_for_equal_parts_of_the_grid():
    third = 1 / 3
    along = np.array([[2 * third, third, 0], [0, third, 2 * third]])  # 2 keys over 3 cells
    want = np.zeros((5, 10))
    want[0, 0] = 1
    for i, j, y, x in np.ndindex(2, 2, 3, 3):
        want[1 + 2 * i + j, 1 + 3 * y + x] = along[i, y] * along[j, x]
    np.testing.assert_allclose(attention.key_shares(10, 5), want, atol=1e-6)
    four = attention.key_shares(16, 4)  # no class token
    np.testing.assert_array_equal(four[1].reshape(4, 4)[:2, 2:], np.full((2, 2), 0.25))
    for side in range(1, 16):
        keys = -(-side // 2)
        shares = attention.key_shares(side**2 + 1, keys**2 + 1)
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(shares[:, 1:].sum(axis=0), keys**2 / side**2, atol=1e-6)
        for i, j, y, x in np.ndindex(keys, keys, side, side):
            if shares[1 + keys * i + j, 1 + side * y + x] > 1e-6:  # its 3 x 3 convolution sees it
                assert abs(y - 2 * i) <= 1
                assert abs(x - 2 * j) <= 1


def test_odd_sides_have_maps_of_their_own_grid():
    model = build_classifier("cvt_13", 112, 2, **NARROW["cvt_13"])  # 7 x 7 cells, 4 x 4 keys
    picture = np.random.default_rng(0).uniform(0, 255, (1, 112, 112, 3)).astype("float32")
    assert explain.maps(model, picture, "rollout").shape == (1, 2, 7, 7)


def test_the_lowest_weights_are_discarded_but_never_the_class_tokens():
    first = np.arange(25).reshape(5, 5)[:, ::-1] / 25  # the class token's column is the highest
    second = np.roll(first, 1, axis=1)  # ... the lowest
    fused = tf.constant(np.stack([first, second]), tf.float32)
    got = attention.discard(fused, 0.25).numpy()  # of 5 x 4 entries five
    for one, before in zip(got, (first, second), strict=True):
        want = before.copy()
        want[0, 1:] = 0
        want[1, 1 + before[1, 1:].argmin()] = 0
        np.testing.assert_allclose(one, want, atol=1e-7)
    assert attention.discard(fused, 0.0) is fused
    assert (attention.discard(fused, 0.99).numpy()[:, :, 1:] > 0).sum() == 2  # one a picture
    even = tf.fill((1, 5, 5), 0.2)  # nothing is lowest
    np.testing.assert_array_equal(attention.discard(even, 0.5), even)


def test_rollout_of_even_attention_is_even_and_of_none_its_own_places():
    patches = np.array([0, 1, 1, 1, 1]) / 4
    even = [tf.fill((1, 2, 5, 5), 0.2)] * 3
    got = attention.rollout(even, patches).numpy()
    np.testing.assert_allclose(got[0, 1:], got[0, 1], rtol=1e-6)
    assert got.sum() == pytest.approx(1)
    nothing = [tf.zeros((1, 2, 5, 5))]
    np.testing.assert_allclose(attention.rollout(nothing, patches), patches[None])


def test_chefer_is_of_the_logit_and_of_one_label(images):
    model = build_classifier("mae_vit_tiny", SIZE, LABELS, **NARROW["mae_vit_tiny"])
    model.set_weights(classifier("mae_vit_tiny").get_weights())
    before = explain.maps(model, images, "chefer", fuse=False)
    assert np.abs(before[:, 0] - before[:, 1]).max() > 0.1 * before.max()
    kernel, bias = model.get_layer("head_logits").get_weights()
    kernel[:, 2] = 0
    model.get_layer("head_logits").set_weights([kernel, bias + 9])  # a probability would be flat
    after = explain.maps(model, images, "chefer", fuse=False)
    np.testing.assert_allclose(after[:, :2], before[:, :2], atol=1e-5 * before.max())
    for method in ("chefer", "vit_cx"):
        fused = explain.maps(model, images, method)
        assert np.isfinite(fused).all()
        assert fused[:, :2].max() == pytest.approx(1)
        assert not fused[:, 2].any()  # nothing speaks for it


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


def test_eyes_that_are_both_missing_have_maps_of_zeros(images):
    model, pairs = classifier("mae_vit_tiny", "patient"), as_pairs(images)
    mask = np.array([[1, 1], [0, 0]], "float32")
    for method in NEW:
        got = explain.maps(model, pairs["images"], method, [0], mask=mask, fuse=False)
        assert got.shape == (2, 2, 1, 1, 4, 4)
        assert got[0].any()
        assert not got[1].any()


@pytest.mark.parametrize("name", FAMILIES)
def test_networks_in_half_precision_have_maps_too(name, images):
    want = {x: explain.maps(classifier(name), images, x, [0]) for x in ("rollout", "chefer")}
    with precision("float16"):
        half = build_classifier(name, SIZE, LABELS, **NARROW[name])
    half.set_weights(classifier(name).get_weights())
    for method, maps in want.items():
        got = explain.maps(half, images, method, [0])
        assert np.corrcoef(got.ravel(), maps.ravel())[0, 1] > 0.9, method


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
    got = vit_cx.explain(lambda x: (np.ones((len(x), 2)), np.zeros((len(x), 5, 3))), picture, [1])
    np.testing.assert_array_equal(got, np.zeros((2, 2, 1)))


@pytest.mark.parametrize(
    ("name", "method"),
    [("mae_vit_tiny", "rollout"), ("cvt_13", "chefer"), ("mae_vit_tiny", "vit_cx")],
)
def test_maps_are_the_same_at_any_batch_size_and_of_chosen_labels(name, method, images):
    model = classifier(name)
    whole = explain.maps(model, images, method, batch_size=4)
    assert whole.shape == (4, LABELS, 4, 4)
    assert 0 <= whole.min()
    assert whole.max() == pytest.approx(1)
    np.testing.assert_allclose(explain.maps(model, images, method, batch_size=3), whole, atol=1e-3)
    chosen = np.array([[0, 2], [1, 0], [2, 2], [1, 1]])
    got = explain.maps(model, images, method, chosen)
    for row, labels in enumerate(chosen):
        np.testing.assert_allclose(got[row], whole[row, labels], atol=1e-3)


@pytest.mark.parametrize(("name", "method"), [("mae_vit_tiny", "rollout"), ("cvt_13", "chefer")])
def test_each_eye_of_a_pair_has_a_map_of_its_own(name, method, images):
    model, pairs = classifier(name, "patient"), as_pairs(images)
    got = explain.maps(model, pairs["images"], method, mask=pairs["mask"], fuse=False)
    assert got.shape == (2, 2, LABELS, 1, 4, 4)
    assert np.isfinite(got).all()
    assert not got[1, 1].any()  # the eye that is not there
    assert got[0, 0].any()
    assert got[0, 1].any()
    assert got[1, 0].any()
    other = pairs["images"].copy()
    other[:, 1] = other[:, 1, ::-1]
    moved = explain.maps(model, other, method, mask=pairs["mask"], fuse=False)
    change = np.abs(moved - got)[0].reshape(2, -1).mean(axis=1) / got[0].reshape(2, -1).mean(axis=1)
    assert change[1] > change[0]
    if method == "rollout":  # attention knows nothing of the other eye
        np.testing.assert_allclose(moved[:, 0], got[:, 0], rtol=1e-4)


@pytest.mark.parametrize("method", NEW)
def test_smoothing_is_the_mean_over_mirrored_and_scaled_pictures(method, images):
    model, images = classifier("mae_vit_tiny"), images[:2]
    got = explain.maps(model, images, method, fuse=False, aug_smooth=True)
    want = 0
    for factor in (0.9, 1.0, 1.1):
        for mirrored in (False, True):
            x = np.clip(images * factor, 0, 255)
            one = explain.maps(model, x[:, :, ::-1] if mirrored else x, method, fuse=False)
            want = want + (one[..., ::-1] if mirrored else one) / 6
    np.testing.assert_allclose(got, want, atol=1e-4 * want.max())


def test_a_fine_grid_is_not_taken_for_a_shallow_layer(images):
    model = build_classifier("mae_vit_tiny", SIZE, 2, patch=8, **NARROW["mae_vit_tiny"])
    raw = explain.maps(model, images, "rollout", fuse=False)[:, :, 0]
    assert raw.shape[-1] == 8
    peak = raw.max(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(explain.maps(model, images, "rollout"), raw / peak, rtol=1e-5)


def test_what_has_no_meaning_is_refused_by_name(images):
    model = classifier("mae_vit_tiny")
    with pytest.raises(UsageError, match=r"discard ratio 1.0: must lie from 0 to below 1"):
        explain.maps(model, images, "rollout", discard_ratio=1.0)
    with pytest.raises(UsageError, match="head fusion 'sum': there are mean, max, min"):
        explain.maps(model, images, "rollout", head_fusion="sum")
    with pytest.raises(UsageError, match="chefer takes none, it goes through all blocks"):
        explain.maps(model, images, "chefer", layers=["blocks.0.norm1"])
    with pytest.raises(UsageError, match="vit_cx takes one layer, not 2"):
        explain.maps(model, images, "vit_cx", layers=["blocks.0.norm1", "blocks.1.norm1"])
    for method in NEW:
        with pytest.raises(UsageError, match="eigen_smooth: only for layer_cam, grad_cam"):
            explain.maps(model, images, method, eigen_smooth=True)
    for method in ("grad_cam_pp", "score_cam"):  # the library takes tokens for a picture
        with pytest.raises(UsageError, match=f"{method}: blocks.1.norm1 has tokens, not a map"):
            explain.maps(model, images, method, layers=["blocks.1.norm1"])
    plain = build_classifier("se_xception", SIZE, 2, **NARROW["se_xception"])
    for method in NEW:
        with pytest.raises(UsageError, match=f"{method}: .* possible: layer_cam, .*, score_cam$"):
            explain.maps(plain, images, method)


def test_the_methods_possible_have_maps(images):
    model = classifier("mae_vit_tiny", pool="class_token")
    assert possible(model) == ("layer_cam", "grad_cam", *NEW)  # no map is pooled
    for method in possible(model):
        assert explain.maps(model, images[:2], method, [0, 1]).max() > 0, method
    assert Settings(methods=None).check(classifier("cvt_13", "patient")) == {
        "layer_cam": ("stage0.map", "stage1.map", "stage2.patch_embed.proj"),
        "grad_cam": ("stage2.map",),
        "grad_cam_pp": ("stage2.map",),
        "rollout": (),
        "chefer": (),
    }
    for text in ("Attention-Rollout", "ViT-CX", "vitcx", "Chefer"):
        assert method_name(text) in NEW


def test_the_sanity_check_goes_from_the_head_down_block_by_block(images):
    model = build_classifier("cvt_13", SIZE, LABELS, **NARROW["cvt_13"])
    model.set_weights(classifier("cvt_13").get_weights())
    before = [w.copy() for w in model.get_weights()]
    draws = {
        x: lambda x=x: explain.maps(model, images, x, [0])[:, 0] for x in ("rollout", "chefer")
    }
    stages = dict(randomization.cascade(model, images, draws))
    assert list(stages) == [
        "head", "stage2.blocks.1", "stage2.blocks.0", "stage2", "stage1.blocks.0", "stage1",
        "stage0.blocks.0", "stage0",
    ]  # fmt: skip
    np.testing.assert_allclose(stages["head"]["rollout"], 1)  # the head attends to nothing
    assert stages["head"]["chefer"].mean() < 0.95
    assert stages["stage2.blocks.1"]["rollout"].mean() < 0.99  # the twin has the new weights
    assert stages["stage0"]["rollout"].mean() < 0.8
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    names = dict(randomization._blocks(classifier("mae_vit_tiny")))
    assert list(names) == ["head", "blocks.2", "blocks.1", "blocks.0", "embed"]
    assert len(names["blocks.0"]) == 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs, the masks of their spots, and a run of a tiny ViT over eyes."""
    folder = tmp_path_factory.mktemp("attention")
    manifest = make_photographs(folder / "photographs")
    options = {"width": 24, "depth": 2, "heads": 3, "patch": 8}
    with pytest.MonkeyPatch.context() as patch:
        tiny = functools.partial(mae_vit.feature_map, **options)
        patch.setitem(models.FEATURE_MAPS, "tiny_vit", tiny)
        patch.setitem(models.CAM_LAYERS, "tiny_vit", mae_vit.cam_layers)
        patch.setitem(models.HEADS, "tiny_vit", mae_vit.HEAD)
        encoder = functools.partial(models.build_encoder, "tiny_vit")
        patch.setitem(models.ENCODERS, "tiny_vit", encoder)
        ready_run(manifest, folder / "eye", encoder="tiny_vit")
        spots(manifest, folder / "masks")
        yield folder


def run_explain(folder, *words, run="eye"):
    return main([str(w) for w in ("explain", folder / run, *words)])


@pytest.mark.slow
@pytest.mark.traced
def test_the_command_shows_all_methods_side_by_side(folder, tmp_path, capsys):
    words = ["--methods", "attention-rollout", "Chefer", "ViT-CX", "LayerCAM", "grad-cam"]
    words += ["--images", *files(folder, 2), "--labels", "A", "B"]
    assert run_explain(folder, *words, "--out", tmp_path / "plain") == 0
    assert "2 explained, 20 maps" in capsys.readouterr().out
    run = load_run(folder / "eye")
    path = files(folder, 1)[0]
    arrays = np.load(tmp_path / "plain" / f"{path.stem}.npz")
    picture = load_photograph(path, 32)[0][None]
    for method in NEW:
        want = explain.maps(run.model, picture, method, [0, 1], fuse=False)[0]
        np.testing.assert_allclose(arrays[method], want, atol=1e-4 * want.max())
        fused = want[:, 0] / want.max(axis=(2, 3))[..., None]
        np.testing.assert_allclose(arrays[f"{method}_fused"], fused, atol=1e-3)
    assert list(arrays["rollout_layers"]) == []
    assert list(arrays["vit_cx_layers"]) == ["blocks.1.norm1"]
    table = rows_of(tmp_path / "plain" / "explanations.csv")
    assert set(table["method"]) == {*NEW, "layer_cam", "grad_cam"}
    for name in (f"{path.stem}.png", f"{path.stem}_methods.png"):
        page = cv2.imread(str(tmp_path / "plain" / name))
        assert page.shape[1] > 500, name
        assert page.std() > 10, name
    words = ["--head-fusion", "max", "--discard-ratio", "0.5", "--aug-smooth", "--labels", "A", "B"]
    words += ["--images", path, "--methods", "rollout", "--out", tmp_path / "other"]
    assert run_explain(folder, *words) == 0
    other = np.load(tmp_path / "other" / f"{path.stem}.npz")
    options = {"head_fusion": "max", "discard_ratio": 0.5, "aug_smooth": True, "fuse": False}
    want = explain.maps(run.model, picture, "rollout", [0, 1], **options)[0]
    np.testing.assert_allclose(other["rollout"], want, rtol=1e-3)
    assert np.abs(want - arrays["rollout"]).max() > 1e-2 * want.max()


@pytest.mark.slow
@pytest.mark.traced
def test_the_command_explains_pairs(folder, tmp_path):
    ready_run(folder / "photographs" / "manifest.csv", folder / "patient", "patient", "tiny_vit")
    words = ["--manifest", folder / "photographs" / "manifest.csv", "--methods", *NEW]
    words += ["--image-root", folder / "photographs", "--split", "val", "--out", tmp_path]
    assert run_explain(folder, *words, run="patient") == 0
    both, one = np.load(tmp_path / "p5.npz"), np.load(tmp_path / "p27.npz")
    for method in NEW:
        assert both[f"{method}_left"].shape[1:] == (1, 4, 4)
        assert both[f"{method}_right"].shape == both[f"{method}_left"].shape
        assert (both[f"{method}_right"] != both[f"{method}_left"]).any()
        assert f"{method}_right" not in one


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--discard-ratio", "1"], 2, "discard ratio 1.0: must lie from 0 to below 1"),
        (["--discard-ratio", "-0.1"], 2, "discard ratio -0.1: must lie from 0"),
        (["--discard-ratio", "nan"], 2, "discard ratio nan: must lie from 0"),
        (["--head-fusion", "sum"], 2, "sum"),
        (["--layers", "blocks.1.norm1"], 2, "--layers: rollout takes none"),
        (["--eigen-smooth"], 2, "eigen_smooth: only for"),
    ],
)
def test_a_wrong_flag_is_one_line(folder, tmp_path, capsys, words, status, text):
    flags = ["--images", *files(folder, 1), "--out", tmp_path / "o", "--methods", "rollout"]
    assert run_explain(folder, *flags, *words) == status
    error = capsys.readouterr().err.strip()
    assert text in error
    assert "Traceback" not in error
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.traced
def test_maps_are_scored_by_the_measures_of_all_maps(folder, tmp_path, monkeypatch):
    options, maps = {"head_fusion": "min", "discard_ratio": 0.3}, explain.maps
    seen = []
    monkeypatch.setattr(
        explainer, "maps", lambda *args, **given: seen.append(given) or maps(*args, **given)
    )
    words = ["--methods", *NEW, "--head-fusion", "min", "--discard-ratio", "0.3"]
    assert evaluate(folder, tmp_path, *words) == 0
    summary = pd.read_csv(tmp_path / "faithfulness.csv")
    assert list(summary["method"].unique()) == [*NEW, "uniform", "centred_gaussian"]
    assert summary["overlap"].notna().all()
    own = summary[summary["method"].isin(["rollout", "chefer"])]
    for figure in ("pointing", "energy", "iou", "deletion", "insertion"):
        assert own[figure].notna().all(), figure
    stages = pd.read_csv(tmp_path / "randomised.csv")
    below = ["head", "blocks.1", "blocks.0", "embed"]
    assert list(stages["randomised_from_head_to"].unique()) == below
    rollout = stages[stages["method"] == "rollout"].set_index("randomised_from_head_to")
    assert rollout["correlation"]["head"] == pytest.approx(1)
    assert rollout["correlation"]["embed"] < 0.9
    facts = json.loads((tmp_path / "faithfulness.json").read_text())
    assert facts["layers"] == {"rollout": [], "chefer": [], "vit_cx": ["blocks.1.norm1"]}
    assert (facts["head_fusion"], facts["discard_ratio"]) == ("min", 0.3)
    images = pd.read_csv(tmp_path / "faithfulness_images.csv")
    first = images[(images["method"] == "rollout") & (images["filter"] == "none")].iloc[0]
    run, path = load_run(folder / "eye"), folder / "photographs" / first["image"]
    picture, box, _ = load_photograph(path, 32)
    assert seen  # by the sanity check, as the maps that it is about
    assert all(given.items() >= options.items() for given in seen)
    map = explain.maps(run.model, picture[None], "rollout", [0], **options)[0, 0]
    mask = cv2.imread(str(folder / "masks" / "bright" / f"{path.stem}_bright.png"), 0) > 0
    wide = laid_back(map, box, mask.shape)
    assert first["energy"] == pytest.approx(wide[mask].sum() / wide.sum(), rel=1e-4)
