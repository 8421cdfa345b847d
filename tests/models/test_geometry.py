"""Where cells stand, against the gradients of even networks and against arithmetic by hand."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from small_encoders import OPTIONS
from tiny import tiny

from fundus_diag.models import build_classifier
from fundus_diag.models.classifier import cam_layers
from fundus_diag.models.encoders import FEATURE_MAPS
from fundus_diag.models.geometry import grids, pixels, stretched
from fundus_diag.utils.errors import UsageError

NORMS = (layers.LayerNormalization, layers.BatchNormalization)
# Sides of pictures for which cells in the middle see no edge; those of CvT and SE-Xception even and
# odd, those of patches an even and an odd number of them.
SIZES = {"se_xception": (500, 511), "efficientnet_lite0": (448, 449), "cvt_13": (128, 133),
         "mae_vit_tiny": (96, 80), "med_former": (96, 80)}  # fmt: skip


@functools.lru_cache(maxsize=2)
def classifier(name, size):
    return build_classifier(name, size, 2, **OPTIONS[name])


def shown(model):
    """The layers of the default maps, and the map that the head pools."""
    pooled = model.get_layer("head_pool").input._keras_history.operation.name
    return tuple(dict.fromkeys((*cam_layers(model), pooled)))


def even(model):
    """The network with kernels of one value and a gain of 1, so that all of a window weighs alike.

    Norms are left out, which would take away what all channels have alike; maxima become means, of
    which they are a sample; gates are open; of attention only the path beside it is left.
    """

    normed = {}

    def call(layer, x, *args, **kwargs):
        if isinstance(layer, NORMS):
            normed[layer.name] = layers.Identity(name=layer.name)(x)
            return normed[layer.name]
        if isinstance(layer, layers.MaxPooling2D):
            options = {"strides": layer.strides, "padding": layer.padding, "name": layer.name}
            return layers.AveragePooling2D(layer.pool_size, **options)(x)
        if layer.name.endswith(".attn.add"):
            return normed[layer.name.replace(".attn.add", ".norm1")]  # what it is added to
        return layer(x, *args, **kwargs)

    copy = keras.models.clone_model(model, call_function=call)
    for layer in copy.layers:
        arrays = layer.get_weights()
        gate = layer.name.endswith(("_expand", ".previous.conv", ".current.conv"))
        for k, array in enumerate(arrays):
            inputs = np.prod(array.shape[:-1]) if array.ndim > 1 else np.inf
            if "depthwise_kernel" in layer.weights[k].path or isinstance(
                layer, layers.DepthwiseConv2D
            ):
                inputs = np.prod(array.shape[:2])
            arrays[k] = np.full_like(array, 0 if gate or array.ndim == 1 else 1 / inputs)
            if gate and array.ndim == 1:
                arrays[k] += 30
        if not isinstance(layer, layers.Normalization):
            layer.set_weights(arrays)
    return copy


def cases():
    for name, sizes in SIZES.items():
        for k, size in enumerate(sizes):
            patches = k and name in ("mae_vit_tiny", "med_former")
            yield pytest.param(name, size, marks=[pytest.mark.slow] if patches else [])


def centroid(gradient):
    """y and x, edges of pixels at whole numbers, of what a cell's gradient (S, S, 3) weighs."""
    weight = gradient.sum(axis=-1)
    assert weight.min() >= 0 < weight.max()
    rim = np.ones_like(weight, bool)
    rim[1:-1, 1:-1] = False
    assert not weight[rim].any()  # the cell sees no edge
    middles = np.arange(len(weight)) + 0.5
    return np.array([weight.sum(axis=1) @ middles, weight.sum(axis=0) @ middles]) / weight.sum()


@pytest.mark.parametrize(("name", "size"), list(cases()))
def test_a_cell_stands_where_the_gradient_of_an_even_network_has_its_middle(name, size):
    model = classifier(name, size)
    names = shown(model)
    network = even(model)
    network = keras.Model(network.input, [network.get_layer(x).output for x in names])
    picture = tf.fill((1, size, size, 3), 255.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(picture)
        sums = []
        for output, grid in zip(network(picture), grids(model, names), strict=True):
            cells = output if len(output.shape) == 4 else output[:, -(grid.shape[0] ** 2) :]
            cells = tf.reshape(cells, (*grid.shape, -1))
            at = np.array(grid.shape) // 2 - (1, 0)
            sums.append((tf.reduce_sum(cells[tuple(at)]), grid, at))
    for layer, (value, grid, at) in zip(names, sums, strict=True):
        found = centroid(tape.gradient(value, picture).numpy()[0])
        want = np.array(grid.offset) + at * grid.stride
        assert np.abs(found - want).max() <= 0.25 * min(grid.stride), layer


@pytest.mark.parametrize(
    ("name", "size", "want"),
    [
        # Symmetric padding at stride 2: cell k stands on pixel 2 k of what it sees.
        ("cvt_13", 224, [(1.5, 4), (1.5, 8), (1.5, 16), (1.5, 16)]),
        # Without padding 3.5 px in; where the shortcut and the pooling part, their mean.
        ("se_xception", 128, [(3.5, 2), (3.5, 4), (3.5, 8), (7.5, 16), (7.5, 16), (15.5, 32)]),
        ("mae_vit_tiny", 96, [(8, 16)] * 3),
        ("med_former", 96, [(2, 4), (4, 8), (8, 16)]),
        # TensorFlow's padding of even maps at stride 2: none before the first cell.
        ("efficientnet_lite0", 224, [(1.5, 2), (3.5, 4), (7.5, 8), (15.5, 16), (31.5, 32)]),
        pytest.param(
            "efficientnet_v2_s",
            384,
            [(1.5, 2), (3.5, 4), (7.5, 8), (15.5, 16), (31.5, 32)],
            marks=pytest.mark.slow,
        ),
        # Padding of its own, 3 of 7: cell k stands on pixel 2 k.
        pytest.param(
            "resnet50",
            224,
            [(0.5, 2), (0.5, 4), (0.5, 8), (0.5, 16), (0.5, 32)],
            marks=pytest.mark.slow,
        ),
        # No padding in the stem and where a map is halved.
        pytest.param(
            "inception_v3",
            299,
            [(3.5, 2), (9.5, 4), (13.5, 8), (21.5, 16), (37.5, 32)],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_offsets_and_strides_by_hand(name, size, want):
    model = classifier(name, size)
    found = grids(model, shown(model))
    assert [(x.offset, x.stride) for x in found] == [((o, o), (s, s)) for o, s in want]
    for layer, grid in zip(shown(model), found, strict=True):
        shape = model.get_layer(layer).output.shape
        assert grid.shape == (tuple(shape[1:3]) if len(shape) == 4 else (6, 6))


def test_how_far_paths_are_apart_is_kept():
    model = classifier("se_xception", 128)
    # 16 to 8 cells: the shortcut sees the first of two cells of 8 px, the pooling has its middle
    # on the second; 8 to 4 cells, 16 px more.
    assert [x.apart for x in grids(model, shown(model))] == [0, 0, 0, 8, 8, 24]
    assert {x.apart for x in grids(classifier("cvt_13", 128), ("stage1.map",))} == {0}


def network(*steps, size=24):
    """A model of layers one after the other; the last is called `last`."""
    x = images = keras.Input((size, size, 3), name="images")
    for step in steps:
        x = step(x)
    return keras.Model(images, layers.Activation("linear", name="last")(x))


def grid_of(*steps, **options):
    (found,) = grids(network(*steps, **options), ["last"])
    return found


@pytest.mark.parametrize(
    ("step", "size", "offset", "stride"),
    [
        (layers.Conv2D(1, 3, strides=2), 24, 1.5, 2),
        (layers.Conv2D(1, 3, strides=2, padding="same"), 24, 1.5, 2),  # one behind, none before
        (layers.Conv2D(1, 3, strides=2, padding="same"), 25, 0.5, 2),  # one on each side
        (layers.Conv2D(1, 4, strides=4, padding="same"), 26, 1.0, 4),
        (layers.Conv2D(1, 3, dilation_rate=4), 24, 4.5, 1),
        (layers.DepthwiseConv2D(5), 24, 2.5, 1),
        (layers.SeparableConv2D(1, 3, dilation_rate=2, padding="same"), 24, 0.5, 1),
        (layers.AveragePooling2D(2), 24, 1.0, 2),
        (layers.MaxPooling2D(3, strides=2), 24, 1.5, 2),
        (layers.ZeroPadding2D(((3, 1), (3, 1))), 24, -2.5, 1),
        (layers.Cropping2D(((3, 1), (3, 1))), 24, 3.5, 1),
        (layers.UpSampling2D(2), 24, 0.25, 0.5),
    ],
)
def test_layers_by_hand(step, size, offset, stride):
    found = grid_of(step, size=size)
    assert (found.offset, found.stride) == ((offset, offset), (stride, stride))
    assert found.shape == step.output.shape[1:3]


def test_rows_and_columns_may_differ():
    found = grid_of(layers.Conv2D(1, (3, 5), strides=(2, 3)))
    assert (found.shape, found.offset, found.stride) == ((11, 7), (1.5, 2.5), (2, 3))


class Halves(layers.Layer):
    """Leaves out every second row and column."""

    def call(self, x):
        return x[:, ::2, ::2]


class Doubles(layers.Layer):
    """Keeps every place."""

    def call(self, x):
        return 2 * x


def test_a_layer_of_ones_own_keeps_its_places_or_says_what_it_sees_or_is_named():
    assert grid_of(Doubles()) == pixels(24)
    with pytest.raises(UsageError, match="layer halves_here: it is not known where its cells"):
        grid_of(Halves(name="halves_here"), Doubles())
    told = Halves()
    told.sees = (1, 2, 0)
    found = grid_of(told)
    assert (found.offset, found.stride) == ((0.5, 0.5), (2, 2))
    model = network(Halves(name="halves_here"), layers.GlobalAveragePooling2D(keepdims=True))
    with pytest.raises(UsageError, match="layer last: its output has no places"):
        grids(network(layers.GlobalAveragePooling2D(keepdims=True)), ["last"])
    with pytest.raises(UsageError, match="layer halves_here"):
        grids(model, ["last"])


def test_gates_have_no_place_and_tokens_those_of_their_map():
    def gated(x):
        x = layers.Conv2D(4, 4, strides=4)(x)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        return layers.Multiply()([x, layers.Dense(4)(gate)])

    want = (6, 6), (2.0, 2.0), (4.0, 4.0)
    found = grid_of(gated, layers.Reshape((36, 4)), layers.LayerNormalization())
    assert (found.shape, found.offset, found.stride) == want
    found = grid_of(gated, layers.Reshape((36, 4)), layers.Reshape((6, 6, 4)))
    assert (found.shape, found.offset, found.stride) == want
    with pytest.raises(UsageError, match="rearranged"):
        grid_of(gated, layers.Reshape((4, 9, 4), name="rearranged"))


def test_a_network_within_another_is_looked_into():
    inner = network(layers.Conv2D(4, 3, strides=2), size=24)
    assert grid_of(inner, layers.Conv2D(1, 2)).offset == (2.5, 2.5)


def test_encoders_that_were_added_and_pairs_need_nothing_written_down(monkeypatch):
    monkeypatch.setitem(FEATURE_MAPS, "tiny", tiny)
    for unit in ("eye", "patient"):
        model = build_classifier("tiny", 33, 2, unit=unit)
        found = grids(model, ("conv1_act", "conv2_act"))
        assert [(x.shape, x.offset, x.stride, x.size) for x in found] == [
            ((16, 16), (1.5, 1.5), (2, 2), 33), ((7, 7), (3.5, 3.5), (4, 4), 33),
        ]  # fmt: skip


def test_the_mirrored_grid_lays_the_reversed_columns_where_they_were():
    found = grid_of(layers.Conv2D(1, (3, 5), strides=(2, 3)))
    columns = found.offset[1] + np.arange(7) * found.stride[1]
    mirrored = found.mirrored()
    assert mirrored.offset[0] == found.offset[0]
    again = mirrored.offset[1] + np.arange(7) * mirrored.stride[1]
    np.testing.assert_allclose(again, 24 - columns[::-1])


def test_patches_divide_the_picture():
    assert stretched((4, 4), 64).offset == (8, 8)
    assert stretched((4, 2), 64).stride == (16, 32)
