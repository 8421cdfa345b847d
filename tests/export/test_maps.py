"""LayerCAM maps inside an exported SavedModel: those of `explain`, laid over the photograph."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from bad_images import BAD
from exported import SIZE, export, make_runs, photographs, run_of, serve, texts
from scipy import ndimage
from tiny import make_photographs

from fundus_diag import explain
from fundus_diag.cli import main
from fundus_diag.explain.filters import clean, median
from fundus_diag.export import maps
from fundus_diag.imaging.preprocess import load_photograph


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


def placed(map, box, height, width):
    """A map laid over the box by SciPy, linear between the middles of cells; NaN at the box's rim.

    0 outside of the box.
    """
    y0, x0, y1, x1 = box
    rows = (np.arange(height) + 0.5 - y0) * map.shape[0] / (y1 - y0) - 0.5
    columns = (np.arange(width) + 0.5 - x0) * map.shape[1] / (x1 - x0) - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    found = ndimage.map_coordinates(map, grid, order=1, mode="nearest")
    y, x = grid[0] + 0.5, grid[1] + 0.5  # in cells from the box's corner
    inside = (y > 0) & (y < map.shape[0]) & (x > 0) & (x < map.shape[1])
    cell = 2 * map.shape[0] / (y1 - y0)  # a pixel or two of the photograph
    rim = np.minimum(np.minimum(abs(y), abs(y - map.shape[0])),
                     np.minimum(abs(x), abs(x - map.shape[1]))) < cell  # fmt: skip
    return np.where(rim, np.nan, np.where(inside, found, 0))


def same(got, want):
    """Whether a map is the one expected, but for what the expected one leaves open."""
    known = ~np.isnan(want)
    assert known.mean() > 0.7
    np.testing.assert_allclose(got[known], want[known], atol=1e-4)


def test_maps_are_those_of_explain_laid_over_the_photograph(folder, models, tmp_path):
    model, file = models("eye"), photographs(folder)[2]
    words = ["--images", file, "--labels", "A", "B"]
    arrays = explained(folder, "eye", tmp_path, *words)[file.stem]
    got = serve(model, "explain", image_bytes=file.read_bytes(), labels=[0, 1])
    assert got["map"].shape == (2, *arrays["size"]) == (2, 48, 56)
    assert texts(got["map_label"]) == ["A", "B"]
    assert got["map"].max() > 0.5
    for k in range(2):
        same(got["map"][k], placed(arrays["layer_cam_fused"][k], arrays["box"], 48, 56))
    assert (got["map"][:, :, 0] == 0).all()  # outside of what the network saw
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
    pair = np.stack([picture for picture, _, _ in loaded])[None]
    fused = explain.maps(run.model, pair, labels=[1])[0]  # (2, 1, h, w)
    assert np.abs(fused[0] - fused[1]).max() > 0.1
    sent = {"left_bytes": files[0].read_bytes(), "right_bytes": files[1].read_bytes()}
    got = serve(model, "explain", **sent, labels=[1])
    for k, eye in enumerate(("left", "right")):
        assert got[f"map_{eye}"].shape == (1, 48, 56)
        same(got[f"map_{eye}"][0], placed(clean(fused[k, 0]), loaded[k][1], 48, 56))
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
    def made(inputs, labels):
        rows = tf.maximum(1, tf.size(labels))
        return tf.ones((rows, 4, 4)), tf.zeros((rows, 3)), tf.range(rows)

    inputs, names, error = tf.zeros((1, 8, 8, 3)), ("a", "b", "c"), tf.constant("")
    for count, pixels, fine in ((1, 2**27, True), (2, 2**26, True), (3, 2**26, False)):
        size = tf.constant(pixels, tf.int64)
        got = maps.explained(made, inputs, tf.range(count), names, error, size)
        assert (got["error"] == b"") == fine
        assert got["map"].shape[0] == (count if fine else 0)
    assert b"ask for fewer" in got["error"].numpy()


def test_the_median_in_the_graph_is_that_of_the_filters():
    found = np.random.default_rng(0).random((3, 17, 20)).astype("float32")
    for size in (3, 5):
        got = maps.median(tf.constant(found), size)
        np.testing.assert_array_equal(got, median(found, size))
