"""LayerCAM maps inside an exported SavedModel: those of `explain`, and where they lie."""

import io

import numpy as np
import pytest
import tensorflow as tf
from bad_images import BAD
from exported import SIZE, photographs, rest, run_of, serve, texts
from laid import placed_in_field, placed_in_picture
from PIL import Image
from scipy import ndimage

from fundus_diag import explain
from fundus_diag.explain.filters import clean, median
from fundus_diag.explain.overlay import ALPHA, blend
from fundus_diag.export import maps
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.models.geometry import Grid, stretched

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_graphs")]

GRID = Grid((19, 19), (1.5, 1.5), (2, 2), SIZE)  # of the first layer's cells

GRPC = 4 * 2**20  # bytes of an answer that its clients take by default


def own_box(box):
    """The box of a photograph in which the cells of `GRID` lie side by side, by hand."""
    zoom = (box[2:] - box[:2]) / SIZE
    return [*(box[:2] + 0.5 * zoom), *(box[:2] + (0.5 + 19 * 2) * zoom)]


def drawn(png):
    """Colours (H, W, 3) and cover (H, W) in [0, 1] of an overlay."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    assert pixels.shape[2] == 4
    return pixels[..., :3], pixels[..., 3] / 255


def same(png, map, loaded):
    """Whether an overlay, laid over its photograph, is what `blend` makes of the map there."""
    colours, cover = drawn(png)
    assert cover.max() > ALPHA / 2
    photograph = loaded.photograph
    laid = photograph + cover[..., None] * (colours.astype(float) - photograph)
    wanted = blend(photograph, placed_in_field(map, GRID, loaded)).astype(float)
    apart = np.abs(laid - wanted).max(axis=2) > 3
    assert apart.mean() < 0.01  # of pixels that the rim of the field goes through


def cells_in_field(loaded):
    """Which cells of `GRID` have a part in the field of view: (19, 19) bool, by each pixel."""
    _, there = placed_in_picture(np.ones((2, 2)), GRID, loaded)
    nearest = np.rint(np.clip((np.argwhere(there) + 0.5 - 1.5) / 2, 0, 18)).astype(int)
    found = np.zeros((19, 19), bool)
    found[tuple(nearest.T)] = True
    return found


def test_maps_are_those_of_explain_and_lie_where_the_box_says(folder, models):
    file = photographs(folder)[5]
    assert run_of(folder, "eye").predict([file]).argmax() == 1  # and A is explained when asked for
    loaded = load_photograph(file, SIZE)
    _, inside = placed_in_picture(np.ones((2, 2)), GRID, loaded)
    model = run_of(folder, "eye").model
    want = clean(explain.maps(model, loaded.picture[None], labels=[0, 1], inside=inside[None])[0])
    got = serve(models("eye"), "explain", image_bytes=[file.read_bytes()] * 2, label=[0, 1])
    assert got["map"].shape == (2, 19, 19)
    assert got["map"].max() > 0.5
    assert np.abs(got["map"][0] - got["map"][1]).max() > 0.1
    cells = cells_in_field(loaded)
    np.testing.assert_allclose(got["map"][:, cells], want[:, cells], atol=1e-4)
    assert (got["map"][:, 0, 0] == 0).all()  # a corner of the picture, all black
    np.testing.assert_allclose(got["map_box"], [own_box(loaded.box)] * 2, atol=1e-3)
    assert texts(got["map_label"]) == ["A", "B"]
    assert loaded.photograph.shape == (48, 56, 3)
    for k in range(2):
        same(got["map_overlay_bytes"][k], want[k], loaded)
        assert (drawn(got["map_overlay_bytes"][k])[1][:, 0] == 0).all()  # the network saw nothing
        assert drawn(got["map_overlay_bytes"][k])[1][3, 8] == 0  # outside of the field of view


def test_the_label_asked_for_is_explained_and_by_default_the_likeliest(folder, models):
    files = photographs(folder)
    data = [x.read_bytes() for x in files]
    top = np.argmax(run_of(folder, "eye").predict(files), axis=1)
    assert set(top) == {0, 1}
    got = serve(models("eye"), "explain", image_bytes=data, label=[-1] * len(data))
    want = serve(models("eye"), "explain", image_bytes=data, label=top)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    assert texts(got["map_label"]) == ["AB"[k] for k in top]
    row = serve(models("eye"), image_bytes=data)
    assert set(row) - set(got) == {"distance", "unfamiliar"}  # of another pass than the maps'
    for name, value in row.items():
        if name in ("distance", "unfamiliar"):
            continue
        if name == "probability":
            np.testing.assert_allclose(got[name], value, atol=1e-6)
        else:
            np.testing.assert_array_equal(got[name], value)


def test_maps_by_rows_of_the_rest_api_are_strict_json(folder, models):
    good = photographs(folder)[0].read_bytes()
    sent = [{"image_bytes": x, "label": k} for x, k in ((good, 0), (b"text", 0), (good, 7))]
    first, bad, beyond = rest(models("eye"), "explain", sent)
    assert first["error"] == ""
    assert max(map(max, first["map"])) == pytest.approx(1, abs=0.1)
    assert bad["error"] == "not an image (JPEG, PNG, BMP)"
    assert beyond["error"] == "label must lie from 0 to 1, or be -1 for the likeliest"
    for row in (bad, beyond):
        assert row["probability"] == [-1, -1]
        assert row["positive"] == [False, False]
        assert row["map_label"] == ""
        assert row["map_box"] == [0, 0, 0, 0]
        assert row["map_overlay_bytes"] == {"b64": ""}
        assert np.ptp(row["map"]) == 0


def test_what_cannot_be_explained_is_said(folder, models):
    good = photographs(folder)[0].read_bytes()
    sent = [
        (good, 2, "label must lie from 0 to 1, or be -1 for the likeliest"),
        (good, -2, "label must lie from 0 to 1, or be -1 for the likeliest"),
        (b"text", -1, "not an image (JPEG, PNG, BMP)"),
        (good[:-40], 0, "truncated"),
        (BAD["huge.png"][0], 9, "more than 100 megapixels"),
        (good, 1, ""),
    ]
    data, label, errors = zip(*sent, strict=True)
    got = serve(models("eye"), "explain", image_bytes=data, label=label)
    assert texts(got["error"]) == list(errors)
    assert texts(got["map_label"]) == [""] * 5 + ["B"]
    assert (got["probability"][:5] == -1).all()
    assert (got["map"][:5] == 0).all()


def test_maps_of_pairs_lie_on_each_eye(folder, models):
    model, run = models("patient", exported=True), run_of(folder, "patient")
    files = [photographs(folder, eye)[1] for eye in ("left", "right")]
    loaded = [load_photograph(x, SIZE) for x in files]
    pair = np.stack([x.picture for x in loaded])[None]
    inside = np.stack([placed_in_picture(np.ones((2, 2)), GRID, x)[1] for x in loaded])[None]
    fused = explain.maps(run.model, pair, labels=[1], inside=inside)[0]  # (2, 1, h, w)
    assert np.abs(fused[0] - fused[1]).max() > 0.1
    left, right = (x.read_bytes() for x in files)
    sent = {"left_bytes": [left, left, left, b""], "right_bytes": [right, b"", b"text", b""]}
    got = serve(model, "explain", **sent, label=[1] * 4)
    for k, eye in enumerate(("left", "right")):
        cells = cells_in_field(loaded[k])
        map = got[f"map_{eye}"][0]
        np.testing.assert_allclose(map[cells], clean(fused[k, 0])[cells], atol=1e-4)
        np.testing.assert_allclose(got[f"map_{eye}_box"][0], own_box(loaded[k].box), atol=1e-3)
        same(got[f"map_{eye}_overlay_bytes"][0], clean(fused[k, 0]), loaded[k])
    row = serve(model, **sent)
    np.testing.assert_allclose(got["probability"], row["probability"], atol=1e-6)
    assert texts(got["error"]) == [
        "",
        "",
        "right eye: not an image (JPEG, PNG, BMP)",
        "no photograph of either eye",
    ]
    assert (got["map_left"][1] > 0).any()
    assert (got["map_right"][1:] == 0).all()
    assert (got["map_left"][2:] == 0).all()
    assert [bool(x) for x in got["map_left_overlay_bytes"]] == [True, True, False, False]
    assert [bool(x) for x in got["map_right_overlay_bytes"]] == [True, False, False, False]
    assert texts(got["map_label"]) == ["B", "B", "", ""]


def constant(map, logits=((0.0, 1.0),)):
    """A frozen function as of `cam_function`, that answers so."""
    specs = [tf.TensorSpec((None, 8, 8, 3)), tf.TensorSpec((None, 8, 8), tf.bool)]
    answer = tf.function(
        lambda inputs, inside, label: [tf.constant(map), tf.constant(logits), label],
        [*specs, tf.TensorSpec((None,), tf.int32)],
    ).get_concrete_function()
    return answer


def test_a_map_that_is_not_finite_is_an_error_in_its_row():
    good = np.ones((1, 4, 4), "float32")
    bad = good * np.where(np.arange(4) == 2, np.nan, 1).astype("float32")
    inputs, inside, label = tf.zeros((1, 8, 8, 3)), tf.ones((1, 8, 8), tf.bool), tf.constant([1])
    for map, error in ((good, b""), (bad, b"the network gives no finite answer")):
        none = tf.constant([""])
        got = maps.explained(constant(map), inputs, inside, label, ("a", "b"), none)
        assert got["error"].numpy().tolist() == [error]
        np.testing.assert_array_equal(got["map"], good if not error else 0 * good)


def seen_of(size, box):
    """What is known of a photograph without a border."""
    field = tf.constant([0.0, 0, *size, 0])
    return {"size": tf.constant(size), "box": tf.constant(box, tf.float32), "field": field}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2000, 3000), (341, 512)),
        ((3000, 2000), (512, 341)),
        ((40, 16), (40, 16)),
        ((16, 40_000), (1, 512)),
    ],
)
def test_an_overlay_is_small_and_each_cell_lies_in_its_place(size, expected):
    """A cell's middle, by the closed form, is the centroid of what it colours."""
    box = np.array([-20, 0.1 * size[1], size[0] - 20, 0.9 * size[1]])
    grid = Grid((12, 10), (3, 4), (8, 9), 100)
    for cell in ((3, 5), (9, 2)):
        map = np.zeros((12, 10), "float32")
        map[cell] = 0.5  # the centroid is that of the map where nothing is cut off
        _, cover = drawn(maps.overlay(tf.constant(map), grid, seen_of(size, box)).numpy())
        assert cover.shape == expected
        if min(expected) < 30:
            continue
        scale = np.divide(expected, size)
        middle = box[:2] + np.add((3, 4), np.multiply(cell, (8, 9))) * (box[2:] - box[:2]) / 100
        found = np.add(ndimage.center_of_mass(cover), 0.5)
        np.testing.assert_allclose(found, middle * scale, atol=0.5)


def test_an_answer_with_the_worst_map_is_taken_by_clients():
    noise = np.random.default_rng(0).random((512, 512)).astype("float32")
    seen = seen_of((4000, 4000), (0, 0, 4000, 4000))
    png = maps.overlay(tf.constant(noise), stretched((512, 512), 512), seen).numpy()
    assert noise.nbytes + len(png) < GRPC / 2


def test_the_median_in_the_graph_is_that_of_the_filters():
    found = np.random.default_rng(0).random((3, 17, 20)).astype("float32")
    for size in (3, 5):
        got = maps.median(tf.constant(found), size)
        np.testing.assert_array_equal(got, median(found, size))
