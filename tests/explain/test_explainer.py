"""Class activation maps by value: against tf-keras-vis, and against sums done by hand."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from attentive import as_pairs
from flat_head import LABELS, flat_head, photographs
from keras import layers
from laid import placed
from scipy import ndimage
from small_encoders import NARROW, OPTIONS, SIZE, shake

from fundus_diag import explain
from fundus_diag.explain.fusion import fused
from fundus_diag.explain.methods import score_cam
from fundus_diag.explain.methods.layers import scales
from fundus_diag.models import build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.geometry import Grid, grids, stretched
from fundus_diag.utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("eager")


LONG = ("cvt_13", "med_former", "resnet50")


@pytest.fixture(scope="module")
def images():
    return photographs()


@functools.lru_cache(maxsize=16)
def classifier(name, unit="eye"):
    """A classifier whose logits vary with the picture; not to be changed."""
    keras.utils.set_random_seed(0)
    model = build_classifier(name, SIZE, LABELS, unit=unit, **OPTIONS[name])
    shake(model)
    inputs = photographs() if unit == "eye" else as_pairs(photographs())
    calibrate_batch_norm(model, [inputs])
    assert model.predict(inputs, verbose=0).std(axis=0).min() > 1e-3
    return model


def with_a_map(model, layer):
    """The same network whose `layer` puts out patches as a map, for a library that knows no tokens.

    Returns it and the name of the map.
    """
    if len(model.get_layer(layer).output.shape) == 4:
        return model, layer
    side = int(model.get_layer(layer).output.shape[1] ** 0.5)

    def call(one, *args, **kwargs):
        tokens = one(*args, **kwargs)
        if one.name != layer:
            return tokens
        patches = layers.Reshape((side, side, tokens.shape[2]), name="patches")(tokens[:, 1:])
        back = layers.Reshape((side * side, tokens.shape[2]))(patches)
        return keras.ops.concatenate([tokens[:, :1], back], axis=1)

    return keras.models.clone_model(
        model, clone_function=lambda x: x, call_function=call
    ), "patches"


def by_library(model, method, layer, images, label):
    """One label's raw map of one layer, straight from tf-keras-vis."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam

    kinds = {"layer_cam": Layercam, "grad_cam": Gradcam, "grad_cam_pp": GradcamPlusPlus}
    model, layer = with_a_map(model, layer)
    maps = kinds[method](model)(
        lambda logits: logits[:, label],
        images,
        penultimate_layer=layer,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
    )
    return np.asarray(maps)


def on_finest(maps, grid, onto):
    """Maps of one grid at the cells of another, by SciPy."""
    cells = np.indices(onto.shape).reshape(2, -1)
    at = (np.reshape(onto.offset, (2, 1)) + cells * np.reshape(onto.stride, (2, 1))
          - np.reshape(grid.offset, (2, 1))) / np.reshape(grid.stride, (2, 1))  # fmt: skip
    found = [ndimage.map_coordinates(m, at, order=1, mode="nearest") for m in maps]
    return np.reshape(found, (-1, *onto.shape))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "layer_cam") for name in (*NARROW, "flat") if name not in LONG),
        *(pytest.param(x, "layer_cam", marks=pytest.mark.slow) for x in LONG),
        *((name, "grad_cam") for name in ("se_xception", "mae_vit_tiny", "flat")),
    ],
)
def test_all_layers_and_labels_at_once_equal_tf_keras_vis_one_by_one(name, method, images):
    model = flat_head(images) if name == "flat" else classifier(name)
    names = ("first", "second") if name == "flat" else scales(model)
    got = explain.maps(model, images, method, layers=names, fuse=False)
    assert got.shape[:3] == (len(images), LABELS, len(names))
    own = grids(model, names)
    onto = max(own, key=lambda grid: grid.shape)
    for k, layer in enumerate(names):  # the library is slow: another label at every layer
        for label in range(LABELS) if name == "flat" else [k % LABELS]:
            want = on_finest(by_library(model, method, layer, images, label), own[k], onto)
            assert want.max() > 0
            error = np.abs(got[:, label, k] - want).max()
            assert error <= 1e-4 * want.max(), (layer, label)


@pytest.mark.parametrize("method", ["layer_cam", "grad_cam", "grad_cam_pp"])
def test_one_layer_is_the_librarys_map_of_each_pictures_own_label(method, images):
    model = flat_head(images)
    chosen = np.array([[2], [0], [1], [2]])
    got = explain.maps(model, images, method, chosen, layers=["second"], fuse=False)
    for row, label in enumerate(chosen[:, 0]):
        want = by_library(model, method, "second", images[row : row + 1], int(label))[0]
        np.testing.assert_allclose(got[row, 0, 0], want, atol=1e-5 * want.max())


def test_score_cam_weighs_channels_by_the_rise_of_the_logit(images, monkeypatch):
    monkeypatch.setattr(score_cam, "CHANNELS", 8)  # all of the layer: no choice to make
    model = flat_head(images)
    got = explain.maps(model, images[:2], "score_cam", [1], layers=["second"], fuse=False)
    features = keras.Model(model.input, model.get_layer("second").output)(images[:2]).numpy()
    black = model(np.zeros_like(images[:1]))
    (own,) = grids(model, ["second"])
    for row in range(2):
        want = 0
        for channel in np.moveaxis(features[row], -1, 0):
            wide = placed(channel, own.offset, own.stride, SIZE, (0, 0, SIZE, SIZE), SIZE, SIZE)
            seen = (wide - wide.min()) / (wide.max() - wide.min() + 1e-7)
            rise = (model(images[row : row + 1] * seen[None, ..., None]) - black).numpy()[0, 1]
            want = want + rise * channel
        want = np.maximum(want, 0)
        np.testing.assert_allclose(got[row, 0, 0], want, atol=1e-3 * want.max())


def linear(weights, side):
    """Logits that are a linear function of the pixels: the gradient of `layer` is `weights`."""
    inputs = keras.Input((side, side, 3), name="images")
    x = layers.Activation("linear", name="layer")(inputs)
    x = layers.Flatten(name="head_pool")(x)
    model = keras.Model(inputs, layers.Dense(weights.shape[-1], name="head_logits")(x))
    model.get_layer("head_logits").set_weights([weights, np.zeros(weights.shape[-1])])
    return model


def test_of_a_linear_head_the_maps_are_sums_done_by_hand():
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 255, (2, 6, 6, 3)).astype("float32")
    w = rng.normal(size=(6 * 6 * 3, 2)).astype("float32")
    model = linear(w, 6)
    slope = np.moveaxis(w.reshape(6, 6, 3, 2), -1, 0)
    layer_cam = np.maximum(slope[None], 0) * x[:, None]
    grad_cam = slope.mean(axis=(1, 2), keepdims=True)[None] * x[:, None]
    for method, weighted in (("layer_cam", layer_cam), ("grad_cam", grad_cam)):
        want = np.maximum(weighted.sum(axis=-1), 0)
        got = explain.maps(model, x, method, layers=["layer"], fuse=False)[:, :, 0]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)
        centred = weighted - weighted.mean(axis=(2, 3), keepdims=True)
        want = np.zeros_like(want)
        for index in np.ndindex(2, 2):
            matrix = centred[index].reshape(36, 3)
            component = matrix @ np.linalg.svd(matrix)[2][0]
            component *= np.sign(component @ matrix.sum(axis=1))
            want[index] = np.maximum(component, 0).reshape(6, 6)
        got = explain.maps(model, x, method, layers=["layer"], fuse=False, eigen_smooth=True)
        np.testing.assert_allclose(got[:, :, 0], want, rtol=1e-3, atol=1e-3 * want.max())


def test_the_fused_map_follows_the_paper():
    rng = np.random.default_rng(5)
    fine, coarse = rng.uniform(0, 7, (1, 16, 16, 2)), rng.uniform(0, 3, (1, 4, 4, 2))
    fine[..., 1] = 0  # a label without any positive gradient in the fine layer
    own = Grid((16, 16), (1.5, 2.0), (4, 4), 64), Grid((4, 4), (1.5, 5.0), (16, 14), 64)
    got = fused([tf.constant(fine, tf.float32), tf.constant(coarse, tf.float32)], own).numpy()
    for label in range(2):
        top = fine[0, ..., label].max() or 1
        shallow = np.tanh(2 * fine[0, ..., label] / top)  # 4 px a cell
        deep = coarse[0, ..., label] / coarse[0, ..., label].max()  # 16 px a cell
        want = np.maximum(shallow, on_finest(deep[None], own[1], own[0])[0])
        np.testing.assert_allclose(got[0, ..., label], want, atol=1e-5)
    assert got.max() <= 1
    nothing = fused([tf.zeros((1, 4, 4, 1))], [stretched((4, 4), 64)])
    np.testing.assert_array_equal(nothing, np.zeros((1, 4, 4, 1)))


def test_a_layer_is_divided_by_its_maximum_inside_the_field():
    maps = np.zeros((4, 4, 4, 1), "float32")
    maps[:, 0, 0], maps[:2, 2, 1], maps[1, 2, 2] = 3, 2, 4  # the black corner; two lesions
    inside = np.zeros((4, 64, 64), bool)
    inside[:3, 16:] = True  # all but the first row of cells
    inside[3, 12:20, 12:20] = True  # no cell's middle, but parts of four
    grid = Grid((4, 4), (8.0, 8.0), (16.0, 16.0), 64)
    got = fused([tf.constant(maps)], [grid], tf.constant(inside), shallow=False).numpy()[..., 0]
    assert (got[0, 2, 1], got[0, 0, 0]) == (1, 1)  # what is outside is not above
    assert (got[1, 2, 1], got[1, 2, 2], got[1, 0, 0]) == (0.5, 1, 0.75)
    assert not got[2].any()  # nothing inside
    assert got[3, 0, 0] == 1
    whole = fused([tf.constant(maps)], [grid], shallow=False).numpy()[..., 0]
    assert whole[0, 2, 1] == np.float32(2 / 3)


@pytest.mark.parametrize(
    "name",
    [
        "se_xception",
        *(pytest.param(x, marks=pytest.mark.slow) for x in NARROW if x != "se_xception"),
        pytest.param("cvt_13", marks=[pytest.mark.traced, pytest.mark.slow]),
    ],
)
def test_maps_are_the_same_at_any_batch_size_and_of_chosen_labels(name, images):
    model = classifier(name)
    whole = explain.maps(model, images, batch_size=4)
    assert whole.shape[:2] == (4, LABELS)
    assert 0 <= whole.min()
    assert 0.9 < whole.max() <= 1
    np.testing.assert_allclose(explain.maps(model, images, batch_size=3), whole, atol=1e-3)
    chosen = np.array([[0, 2], [1, 0], [2, 2], [1, 1]])
    got = explain.maps(model, images, labels=chosen)
    for row, labels in enumerate(chosen):
        np.testing.assert_allclose(got[row], whole[row, labels], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "layer_cam") for name in ("cvt_13", "mae_vit_tiny")),
        *(
            pytest.param(name, "layer_cam", marks=pytest.mark.slow)
            for name in ("se_xception", "med_former")
        ),
        ("mae_vit_tiny", "grad_cam"),
        *(("se_xception", name) for name in ("grad_cam", "grad_cam_pp")),
    ],
)
def test_each_eye_of_a_pair_has_a_map_of_its_own(name, method, images):
    model = classifier(name, "patient")
    pairs = as_pairs(images)
    got = explain.maps(model, pairs["images"], method, [1], mask=pairs["mask"], fuse=False)
    assert got.shape[:3] == (2, 2, 1)
    assert np.isfinite(got).all()
    assert not got[1, 1].any()  # the eye that is not there
    assert got[0, 0].any()
    assert got[0, 1].any()
    assert got[1, 0].any()
    # Beside another pair the map is the same. What lies in the left picture is in the left map:
    # another right eye moves that map more.
    other, swapped = pairs["images"][::-1].copy(), pairs["mask"][::-1]
    other[1, 1] = other[1, 1, ::-1]
    again, moved = explain.maps(model, other, method, [1], mask=swapped, fuse=False)
    np.testing.assert_allclose(again, got[1], atol=1e-4 * got.max())
    change = np.abs(moved - got[0]).reshape(2, -1).mean(axis=1)
    change /= got[0].reshape(2, -1).mean(axis=1)
    assert change[1] > change[0]


def test_a_label_that_nothing_speaks_for_has_a_map_of_zeros(images):
    model = flat_head(images)
    kernel, bias = model.get_layer("head_logits").get_weights()
    kernel[:, 1] = 0
    model.get_layer("head_logits").set_weights([kernel, bias])
    for method in ("layer_cam", "grad_cam", "grad_cam_pp"):
        for names in (["first", "second"], ["second"])[method == "grad_cam_pp" :]:
            got = explain.maps(model, images, method, layers=names)
            assert np.isfinite(got).all()
            assert not got[:, 1].any()
            assert got[:, 0].any()


def test_what_has_no_meaning_is_refused_by_name(images):
    model = flat_head(images)
    with pytest.raises(UsageError, match="--layers third: there are .*first, second"):
        explain.maps(model, images, layers=["first", "third"])
    with pytest.raises(UsageError, match="no layers are known"):
        explain.maps(model, images)
    with pytest.raises(UsageError, match="'cam': there are layer_cam"):
        explain.maps(model, images, "cam", layers=["first"])
    with pytest.raises(UsageError, match="takes one layer"):
        explain.maps(model, images, "score_cam", layers=["first", "second"])
    with pytest.raises(UsageError, match="from 0 to 2"):
        explain.maps(model, images, labels=[3], layers=["first"])
    with pytest.raises(UsageError, match="2 rows for 4 pictures"):
        explain.maps(model, images, labels=[[0], [1]], layers=["first"])
    with pytest.raises(UsageError, match="numbers of logits"):
        explain.maps(model, images, labels=["D"], layers=["first"])
    with pytest.raises(UsageError, match="--eigen-smooth"):
        explain.maps(model, images, "score_cam", layers=["first"], eigen_smooth=True)
    pair = build_classifier("se_xception", SIZE, 2, unit="patient", **NARROW["se_xception"])
    with pytest.raises(UsageError, match="score_cam: not for runs over two eyes"):
        explain.maps(pair, images.reshape(2, 2, *images.shape[1:]), "score_cam")
