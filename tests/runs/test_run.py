"""A run, read back: what `predict` takes and what it refuses, and in which arithmetic it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import make_photographs, ready_run

from fundus_diag import load_run
from fundus_diag.utils.errors import DataError

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    manifest = make_photographs(folder / "photographs", patients=10)
    for unit in ("eye", "patient"):
        ready_run(manifest, folder / unit, unit=unit)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    return {unit: load_run(folder / unit) for unit in ("eye", "patient")}


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (*shape, 32, 32, 3)).round()


def test_pictures_of_any_number_type_answer_alike(runs):
    images = pictures(3)
    want = runs["eye"].predict(images)
    for kind in ("float32", "uint8", "int32", "int64"):
        np.testing.assert_array_equal(runs["eye"].predict(images.astype(kind)), want)
    np.testing.assert_allclose(runs["eye"].predict(tf.constant(images)), want, atol=1e-6)
    np.testing.assert_allclose(runs["eye"].predict(images + 1e-4), want, atol=1e-4)
    black = runs["eye"].predict(np.zeros((2, 32, 32, 3), np.uint8))
    assert np.isfinite(black).all()


EYES = r"pictures \(N, 32, 32, 3\), RGB in \[0, 255\], are expected; "
WRONG = {
    "another size": (lambda: np.zeros((2, 48, 48, 3)), EYES + r"these have the shape \(2, 48"),
    "a single one": (lambda: pictures()[...], EYES + r"these have the shape \(32, 32, 3\)"),
    "pairs": (lambda: pictures(2, 2), EYES + r"these have the shape \(2, 2, 32, 32, 3\)"),
    "gray": (lambda: np.zeros((2, 32, 32)), EYES + r"these have the shape \(2, 32, 32\)"),
    "none": (lambda: np.zeros((0, 32, 32, 3)), EYES + "there is none"),
    "in [0, 1]": (lambda: pictures(2) / 255, EYES + "these lie from .* multiply by 255"),
    "in [-1, 1]": (lambda: pictures(2) / 127.5 - 1, EYES + "these lie from -"),
    "beyond 255": (lambda: pictures(2) + 1.1, EYES + "these lie from"),
    "not a number": (lambda: np.full((1, 32, 32, 3), np.nan), EYES + "these lie from nan to nan"),
    "infinite": (lambda: np.full((1, 32, 32, 3), np.inf), EYES + "these lie from inf"),
    "of objects": (lambda: np.zeros((1, 32, 32, 3), object), EYES + "these are of type object"),
    "of truth": (lambda: np.zeros((1, 32, 32, 3), bool), EYES + "these are of type bool"),
    "a string": (lambda: "a.jpg", "a.jpg: no such file or folder"),
    "an empty list": (lambda: [], "a list of photograph files is expected; it is empty"),
    "a list of arrays": (lambda: [np.zeros((32, 32, 3))], "a list of photograph files, or an arr"),
    "a list of pairs": (lambda: [("a.jpg", "b.jpg")], "a list of photograph files, or an array"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_picture_of_this_run_is_refused(runs, name):
    make, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        runs["eye"].predict(make())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "mask", "message"),
    [
        (
            pictures(2),
            None,
            r"pictures \(N, 2, 32, 32, 3\).* these have the shape \(2, 32, 32, 3\)",
        ),
        (pictures(2, 2), np.ones((3, 2)), r"a mask \(2, 2\) of 1 and 0 is expected, not \(3, 2\)"),
        (pictures(2, 2), np.full((2, 2), 0.5), "a mask"),
        (pictures(2, 2), [[1, 1], [0, 0]], "a patient without any eye"),
        (["a.jpg"], None, r"a list of \(left, right\) photograph files"),
        ([("a.jpg",)], None, r"a list of \(left, right\) photograph files"),
        ([("a.jpg", 3)], None, r"a list of \(left, right\) photograph files"),
        ("a.jpg", None, "a.jpg: no such file or folder"),
    ],
)
def test_what_is_no_pair_of_this_run_is_refused(runs, images, mask, message):
    with pytest.raises(DataError, match=message):
        runs["patient"].predict(images, mask)
    if mask is not None and len(images) == 2:
        with pytest.raises(DataError, match="for runs over two eyes"):
            runs["eye"].predict(pictures(2), mask)


@pytest.mark.traced
def test_the_answer_is_that_of_float32_under_any_setting_of_the_process(folder, runs):
    files = sorted((folder / "photographs").glob("*.png"))[:4]
    want = runs["eye"].predict(files)
    before = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        keras.config.set_image_data_format("channels_first")
        keras.config.set_floatx("float16")
        keras.config.set_epsilon(1e-2)
        run = load_run(folder / "eye")
        got = run.predict(files)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert keras.config.image_data_format() == "channels_first"
        assert (keras.config.floatx(), keras.config.epsilon()) == ("float16", 1e-2)
    finally:
        keras.config.set_floatx(before[1])
        keras.config.set_image_data_format(before[2])
        keras.config.set_epsilon(1e-7)
        keras.config.set_dtype_policy(before[0])
    assert {x.compute_dtype for x in run.model.layers} == {"float32"}
    np.testing.assert_array_equal(got, want)
    assert got.std() > 1e-3


def test_float32_is_without_tf32_and_puts_it_back(runs, monkeypatch):
    seen = []
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    real = type(runs["eye"].model).predict
    monkeypatch.setattr(
        type(runs["eye"].model), "predict", lambda *a, **k: seen.append(enabled()) or real(*a, **k)
    )
    assert enabled()
    runs["eye"].predict(pictures(1))
    assert seen == [False]
    assert enabled()
