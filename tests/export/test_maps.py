"""LayerCAM maps inside an exported SavedModel: those of `explain`, on the photograph."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from bad_images import BAD
from exported import SIZE, export, make_runs, photographs, run_of, serve, texts
from laid import in_ellipse, placed, placed_in_field, placed_in_picture
from tiny import make_photographs

from fundus_diag import explain
from fundus_diag.cli import main
from fundus_diag.explain.filters import clean, median
from fundus_diag.export import maps
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.models.geometry import Grid

GRID = Grid((19, 19), (1.5, 1.5), (2, 2), SIZE)  # of the first layer's cells


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_photographs(folder / "photographs")
    return folder


@pytest.fixture(scope="module")
def models(folder):
    """Function of a unit to the folder of its run's export, made when it is first asked for."""

    @functools.cache
    def exported(unit):
        make_runs(folder, (unit,))
        assert export(folder / unit, folder / f"{unit}_model") == 0
        return folder / f"{unit}_model"

    return exported


def explained(folder, run, out, *words):
    """{NAME.npz} of `fundus-diag explain` for a run."""
    words = ["explain", folder / run, "--out", out, *words]
    assert main([str(x) for x in words]) == 0
    return {x.stem: np.load(x) for x in out.glob("*.npz")}


def placed_arrays(arrays, k, height=48, width=56):
    """Map k of `NAME.npz` on its photograph, by SciPy, inside the field of view."""
    offset, stride = arrays["layer_cam_offset"], arrays["layer_cam_stride"]
    map = arrays["layer_cam_fused"][k]
    laid = placed(map, offset, stride, arrays["picture"], arrays["box"], height, width)
    return laid * in_ellipse(arrays["field"], height, width)


def test_maps_are_those_of_explain_laid_over_the_photograph(folder, models, tmp_path):
    model, file = models("eye"), photographs(folder)[2]
    words = ["--images", file, "--labels", "A", "B"]
    arrays = explained(folder, "eye", tmp_path, *words)[file.stem]
    got = serve(model, "explain", image_bytes=file.read_bytes(), labels=[0, 1])
    assert got["map"].shape == (2, *arrays["size"]) == (2, 48, 56)
    assert texts(got["map_label"]) == ["A", "B"]
    assert got["map"].max() > 0.5
    for k in range(2):
        np.testing.assert_allclose(got["map"][k], placed_arrays(arrays, k), atol=1e-4)
    assert (got["map"][:, :, 0] == 0).all()  # outside of what the network saw
    assert (got["map"][:, 3, 8] == 0).all()  # inside of it, outside of the field of view
    row = serve(model, image_bytes=[file.read_bytes()])
    for name, value in row.items():
        np.testing.assert_array_equal(got[name], value[0])
    turned = serve(model, "explain", image_bytes=file.read_bytes(), labels=[1, 0])
    np.testing.assert_allclose(turned["map"][::-1], got["map"], atol=1e-6)


def test_without_labels_the_likeliest_one_is_explained(folder, models):
    for file in photographs(folder):
        data = file.read_bytes()
        got = serve(models("eye"), "explain", image_bytes=data, labels=[])
        top = int(np.argmax(run_of(folder, "eye").predict([file])))
        assert texts(got["map_label"]) == ["AB"[top]]
        want = serve(models("eye"), "explain", image_bytes=data, labels=[top])
        np.testing.assert_allclose(got["map"], want["map"], atol=1e-6)


@pytest.mark.slow
def test_maps_of_pairs_lie_on_each_eye(folder, models):
    model, run = models("patient"), run_of(folder, "patient")
    files = [photographs(folder, eye)[1] for eye in ("left", "right")]
    loaded = [load_photograph(x, SIZE) for x in files]
    pair = np.stack([x.picture for x in loaded])[None]
    inside = np.stack([placed_in_picture(np.ones((2, 2)), GRID, x)[1] for x in loaded])[None]
    fused = explain.maps(run.model, pair, labels=[1], inside=inside)[0]  # (2, 1, h, w)
    assert np.abs(fused[0] - fused[1]).max() > 0.1
    sent = {"left_bytes": files[0].read_bytes(), "right_bytes": files[1].read_bytes()}
    got = serve(model, "explain", **sent, labels=[1])
    for k, eye in enumerate(("left", "right")):
        assert got[f"map_{eye}"].shape == (1, 48, 56)
        want = placed_in_field(clean(fused[k, 0]), GRID, loaded[k])
        np.testing.assert_allclose(got[f"map_{eye}"][0], want, atol=1e-4)
    row = serve(model, **{k: [v] for k, v in sent.items()})
    np.testing.assert_array_equal(got["probability"], row["probability"][0])
    one = serve(model, "explain", **{**sent, "right_bytes": b""}, labels=[1])
    assert one["map_left"].shape == (1, 48, 56)
    assert one["map_right"].shape == (1, 0, 0)
    assert one["gradable"]


@pytest.mark.parametrize("unit", ["eye", pytest.param("patient", marks=pytest.mark.slow)])
def test_what_cannot_be_explained_is_said(folder, models, unit):
    good = photographs(folder)[0].read_bytes()

    def answer(data, labels):
        sent = {"image_bytes": data} if unit == "eye" else {"left_bytes": data, "right_bytes": b""}
        return serve(models(unit), "explain", **sent, labels=labels)

    start = "" if unit == "eye" else "left eye: "
    for data, labels, error in (
        (good, [2], "labels must lie from 0 to 1"),
        (good, [0, -1], "labels must lie from 0 to 1"),
        (good, [0, 1, 0], "more than 2 labels are asked for"),
        (b"text", [0], start + "not an image (JPEG, PNG, BMP)"),
        (good[:-40], [0], start + "truncated"),
        (BAD["huge.png"][0], [0], start + "more than 100 megapixels"),
    ):
        got = answer(data, labels)
        assert got["error"].decode() == error
        assert not got["gradable"]
        assert np.isnan(got["probability"]).all()
        assert got["map_label"].shape == (0,)
        assert len(got["map" if unit == "eye" else "map_left"]) == 0
    assert texts(answer(good, [0, 1])["map_label"]) == ["A", "B"]


def test_maps_that_would_fill_the_memory_are_refused():
    def made(inputs, inside, labels):
        rows = tf.maximum(1, tf.size(labels))
        return tf.ones((rows, 4, 4)), tf.zeros((rows, 3)), tf.range(rows)

    inputs, names, error = tf.zeros((1, 8, 8, 3)), ("a", "b", "c"), tf.constant("")
    for count, pixels, fine in ((1, 2**27, True), (2, 2**26, True), (3, 2**26, False)):
        size = tf.constant(pixels, tf.int64)
        got = maps.explained(made, inputs, None, tf.range(count), names, error, size)
        assert (got["error"] == b"") == fine
        assert got["map"].shape[0] == (count if fine else 0)
    assert b"ask for fewer" in got["error"].numpy()


def test_the_median_in_the_graph_is_that_of_the_filters():
    found = np.random.default_rng(0).random((3, 17, 20)).astype("float32")
    for size in (3, 5):
        got = maps.median(tf.constant(found), size)
        np.testing.assert_array_equal(got, median(found, size))
