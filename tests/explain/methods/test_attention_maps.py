"""Maps of transformers by value: against the papers' formulas in plain loops, and by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from attentive import FAMILIES, LABELS, SIZE, as_pairs, classifier, pictures, sharpen
from small_encoders import NARROW

from fundus_diag import explain
from fundus_diag.explain.methods import attention
from fundus_diag.explain.methods.layers import usable
from fundus_diag.models import build_classifier
from fundus_diag.models.geometry import Grid, grids_of
from fundus_diag.models.layers.attention import AttentionWeights

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def images():
    return pictures()


def attention_of(name, inputs, unit="eye", pool="mean"):
    """Weights (N, heads, t, s) of the last stage's blocks, from a network built to be read."""
    model = classifier(name, unit, pool, readable=True)
    found = [x.output for x in model.layers if isinstance(x, AttentionWeights)]
    found = [x for x in found if x.shape[2] == SIZE // 16 * SIZE // 16 + 1]
    return [x.numpy() for x in keras.Model(model.input, found)(inputs)]


# Of two keys, which stand at cells 0 and 2, what four cells take: half of one, or of the next, or a
# quarter of both between them.
ALONG = np.array([[1, 0.5, 0, 0], [0, 0.5, 1, 1]]) / 2


def spread(matrix):
    """(t, s) to (t, t): 2 x 2 keys over 4 x 4 cells."""
    if matrix.shape[1] == matrix.shape[0]:
        return matrix
    wide = np.zeros((17, 17))
    wide[:, 0] = matrix[:, 0]
    for i, j, row, column in np.ndindex(2, 2, 4, 4):
        share = ALONG[i, row] * ALONG[j, column]
        wide[:, 1 + 4 * row + column] += share * matrix[:, 1 + 2 * i + j]
    return wide


SHARES = np.zeros((5, 17), np.float32)  # the class token is its own key
SHARES[0, 0], SHARES[1:, 1:] = 1, np.kron(ALONG, ALONG)


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pool"), [("cvt_13", "mean"), ("mae_vit_tiny", "class_token")])
def test_rollout_is_the_product_of_the_blocks(name, pool, images):
    blocks = attention_of(name, images, pool=pool)
    patches = np.arange(17) > 0
    reading = 1.0 - patches if pool == "class_token" else patches / 16
    for fusion, ratio in (("mean", 0.0), ("max", 0.0), ("min", 0.15), ("mean", 0.7)):
        given = [tf.constant(b) for b in blocks]
        strided = SHARES if name == "cvt_13" else None
        got = attention.rollout(given, reading, fusion, ratio, strided).numpy()
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


@pytest.mark.slow
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
    shares = np.array([[1, 0, 0, 0, 0], [0, 0.25, 0.25, 0.25, 0.25]], "float32")
    patches, token = np.array([0, 1, 1, 1, 1]) / 4, np.array([1, 0, 0, 0, 0])
    # A patch gives .8 / 4 to each cell: .1 after halving, and .5 to itself.
    got = attention.rollout(blocks, patches, shares=shares)
    np.testing.assert_allclose(got, [[0.1] + [0.225] * 4], rtol=1e-6)
    # The class token keeps .5 + .2, and gives .6 / 4 / 2 to each cell.
    got = attention.rollout(blocks, token, shares=shares)
    np.testing.assert_allclose(got, [[0.7] + [0.075] * 4], rtol=1e-6)
    # Two blocks: .1 x .7 + .9 x .1 to the class token, the rest to the cells alike.
    np.testing.assert_allclose(
        attention.rollout(blocks * 2, patches, shares=shares), [[0.16] + [0.21] * 4], rtol=1e-6
    )
    # Relevance: the second key is worth 3 x .8 to each patch, the first counts against.
    slopes = [tf.constant(np.tile([-1.0, 3.0], (5, 1))[None, None], tf.float32)]
    once = attention.chefer(blocks, slopes, patches, shares)
    np.testing.assert_allclose(once, [[0] + [0.6] * 4], rtol=1e-6)
    # Over two blocks each of the four cells is worth .6 + .6 + 4 x .6 x .6.
    twice = attention.chefer(blocks * 2, slopes * 2, patches, shares)
    np.testing.assert_allclose(twice, [[0] + [0.6 + 0.6 + 4 * 0.36] * 4], rtol=1e-6)


def key_grids(side):
    """Grids of a stage's tokens and of its keys, at every second of them from the first on."""
    keys = -(-side // 2)
    size = 16 * side
    own = Grid((side, side), (1.5, 1.5), (16.0, 16.0), size)
    return own, Grid((keys, keys), (1.5, 1.5), (32.0, 32.0), size)


def test_keys_are_spread_about_the_places_of_their_convolutions():
    got = attention.key_shares(*key_grids(4), 1)
    np.testing.assert_allclose(got, SHARES, atol=1e-6)
    np.testing.assert_allclose(attention.key_shares(*key_grids(4), 0), got[1:, 1:], atol=1e-7)
    for side in range(2, 16):
        keys = -(-side // 2)
        shares = attention.key_shares(*key_grids(side), 1)
        assert shares[0, 0] == 1
        assert not shares[0, 1:].any()
        # Even attention makes an even map, of the same sum.
        np.testing.assert_allclose(shares[:, 1:].sum(axis=0), keys**2 / side**2, atol=1e-5)
        own = shares[1:, 1:].reshape(keys, keys, side, side)
        for i, j, y, x in np.argwhere(own > 1e-5):  # its 3 x 3 convolution sees it
            assert abs(y - 2 * i) <= 1
            assert abs(x - 2 * j) <= 1
        for i in range(1, (side - 1) // 2):  # in the middle a key gives its weight, about its place
            along = own[i, i].sum(axis=1)
            assert along.sum() == pytest.approx(1 if side % 2 == 0 else (2 * keys / side) ** 2)
            assert along @ np.arange(side) == pytest.approx(2 * i * along.sum(), abs=1e-4)


def test_the_keys_of_the_network_stand_where_its_graph_says(images):
    model = classifier("cvt_13")
    twin = attention.readable(model)
    last = [x for x in twin.layers if isinstance(x, AttentionWeights)][-1]
    q, k = grids_of(twin, last.input)
    assert (q.shape, q.offset, q.stride) == ((4, 4), (1.5, 1.5), (16, 16))
    assert (k.shape, k.offset, k.stride) == ((2, 2), (1.5, 1.5), (32, 32))
    assert attention.grids(model, ()) == (q,)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_behind_a_class_token_only_what_leaves_the_last_block_is_blank(name, images):
    model = classifier(name, pool="class_token")
    for method in ("layer_cam", "chefer", "rollout"):
        found = explain.maps(model, images, method, fuse=False)
        assert found.max(axis=(-2, -1)).min() > 1e-3, method
    last = [x for x in usable(model) if ".blocks." in f".{x}"][-1]
    assert last.endswith(".mlp.add")
    assert not explain.maps(model, images, layers=[last], fuse=False).any()


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
        fused = explain.maps(model, images[:1], method)
        assert np.isfinite(fused).all()
        assert fused[:, :2].max() == pytest.approx(1)
        assert not fused[:, 2].any()  # nothing speaks for it
