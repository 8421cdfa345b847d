"""Crop, padding and resizing against Pillow and by marked pixels; export; bad arguments."""

from typing import NamedTuple

import cv2
import numpy as np
import odd_images
import pytest
import tensorflow as tf
from laid import placed
from PIL import Image

from fundus_diag.imaging import preprocess
from fundus_diag.imaging.field import locate_field
from fundus_diag.imaging.header import probe

SIZE = 64


@pytest.fixture(scope="module")
def photograph():
    """A drawn field, cut above and below, with blotches: (300, 420, 3) uint8."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:300, :420] + 0.5
    inside = (y - 150) ** 2 + (x - 200) ** 2 <= 170**2
    blotches = cv2.resize(rng.uniform(80, 200, (12, 16, 3)), (420, 300))
    return np.where(inside[..., None], blotches, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def content(photograph):
    return odd_images.save(Image.fromarray(photograph), "PNG")


@pytest.mark.parametrize("crop", preprocess.CROPS)
@pytest.mark.parametrize("size", [32, 128, 299])
def test_the_picture_is_the_square_of_the_box_resized_as_pillow_resizes(photograph, crop, size):
    picture, box = preprocess.resize_square(photograph, size, crop)
    y0, x0, y1, x1 = box.numpy()
    assert y1 - y0 == pytest.approx(x1 - x0, abs=1e-3)
    margin = 100  # black around the photograph, so that Pillow may crop beyond the frame
    padded = np.pad(photograph, [(margin, margin), (margin, margin), (0, 0)])
    want = Image.fromarray(padded).resize(
        (size, size), Image.BILINEAR, box=tuple(v + margin for v in (x0, y0, x1, y1))
    )
    difference = np.abs(picture.numpy() - np.asarray(want).astype(float)).max(axis=-1)
    # Where the frame cuts, Pillow mixes in black and we do not: leave those rows out.
    reach = np.ceil(max(1.0, size / (y1 - y0))) + 1
    rows = (np.arange(size) + 0.5) * (y1 - y0) / size + y0
    sound = np.minimum(np.abs(rows), np.abs(rows - 300)) > reach * (y1 - y0) / size
    assert sound.mean() > 0.7
    assert difference[sound].max() <= 1


def test_crop_none_keeps_the_whole_photograph_and_its_aspect(photograph):
    picture, box = preprocess.resize_square(photograph, 84, "none")
    np.testing.assert_allclose(box, [-60, 0, 360, 420])
    assert (picture.numpy()[:12] == 0).all()
    assert (picture.numpy()[72:] == 0).all()
    assert picture.numpy()[13:71].max() > 50


def test_a_cut_field_is_centred_and_padded_with_black(photograph):
    picture, box = preprocess.resize_square(photograph, 340)
    np.testing.assert_allclose(box, [-20, 30, 320, 370], atol=4)
    dark = (picture.numpy() == 0).all(axis=(1, 2))
    assert dark[:16].all()
    assert dark[-16:].all()
    assert not dark[26:-26].any()
    assert picture.numpy()[30, 170].min() > 50


@pytest.mark.parametrize("crop", preprocess.CROPS)
@pytest.mark.parametrize("mark", [(110, 130), (180, 260), (150, 350)])
def test_a_marked_pixel_is_found_where_the_box_says_and_back(photograph, crop, mark):
    marked = photograph // 2
    marked[mark[0] - 2 : mark[0] + 3, mark[1] - 2 : mark[1] + 3] = 255
    picture, box = preprocess.resize_square(marked, 200, crop)
    bright = (picture.numpy().min(axis=-1) > 180).astype(np.uint8)
    found = np.argwhere(bright).mean(axis=0) + 0.5
    middle = np.array(mark) + 0.5
    box = box.numpy()
    np.testing.assert_allclose(preprocess.to_picture(middle, box, 200), found, atol=0.6)
    np.testing.assert_allclose(preprocess.to_original(found, box, 200), middle, atol=1.2)


def test_points_go_to_the_picture_and_back_unchanged():
    points = np.random.default_rng(0).uniform(-50, 900, (7, 3, 2))
    box = np.array([-20.5, 13.0, 400.0, 433.5])
    there = preprocess.to_picture(points, box, 299)
    np.testing.assert_allclose(preprocess.to_original(there, box, 299), points)
    corners = preprocess.to_picture(box.reshape(2, 2), box, 299)
    np.testing.assert_allclose(corners, [[0, 0], [299, 299]])


def test_a_constant_picture_stays_constant_and_whole():
    image = np.full((97, 97, 3), (200, 17, 255), np.uint8)
    picture, _ = preprocess.resize_square(image, 41, "none")
    np.testing.assert_array_equal(picture, np.broadcast_to([200.0, 17.0, 255.0], (41, 41, 3)))


def test_pictures_hold_whole_levels_in_range(content):
    picture, _ = preprocess.preprocess(tf.constant(content), SIZE)
    assert picture.dtype == tf.float32
    assert picture.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(picture, picture.numpy().astype(np.uint8))


def test_fine_stripes_are_averaged_not_sampled():
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, ::2] = 200
    picture, _ = preprocess.resize_square(image, SIZE, "none")
    np.testing.assert_allclose(picture[:, 2:-2], 100, atol=2)


def test_float_and_integer_pixels_give_the_same_picture(photograph):
    whole, box = preprocess.resize_square(photograph, SIZE)
    real, box_of_real = preprocess.resize_square(photograph.astype(np.float32), SIZE)
    np.testing.assert_allclose(whole, real, atol=1)
    np.testing.assert_allclose(box, box_of_real, atol=1e-3)


@pytest.mark.slow
def test_eager_pipeline_and_exported_module_agree(content, tmp_path):
    eager, box = preprocess.preprocess(tf.constant(content), SIZE)

    data = tf.data.Dataset.from_tensors(content).map(lambda d: preprocess.preprocess(d, SIZE))
    piped, piped_box = next(iter(data))
    assert data.element_spec[0].shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(piped, eager, atol=1)
    np.testing.assert_allclose(piped_box, box, atol=1e-3)

    class Serving(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
        def __call__(self, data):
            picture, box = preprocess.preprocess(data, SIZE)
            return {"picture": picture, "box": box, "code": probe(data)}

    tf.saved_model.save(Serving(), str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model"))(tf.constant(content))
    np.testing.assert_array_equal(served["picture"], piped)
    np.testing.assert_array_equal(served["box"], piped_box)
    assert served["code"] == 0


def test_load_picture_is_the_same_for_every_lossless_format(photograph, tmp_path):
    pictures = []
    for name in ("a.png", "a.bmp", "a.tif"):
        Image.fromarray(photograph).save(tmp_path / name)
        pictures.append(preprocess.load_picture(tmp_path / name, SIZE))
    assert pictures[0].dtype == np.float32
    assert pictures[0].std() > 30
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_an_unknown_crop_is_refused(photograph):
    with pytest.raises(ValueError, match="crop must be one of fundus, none; got 'round'"):
        preprocess.resize_square(photograph, SIZE, "round")


def test_an_original_and_its_small_copy_give_the_same_picture(data_dir, tmp_path):
    for path in sorted((data_dir / "odir5k" / "fullres").glob("*.jpg"))[:5]:
        image = Image.open(path)
        image.resize((image.width // 3, image.height // 3), Image.BOX).save(tmp_path / "small.png")
        large = preprocess.load_picture(path, 128)
        small = preprocess.load_picture(tmp_path / "small.png", 128)
        assert np.abs(large - small).mean() < 3, path.name


class Cells(NamedTuple):
    """Where cells stand, as `map_to_original` is told."""

    offset: tuple
    stride: tuple
    size: int


EVEN = [Cells((SIZE / n / 2,) * 2, (SIZE / n,) * 2, SIZE) for n in (SIZE, 16, 10)]
BESIDE = Cells((1.5, 3.0), (SIZE / 16, SIZE / 11), SIZE)  # as of a network that pads one side


@pytest.mark.parametrize(
    ("cells", "grid", "spot"),
    [(EVEN[0], (SIZE, SIZE), (30, 41)), (EVEN[1], (16, 16), (5, 9)), (EVEN[2], (10, 10), (2, 7)),
     (BESIDE, (16, 10), (5, 3))],
)  # fmt: skip
def test_a_marked_place_is_found_again_in_the_original(photograph, cells, grid, spot, tmp_path):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    picture, box, whole, field, _ = preprocess.load_photograph(tmp_path / "a.png", SIZE)
    np.testing.assert_array_equal(field, locate_field(photograph))
    np.testing.assert_array_equal(picture, preprocess.load_picture(tmp_path / "a.png", SIZE))
    np.testing.assert_array_equal(whole, photograph)
    height, width = whole.shape[:2]
    map = np.zeros((1, *grid, 2), np.float32)
    map[0, *spot, 0] = 1
    got = preprocess.map_to_original(map, box, height, width, cells).numpy()
    assert got.shape == (1, height, width, 2)
    assert not got[..., 1].any()
    weight = got[0, ..., 0]
    rows, columns = np.indices(weight.shape) + 0.5
    centre = np.array([(weight * rows).sum(), (weight * columns).sum()]) / weight.sum()
    there = np.array(cells.offset) + np.array(spot) * cells.stride
    want = preprocess.to_original(there, box, SIZE)
    np.testing.assert_allclose(centre, want, atol=0.6)
    # What was there is seen in the square picture at the spot, too.
    np.testing.assert_allclose(preprocess.to_picture(want, box, SIZE), there, atol=1e-3)


def test_a_map_laid_back_keeps_its_values_and_is_zero_outside_of_the_square():
    ones = np.ones((1, 8, 8, 1), np.float32)
    box = np.array([10, 20, 50, 60], "float32")
    got = preprocess.map_to_original(ones, box, 70, 90, Cells((4, -3), (4, 5), 80)).numpy()
    inside = np.zeros((70, 90), bool)
    inside[10:50, 20:60] = True
    np.testing.assert_allclose(got[0, ..., 0][inside], 1, atol=1e-6)
    assert not got[0, ..., 0][~inside].any()


@pytest.mark.parametrize("cells", [BESIDE, Cells((-2.0, 9.0), (7.0, 5.0), SIZE)])
def test_maps_are_interpolated_as_scipy_does(cells):
    map = np.random.default_rng(0).random((9, 12)).astype("float32")
    box = np.array([-7.3, 5.1, 81.7, 94.1], "float32")
    got = preprocess.map_to_original(map[None, ..., None], box, 70, 90, cells).numpy()[0, ..., 0]
    want = placed(map, cells.offset, cells.stride, SIZE, box, 70, 90)
    assert 0 < (want == 0).mean() < 0.2
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_the_field_is_an_ellipse_or_a_box_within_the_frame():
    y, x = np.arange(40) + 0.5, np.arange(50) + 0.5
    for is_round in (1, 0):
        field = np.array([4, -6, 34, 60, is_round], "float32")
        got = preprocess.in_field(y, x, field, 40, 50).numpy()
        for i, j in np.ndindex(40, 50):
            v, u = (y[i] - 19) / 15, (x[j] - 27) / 33
            assert got[i, j] == (v * v + u * u <= 1 if is_round else abs(v) <= 1 and abs(u) <= 1)
    beyond = preprocess.in_field(y - 10, x + 10, np.array([-20, -20, 90, 90, 0]), 40, 50).numpy()
    want = ((y >= 10) & (y <= 50))[:, None] & (x <= 40)
    np.testing.assert_array_equal(beyond, want)


@pytest.mark.slow
@pytest.mark.parametrize("crop", preprocess.CROPS)
def test_the_field_is_found_at_any_crop_and_the_picture_is_the_same(photograph, content, crop):
    found = preprocess.loaded(tf.constant(content), SIZE, crop)
    want = preprocess.resize_square(photograph, SIZE, crop)
    for got, wanted in zip((found.picture, found.box), want, strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(found.field, locate_field(photograph))
    assert found.field[4] == 1
    with pytest.raises(ValueError, match="crop must be"):
        preprocess.loaded(tf.constant(content), SIZE, "round")


def test_a_field_is_round_or_what_is_not_border_or_the_frame(photograph):
    rectangle = np.zeros((300, 400, 3), np.uint8)
    rectangle[40:260, 60:350] = 150
    for image, want in ((photograph, 1), (rectangle, 0), (np.full((200, 300, 3), 90, np.uint8), 0)):
        assert locate_field(image)[4] == want
