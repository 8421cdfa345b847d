"""Med-Former against sums done cell by cell in NumPy."""

import itertools

import keras
import numpy as np
import pytest
from scipy.special import erf

from fundus_diag.models import ENCODERS, build_classifier
from fundus_diag.models.classifier import cam_layers
from fundus_diag.models.layers.windows import window_attention
from fundus_diag.models.med_former import ATTENTIONS, FUSIONS
from fundus_diag.utils.errors import UsageError

SIZE = 24
# Maps of 12, 6 and 3 cells: windows that divide, that are padded, and that are larger than the map.
NARROW = {"width": 4, "heads": 2, "patch": 2, "stages": 1, "windows": (5, 2)}
ROWS = list(itertools.product(ATTENTIONS, FUSIONS))
AT_ONCE = [("window", "none"), ("local_global", "concat"), ("local_global", "saf")]  # not `slow`
pytestmark = pytest.mark.usefixtures("eager")


def scattered(model, seed=0):
    """The model with all weights drawn anew: none is 0 or 1, so that each of them matters."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def attention_model(side, window, shifted, width=4, heads=2):
    x = keras.Input((side, side, width))
    y = window_attention(x, heads, window, shifted=shifted, name="attn")
    return scattered(keras.Model(x, y))


def numbers(side, window, shifted):
    """Which window each row of a map lies in, counted by walking down the rows."""
    if side <= window:
        return [0] * side
    first = window // 2 if shifted else window  # rows of the topmost window
    starts, found = set(range(first, side, window)), []
    for row in range(side):
        found.append((found[-1] if found else 0) + (row in starts))
    return found


def neighbours(side, window, shifted):
    """{cell: cells of its window}."""
    number = numbers(side, window, shifted)
    cells = list(itertools.product(range(side), repeat=2))
    key = {cell: (number[cell[0]], number[cell[1]]) for cell in cells}
    return {cell: [other for other in cells if key[other] == key[cell]] for cell in cells}


GEOMETRIES = [
    *((8, 4, s) for s in (False, True)),  # windows divide the map
    *((6, 4, s) for s in (False, True)),  # the second row of windows is half padding
    *((7, 3, s) for s in (False, True)),  # odd
    (9, 4, True),  # the last window without the roll has one row
    (5, 2, True),
    (4, 4, True),  # one window
    (3, 4, True),  # larger than the map
]


@pytest.mark.parametrize(("side", "window", "shifted"), GEOMETRIES)
def test_a_cell_is_seen_by_its_own_window_and_by_no_other(side, window, shifted):
    model = attention_model(side, window, shifted)
    x = np.random.default_rng(1).normal(size=(side, side, 4)).astype("float32")
    cells = list(itertools.product(range(side), repeat=2))
    changed = np.repeat(x[None], len(cells), axis=0)
    for number, (row, column) in enumerate(cells):
        changed[number, row, column] += 1
    moved = np.abs(model.predict(changed, verbose=0) - model.predict(x[None], verbose=0))
    inside = neighbours(side, window, shifted)
    for number, cell in enumerate(cells):
        for other in cells:
            change = moved[number][other].max()
            assert (change > 1e-4) if other in inside[cell] else (change < 1e-5), (cell, other)


@pytest.mark.parametrize(("side", "window", "shifted"), GEOMETRIES)
def test_attention_is_the_softmax_over_the_window_with_the_bias_of_its_distance(
    side, window, shifted
):
    model = attention_model(side, window, shifted)
    x = np.random.default_rng(1).normal(size=(2, side, side, 4)).astype("float32")
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    want = [attention(one, weights, "attn", 2, window, shifted) for one in x]
    np.testing.assert_allclose(model.predict(x, verbose=0), want, atol=1e-5)


def test_the_weights_that_can_be_read_are_those_the_values_are_summed_with():
    model = attention_model(6, 3, False)
    x = np.random.default_rng(1).normal(size=(1, 6, 6, 4)).astype("float32")
    parts = [model.get_layer(f"attn.{name}").output for name in ("weights", "qkv", "attend")]
    weights, qkv, attended = keras.Model(model.input, parts).predict(x, verbose=0)
    assert weights.shape == (1, 4, 2, 9, 9)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    third = weights[0, 2]  # windows row by row: this one is at the lower left
    v = qkv[0, 3:, :3, 8:].reshape(9, 4)
    want = np.concatenate([third[0] @ v[:, :2], third[1] @ v[:, 2:]], axis=1)
    np.testing.assert_allclose(attended[0, 3:, :3].reshape(9, 4), want, atol=1e-6)


# The network in NumPy. `w`: weights by name of the layer.


def attention(x, w, name, heads, window, shifted):
    side, _, width = x.shape
    each = width // heads
    q, k, v = np.split(dense(x, w[f"{name}.qkv"]), 3, axis=-1)
    table = w[f"{name}.weights"][0].reshape(heads, 2 * window - 1, 2 * window - 1)
    out = np.zeros(x.shape)
    for (row, column), cells in neighbours(side, window, shifted).items():
        for head in range(heads):
            part = slice(head * each, (head + 1) * each)
            scores = [
                q[row, column, part] @ k[a, b, part] / np.sqrt(each)
                + table[head, row - a + window - 1, column - b + window - 1]
                for a, b in cells
            ]
            share = np.exp(scores - np.max(scores))
            share /= share.sum()
            values = [v[a, b, part] for a, b in cells]
            out[row, column, part] = share @ np.array(values)
    return dense(out, w[f"{name}.proj"])


def dense(x, weights):
    return x @ weights[0] + (weights[1] if len(weights) > 1 else 0)


def normed(x, weights):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weights[0] + weights[1]


def block(x, w, name, heads, windows, shifted):
    inner = normed(x, w[f"{name}.norm1"])
    names = ["attn.global", "attn.local"] if len(windows) > 1 else ["attn"]
    for path, window in zip(names, windows, strict=True):
        x = x + attention(inner, w, f"{name}.{path}", heads, window, shifted)
    hidden = dense(normed(x, w[f"{name}.norm2"]), w[f"{name}.mlp.fc1"])
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    return x + dense(hidden, w[f"{name}.mlp.fc2"])


def merged(x, w, name):
    half = len(x) // 2
    joined = np.array(
        [
            [
                np.concatenate([x[2 * i + a, 2 * j + b] for a in (0, 1) for b in (0, 1)])
                for j in range(half)
            ]
            for i in range(half)
        ]
    )
    return dense(normed(joined, w[f"{name}.norm"]), w[f"{name}.reduction"])


def gated(x, w, name):
    kernel, bias = w[f"{name}.conv"]
    pooled = np.stack([x.mean(axis=-1), x.max(axis=-1)], axis=-1)
    wide = np.pad(pooled, ((3, 3), (3, 3), (0, 0)))
    out = np.zeros(x.shape)
    for i, j in np.ndindex(x.shape[:2]):
        gate = 1 / (1 + np.exp(-((wide[i : i + 7, j : j + 7] * kernel[..., 0]).sum() + bias[0])))
        out[i, j] = gate * x[i, j]
    return out


def med_former(image, w, attention, fusion):
    """Maps after the encoding phase and after each stage."""
    windows = (5, 2) if attention == "local_global" else (5,)
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    x = (image - mean) / std
    kernel, bias = w["encoding.embed"]
    x = np.einsum("iajbc,abcd->ijd", x.reshape(12, 2, 12, 2, 3), kernel) + bias
    maps = []
    for phase, heads in (("encoding", 2), ("stage0", 4), ("stage1", 8)):
        if maps:
            x = merged(x, w, f"{phase}.merge")
        x = block(x, w, f"{phase}.blocks.0", heads, windows, shifted=False)
        x = block(x, w, f"{phase}.blocks.1", heads, windows, shifted=True)
        if maps and fusion == "saf":
            down = gated(merged(maps[-1], w, f"{phase}.saf.down"), w, f"{phase}.saf.previous")
            x = down + gated(x, w, f"{phase}.saf.current")
        if maps and fusion == "concat":
            down = merged(maps[-1], w, f"{phase}.concat.down")
            x = dense(np.concatenate([down, x], axis=-1), w[f"{phase}.concat.proj"])
        maps.append(x)
    return maps


@pytest.mark.parametrize(
    ("attention", "fusion"),
    [pytest.param(*x, marks=() if x in AT_ONCE else pytest.mark.slow) for x in ROWS],
)
def test_each_row_of_the_ablation_is_the_network_done_by_hand(attention, fusion):
    encoder = scattered(ENCODERS["med_former"](SIZE, **NARROW, attention=attention, fusion=fusion))
    images = np.random.default_rng(2).uniform(0, 255, (2, SIZE, SIZE, 3)).astype("float32")
    names = [f"{phase}.map" for phase in ("encoding", "stage0", "stage1")]
    outputs = [encoder.get_layer(name).output for name in names]
    got = keras.Model(encoder.input, outputs).predict(images, verbose=0)
    assert [x.shape[1:] for x in got] == [(12, 12, 4), (6, 6, 8), (3, 3, 16)]
    weights = {x.name: x.get_weights() for x in encoder.layers}
    for row, image in enumerate(images):
        for one, want in zip(got, med_former(image, weights, attention, fusion), strict=True):
            np.testing.assert_allclose(one[row], want, atol=1e-4 * np.abs(want).max())
    assert got[-1].std(axis=0).mean() > 1e-2  # the picture matters
    np.testing.assert_array_equal(encoder.predict(images, verbose=0), got[-1])


@pytest.mark.slow
def test_the_rows_of_the_ablation_have_six_different_sets_of_weights():
    found = set()
    for attention, fusion in ROWS:
        encoder = ENCODERS["med_former"](
            SIZE, **{**NARROW, "stages": 0}, attention=attention, fusion=fusion
        )
        found.add(tuple((w.path, w.shape) for w in encoder.weights))
    assert len(found) == 6


def test_weights_have_the_same_shapes_for_pictures_of_any_size():
    options = {**NARROW, "stages": 0}
    small, large = (ENCODERS["med_former"](size, **options) for size in (16, 40))
    shapes = [(w.path, w.shape) for w in small.weights]
    assert shapes == [(w.path, w.shape) for w in large.weights]


@pytest.mark.parametrize(
    "fusion",
    [pytest.param(x, marks=() if x == "saf" else pytest.mark.slow) for x in FUSIONS],
)
def test_stochastic_depth_rises_from_block_to_block_and_rests_in_inference(fusion, tmp_path):
    options = {**NARROW, "stages": 0, "fusion": fusion}
    plain = scattered(ENCODERS["med_former"](SIZE, **options))
    encoder = ENCODERS["med_former"](SIZE, **options, drop_path=0.3)
    rates = [x.rate for x in encoder.layers if x.name.endswith(".drop_path")]
    # Two blocks in the encoding phase, two in stage 0; the first has a rate of 0 and no layer.
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    plain.save_weights(tmp_path / "plain.weights.h5")
    encoder.load_weights(tmp_path / "plain.weights.h5")  # Keras files go by the order of layers
    images = np.random.default_rng(2).uniform(0, 255, (8, SIZE, SIZE, 3)).astype("float32")
    want = plain.predict(images, verbose=0)
    np.testing.assert_allclose(encoder.predict(images, verbose=0), want, atol=1e-5)
    assert np.abs(np.asarray(encoder(images, training=True)) - want).max() > 1e-2


def test_it_can_be_described_and_built_again():
    encoder = scattered(ENCODERS["med_former"](SIZE, **{**NARROW, "stages": 0}))
    again = keras.Model.from_config(encoder.get_config())
    again.set_weights(encoder.get_weights())
    images = np.random.default_rng(2).uniform(0, 255, (1, SIZE, SIZE, 3)).astype("float32")
    want = encoder.predict(images, verbose=0)
    np.testing.assert_array_equal(again.predict(images, verbose=0), want)


def test_maps_are_explained_at_the_end_of_each_phase():
    model = build_classifier("med_former", SIZE, 2, **NARROW)
    assert cam_layers(model) == ("encoding.map", "stage0.map", "stage1.map")
    assert model.get_layer("head_pool").input is model.get_layer("stage1.map").output


@pytest.mark.slow
def test_the_default_has_as_many_weights_as_its_parts():
    def parts(c):
        attention = 4 * c * c + 4 * c + (c // 32) * np.array([15**2, 7**2])
        return 2 * (attention.sum() + 4 * c + 8 * c * c + 5 * c)  # norms, MLP; two blocks

    want = 4 * 4 * 3 * 96 + 96 + parts(96)
    for c in (192, 384, 768, 1536):
        merge = 2 * 2 * c + 2 * c * c
        want += parts(c) + 2 * merge + 2 * (7 * 7 * 2 + 1)
    encoder = ENCODERS["med_former"](128)
    assert encoder.count_params() == want == 113_279_436
    assert encoder.output.shape == (None, 2, 2, 1536)


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (224, {}, "--image-size 224: must be a multiple of 64 from 128; nearest 256"),
        (64, {}, "--image-size 64: must be a multiple of 64 from 128; nearest 128"),
        (
            28,
            {"patch": 2, "stages": 1},
            "--image-size 28: must be a multiple of 8 .*nearest (24|32)",
        ),
        (128, {"attention": "global"}, "attention 'global': there are window, local_global"),
        (128, {"fusion": "sum"}, "fusion 'sum': there are none, concat, saf"),
    ],
)
def test_what_cannot_be_built_is_refused(size, options, message):
    with pytest.raises(UsageError, match=message):
        ENCODERS["med_former"](size, **options)
