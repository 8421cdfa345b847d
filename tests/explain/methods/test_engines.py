"""Two ways to the same maps: graphs of our own, and tf-keras-vis; and what they leave behind."""

import gc
import weakref

import keras
import numpy as np
import pytest
from attentive import as_pairs, classifier
from flat_head import flat_head, photographs
from scipy import ndimage
from small_encoders import NARROW

from fundus_diag import explain
from fundus_diag.explain.methods import attention, keras_vis, score_cam
from fundus_diag.models import build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.kept import MOST, kept

pytestmark = pytest.mark.usefixtures("eager")
CAMS = ("layer_cam", "grad_cam", "grad_cam_pp", "score_cam")


@pytest.fixture(scope="module")
def images():
    return photographs()


def moved(model, bias):
    """The same network, its logits higher by `bias`."""
    other = keras.models.clone_model(model)
    weights = model.get_weights()
    other.set_weights([*weights[:-1], weights[-1] + np.float32(bias)])
    return other


def corner_to_corner(channels, grid):
    """Channels (h, w, C) enlarged as the library does, by SciPy: a whole map on a whole picture."""
    zoom = (*(grid.size / n for n in channels.shape[:2]), 1)
    return ndimage.zoom(channels.numpy(), zoom, order=1, mode="nearest")


@pytest.mark.parametrize("method", CAMS)
def test_both_engines_make_the_same_maps(method, images, monkeypatch):
    for module in (score_cam, keras_vis):
        monkeypatch.setattr(module, "CHANNELS", 4)  # of 8: those that vary most
    monkeypatch.setattr(score_cam, "over_picture", corner_to_corner)
    model, chosen = flat_head(images), np.array([[2, 0], [0, 1], [1, 1], [2, 1]])
    names = ["first", "second"] if method in ("layer_cam", "grad_cam") else ["second"]
    options = {"layers": names, "fuse": False, "batch_size": 1}  # the library's channels are shared
    got = explain.maps(model, images, method, chosen, **options)
    want = explain.maps(model, images, method, chosen, engine="tf_keras_vis", **options)
    assert got.shape[:3] == (4, 2, len(names))
    for k in range(len(names)):
        assert want[:, :, k].max() > 0
        np.testing.assert_allclose(got[:, :, k], want[:, :, k], atol=1e-4 * want[:, :, k].max())


def test_of_pairs_too_each_eye_by_the_logit_of_its_pair(images):
    model = classifier("cvt_13", "patient")
    pairs = as_pairs(images[:, :64, :64])
    options = {"mask": pairs["mask"], "fuse": False}
    got = explain.maps(model, pairs["images"], "grad_cam_pp", [2], **options)
    options["engine"] = "tf_keras_vis"
    want = explain.maps(model, pairs["images"], "grad_cam_pp", [2], **options)
    assert want[0].max() > 0
    np.testing.assert_allclose(got, want, atol=1e-4 * want.max())


def test_all_labels_of_a_picture_cost_score_cam_one_pass(images, monkeypatch):
    model, shown = flat_head(images), []
    network = score_cam._network
    monkeypatch.setattr(
        score_cam,
        "_network",
        lambda *of: lambda x: shown.append(len(x)) or network(*of)(x),
    )
    monkeypatch.setattr(score_cam, "AT_ONCE", 3)
    explain.maps(model, images[:2], "score_cam", layers=["second"])
    assert shown == [1] + 2 * [1, 3, 3, 2]  # black; then the picture, and its eight channels


@pytest.mark.parametrize("bias", [100, -3000])
def test_maps_of_logits_of_any_height_are_those_of_logits_near_zero(bias, images):
    model = flat_head(images)
    for method in CAMS:
        want = explain.maps(model, images, method, layers=["second"])
        got = explain.maps(moved(model, bias), images, method, layers=["second"])
        assert got.max() > 0.9
        # At 3000 a logit in float32 has lost four of its seven digits.
        rough = 2e-2 if method == "score_cam" and abs(bias) > 100 else 1e-3
        np.testing.assert_allclose(got, want, atol=rough, err_msg=method)
    options = {"layers": ["second"], "fuse": False}
    raw = explain.maps(moved(model, bias), images, "grad_cam_pp", **options)
    assert np.isfinite(raw).all()


def test_the_librarys_score_cam_is_finite_where_its_softmax_would_not_be(images):
    model = flat_head(images)
    options = {"layers": ["second"], "engine": "tf_keras_vis"}
    want = explain.maps(model, images[:1], "score_cam", **options)
    got = explain.maps(moved(model, 300), images[:1], "score_cam", **options)
    np.testing.assert_allclose(got, want, atol=1e-2)


def test_what_the_library_has_not_is_refused(images):
    vit, flat = classifier("mae_vit_tiny"), flat_head(images)
    options = {"engine": "tf_keras_vis"}
    for method in ("layer_cam", "grad_cam"):
        with pytest.raises(UsageError, match=r"--engine tf_keras_vis: blocks\.\S+ has tokens"):
            explain.maps(vit, images, method, layers=["blocks.1.norm1"], **options)
    with pytest.raises(UsageError, match="--engine tf_keras_vis: has no --eigen-smooth"):
        explain.maps(flat, images, layers=["second"], eigen_smooth=True, **options)
    with pytest.raises(UsageError, match="engine 'torch': there are own, tf_keras_vis"):
        explain.maps(flat, images, layers=["second"], engine="torch")


@pytest.mark.slow
@pytest.mark.traced
def test_a_model_that_is_deleted_is_gone_with_its_graphs(images):
    flat = flat_head(images)
    for engine in ("own", "tf_keras_vis"):
        for method in CAMS:
            explain.maps(flat, images[:1], method, [0], ["second"], engine=engine)
    vit = build_classifier("mae_vit_tiny", 32, 2, **(NARROW["mae_vit_tiny"] | {"depth": 1}))
    for method in ("rollout", "chefer", "vit_cx"):
        explain.maps(vit, images[:1, :32, :32], method, [0])
    normed = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    calibrate_batch_norm(normed, [np.eye(4, dtype="float32")])
    twin = attention.readable(vit)
    assert attention.readable(vit) is twin
    gone = [weakref.ref(x) for x in (flat, vit, twin, normed)]
    del flat, vit, twin, normed
    gc.collect()
    assert [one() for one in gone] == [None] * 4


def test_what_is_kept_of_a_model_is_made_once_and_is_no_part_of_it(tmp_path):
    model, made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), []

    def make(key):
        made.append(key)
        return keras.Model(model.inputs, model.outputs)

    first = kept(model, 0, lambda: make(0))
    assert kept(model, 0, lambda: make(0)) is first
    assert made == [0]
    other = keras.models.clone_model(model)
    assert kept(other, 0, lambda: make("other")) is not first
    assert model.layers == model.layers[:1]
    assert len(model.weights) == 2
    model.save_weights(tmp_path / "w.weights.h5")
    other.load_weights(tmp_path / "w.weights.h5")  # and nothing else is in the file
    for key in range(1, MOST + 1):
        kept(model, key, lambda key=key: make(key))
    assert kept(model, MOST, lambda: make("again")) is not first
    kept(model, 0, lambda: make("oldest"))
    assert made[-1] == "oldest"
