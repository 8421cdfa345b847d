"""Large JPEG files read at half or a quarter of their sides: when, how well, where things lie."""

import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from fundus_diag.export import reading
from fundus_diag.imaging import preprocess
from fundus_diag.imaging.decode import traced_decode
from fundus_diag.imaging.reduced import reader
from fundus_diag.utils.errors import DataError

SIZE = 64


def drawn(height=600, width=800, radius=280, spot=None):
    """A field with blotches, fine grain and, at `spot` (y, x), a white disc: (H, W, 3) uint8."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width] + 0.5
    inside = (y - height * 0.48) ** 2 + (x - width * 0.53) ** 2 <= radius**2
    blotches = cv2.resize(rng.uniform(70, 190, (12, 16, 3)), (width, height))
    picture = blotches + rng.normal(0, 6, (height, width, 1))
    if spot is not None:
        picture[(y - spot[0]) ** 2 + (x - spot[1]) ** 2 <= (radius / 28) ** 2] = 255
    return np.where(inside[..., None], np.clip(picture, 0, 255), 0).astype(np.uint8)


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 92} | options)
    return buffer.getvalue()


def times_of(data, size, crop="fundus"):
    return int(reader(crop, crop == "fundus")(data, size)[2])


@pytest.mark.parametrize(
    ("height", "width", "size", "want"),
    [
        (512, 640, 64, 4),
        (508, 640, 64, 2),  # a quarter of 508 is less than twice 64
        (514, 640, 64, 2),  # not to be divided by four
        (512, 642, 64, 2),
        (513, 640, 64, 1),
        (254, 640, 64, 1),
        (512, 640, 128, 2),
        (512, 640, 129, 1),
    ],
)
def test_no_more_is_left_out_than_the_picture_can_spare_and_both_sides_divide(
    height, width, size, want
):
    data = jpeg(drawn(height, width, 250))
    assert times_of(data, size, "none") == want
    image = reader("none", False)(data, size)[0]
    assert image.shape == (height // want, width // want, 3)


@pytest.mark.parametrize("times", [2, 4])
@pytest.mark.parametrize("kind", ["plain", "444", "progressive", "gray", "restarts"])
def test_a_reduced_picture_is_that_of_pillow(kind, times):
    options = {
        "444": {"subsampling": 0},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_rows": 2},
    }.get(kind, {})
    pixels = drawn()
    data = jpeg(pixels[..., 0] if kind == "gray" else pixels, **options)
    got = reader("none", False)(data, 600 // times // 2)[0].numpy()
    image = Image.open(io.BytesIO(data))
    image.draft(image.mode, (800 // times, 600 // times))
    want = np.asarray(image.convert("RGB")).astype(int)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2


@pytest.mark.parametrize("crop", preprocess.CROPS)
@pytest.mark.parametrize("orientation", [1, 6, 4])
def test_what_is_seen_lies_where_it_lies_in_the_photograph(crop, orientation, tmp_path):
    pixels = drawn(spot=(200, 520))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(pixels, exif=exif))
    assert times_of(path.read_bytes(), SIZE, crop) == 4
    picture, box, whole, field, _ = preprocess.load_photograph(path, SIZE, crop)
    np.testing.assert_array_equal(whole, traced_decode(path.read_bytes()))
    bright = np.argwhere(whole.min(axis=-1) > 230).mean(axis=0) + 0.5
    seen = picture.min(axis=-1)
    weight = np.maximum(seen - 190.0, 0)
    rows, columns = np.indices(seen.shape) + 0.5
    found = np.array([(weight * rows).sum(), (weight * columns).sum()]) / weight.sum()
    there = preprocess.to_original(found, box, SIZE)
    np.testing.assert_allclose(there, bright, atol=0.15 * (box[2] - box[0]) / SIZE)
    exact, full_box = preprocess.resize_square(whole, SIZE, crop)
    np.testing.assert_allclose(box, full_box, atol=0.3 * (box[2] - box[0]) / SIZE)
    if crop == "none":
        np.testing.assert_array_equal(box, full_box)
        assert np.abs(picture - exact).mean() < 0.2
        assert np.abs(picture - exact).max() <= 6
    height, width = whole.shape[:2]
    assert field[3] - field[1] == pytest.approx(560, abs=12)
    assert field[4] == 1
    np.testing.assert_array_equal(picture, preprocess.load_picture(path, SIZE, crop))
    got, piped = preprocess.preprocess(tf.constant(path.read_bytes()), SIZE, crop)
    np.testing.assert_array_equal(got, picture)
    np.testing.assert_array_equal(piped, box)
    served = reading.read(tf.constant(path.read_bytes()), SIZE, crop, field=True)
    np.testing.assert_array_equal(served["picture"], picture)
    np.testing.assert_array_equal(served["box"], box)
    np.testing.assert_array_equal(served["field"], field)
    np.testing.assert_array_equal(served["size"], [height, width])
    assert served["error"] == served["blank"] == b""


def test_a_small_field_in_a_large_frame_is_read_whole(tmp_path):
    """Reduced, what a telephone takes through a lens would have fewer pixels than its picture."""
    small, large = drawn(1200, 1600, 100), drawn(1200, 1600, 560)
    assert times_of(jpeg(large), 128) == 4
    assert times_of(jpeg(small), 128) == 1
    assert times_of(jpeg(small), 128, "none") == 4
    (tmp_path / "a.jpg").write_bytes(jpeg(small))
    found = preprocess.load_photograph(tmp_path / "a.jpg", 128)
    picture, box = preprocess.resize_square(found.photograph, 128)
    np.testing.assert_array_equal(found.picture, picture)
    np.testing.assert_array_equal(found.box, box)


def test_other_kinds_keep_all_their_pixels():
    buffer = io.BytesIO()
    Image.fromarray(drawn()).save(buffer, "PNG")
    assert times_of(buffer.getvalue(), SIZE) == 1


@pytest.mark.parametrize("share", [0.5, 0.97])
def test_damage_is_found_in_what_is_reduced(share, tmp_path):
    data = jpeg(drawn())
    data = data[: int(len(data) * share)] + b"\xff\xd9"
    (tmp_path / "cut.jpg").write_bytes(data)
    with pytest.raises(DataError, match=r"cut\.jpg: damaged JPEG"):
        preprocess.load_picture(tmp_path / "cut.jpg", SIZE)
    assert reading.read(tf.constant(data), SIZE, "fundus")["error"] == b"damaged JPEG"


def test_on_real_originals_hardly_a_level_changes(data_dir):
    apart = []
    for path in sorted((data_dir / "odir5k" / "fullres").glob("*.jpg")):
        found = preprocess.load_photograph(path, 299)
        region = tf.concat([found.box, [1.0]], 0)
        exact, _ = preprocess._traced_square(299, "fundus")(found.photograph, region)
        apart.append(np.abs(found.picture - exact))
    assert np.mean(apart) < 0.12
    assert np.max(apart) <= 12
