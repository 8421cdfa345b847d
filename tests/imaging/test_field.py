"""The field of view is found where it was drawn, and where it lies in photographs."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_diag.imaging import field
from fundus_diag.imaging.field import find_field as eager_find_field
from fundus_diag.imaging.quality import has_field
from fundus_diag.imaging.thin import thinned

find_field = tf.function(
    eager_find_field, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)]
)


def draw(shape, centre, radii, level=120, border=0, noise=0.0, shade=0.0, seed=0):
    """A field of view with blotches and a shadow to one side on a noisy border, uint8.

    Args:
        shape: (height, width).
        centre, radii: (y, x), pixels.
        level, border: brightness of field and border.
        noise: standard deviation, levels.
        shade: how much of the light is lost at the left rim, 0 to 1.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1
    blotches = cv2.resize(rng.uniform(0.75, 1.0, (6, 6)), shape[::-1])
    light = 1 - shade * np.clip((centre[1] + radii[1] - x) / (2 * radii[1]), 0, 1)
    colours = np.array([1.0, 0.6, 0.4]) * (level * blotches * light)[..., None]
    image = np.where(inside[..., None], np.maximum(colours, border), border)
    image += rng.normal(0, noise, (*shape, 3)) if noise else 0
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def box_of(centre, radii):
    (cy, cx), (ry, rx) = centre, radii
    return np.array([cy - ry, cx - rx, cy + ry, cx + rx])


def error(box, centre, radii):
    """Largest distance of the box's sides from the truth, as a share of the diameter."""
    return np.abs(box.numpy() - box_of(centre, radii)).max() / (2 * max(radii))


@given(
    height=st.integers(150, 700),
    aspect=st.floats(1.0, 1.6),
    size=st.floats(0.6, 1.3),
    off=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    level=st.integers(25, 255),
    border=st.integers(0, 6),
    noise=st.floats(0, 2.5),
    shade=st.floats(0, 0.7),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_round_fields_are_found(height, aspect, size, off, level, border, noise, shade, seed):
    # A diameter beyond the height is cut above and below; the width always shows both sides.
    width = int(height * max(aspect, size + 0.1))
    radius = size * height / 2
    slack = abs(height / 2 - radius) * 0.5, width / 2 - radius - 3
    centre = (height / 2 + off[0] * slack[0], width / 2 + off[1] * max(slack[1], 0))
    image = draw((height, width), centre, (radius,) * 2, level, border, noise, shade, seed)
    assert error(find_field(image), centre, (radius,) * 2) < 0.02


@given(
    squeeze=st.floats(1.15, 1.5),
    rx=st.floats(60, 110),
    upright=st.booleans(),
    level=st.integers(30, 255),
    noise=st.floats(0, 2),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_squeezed_fields_give_the_box_of_the_ellipse(squeeze, rx, upright, level, noise):
    radii = (rx * squeeze, rx)
    shape, centre = (340, 256), (172.0, 126.0)
    image = draw(shape, centre, radii, level, noise=noise)
    if not upright:
        image, centre, radii = image.transpose(1, 0, 2).copy(), centre[::-1], radii[::-1]
    assert error(find_field(image), centre, radii) < 0.02


def test_a_squeezed_field_cut_above_and_below_is_completed():
    centre, radii = (128, 128), (160, 126)
    box = find_field(draw((256, 256), centre, radii, 90, noise=1))
    assert error(box, centre, radii) < 0.03
    assert box[0] < -20


@pytest.mark.parametrize(("shape", "radius"), [((300, 300), 190), ((150, 420), 200)])
def test_a_field_of_which_little_of_the_rim_shows_is_completed(shape, radius):
    centre = shape[0] / 2, shape[1] / 2
    box = find_field(draw(shape, centre, (radius, radius), noise=1))
    assert error(box, centre, (radius, radius)) < 0.02


@given(
    width=st.integers(300, 1300),
    size=st.floats(0.13, 0.34),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    level=st.integers(30, 255),
    border=st.integers(0, 6),
    noise=st.floats(0, 2),
    letters=st.booleans(),
)
@example(width=300, size=0.328, at=(0.0, 1.0), level=30, border=0, noise=0.0, letters=False)
@example(width=640, size=0.34, at=(0.5, 1.0), level=40, border=0, noise=0.0, letters=False)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_small_fields_are_found(width, size, at, level, border, noise, letters):
    """From a hundredth of the frame's area to where the levels of the frame tell of it."""
    height, radius = width * 3 // 4, size * width / 2
    room = (height - 2 * radius - 4, width - 2 * radius - 4)
    centre = tuple(radius + 2 + u * n for u, n in zip(at, room, strict=True))
    image = draw((height, width), centre, (radius,) * 2, level, border, noise)
    if letters:
        place = (6, height - 8) if at[0] < 0.5 else (6, 20)
        cv2.putText(image, "OD 2019", place, 0, 0.5, (255, 255, 255), 1)
    box = find_field(image)
    assert error(box, centre, (radius,) * 2) < max(0.04, 1.5 / radius)


@pytest.mark.parametrize("level", [7, 15])
def test_a_very_dark_field_is_found(level):
    image = draw((300, 400), (150, 190), (120, 120), level)
    assert error(find_field(image), (150, 190), (120, 120)) < 0.03


def test_letters_on_black_are_no_field():
    image = np.zeros((600, 800, 3), np.uint8)
    cv2.putText(image, "No photograph", (60, 300), 0, 1.5, (255, 255, 255), 4)
    cv2.putText(image, "0815", (600, 560), 0, 1, (255, 255, 255), 3)
    np.testing.assert_array_equal(find_field(image).numpy(), [0, 0, 600, 800])


def test_a_cross_on_black_is_no_field():
    image = np.zeros((600, 800, 3), np.uint8)
    image[200:320, 395:405] = image[255:265, 340:460] = 255
    np.testing.assert_array_equal(find_field(image).numpy(), [0, 0, 600, 800])


def test_where_the_frame_cuts_there_is_no_outline():
    mask = np.ones((1, 40, 60), bool)
    mask[:, :, :10] = False
    x, y = field._outline(tf.constant(mask))
    assert set(x.numpy()) == {10.0}
    assert set(y.numpy()) == set(np.arange(0, 40, 2) + 0.5)


def test_a_bright_part_that_is_not_round_is_kept_within_the_frame():
    y, x = np.mgrid[:300, :400]
    bright = x + y > 300
    image = np.where(bright[..., None], 120, 0) * np.ones(3)
    y0, x0, y1, x1 = find_field(image.astype(np.uint8)).numpy()
    assert min(y0, x0, 300 - y1, 400 - x1) >= 0
    assert bright[round(y0) : round(y1), round(x0) : round(x1)].sum() > 0.9 * bright.sum()


def test_a_field_with_flat_ends_inside_the_frame_is_completed():
    image = draw((300, 300), (150, 150), (140, 140), 130, noise=1)
    image[:28], image[-28:] = 0, 0
    assert error(find_field(image), (150, 150), (140, 140)) < 0.02


def test_letters_marks_and_notches_beside_the_field_do_not_matter():
    image = draw((400, 560), (200, 270), (180, 180), 110, noise=1)
    cv2.putText(image, "OD 2019-03-01 No. 00815", (6, 16), 0, 0.5, (255, 255, 255), 1)
    cv2.putText(image, "R", (515, 70), 0, 2, (255, 255, 255), 6)
    cv2.rectangle(image, (490, 340), (550, 395), (90, 200, 90), -1)
    cv2.circle(image, (400, 72), 7, (120, 80, 50), -1)
    assert error(find_field(image), (200, 270), (180, 180)) < 0.02


def test_a_shadow_over_half_of_the_field_does_not_cut_it():
    y, x = np.mgrid[:300, :300] + 0.5
    light = np.clip((x - 110) / 60, 0, 1)[..., None]
    image = (draw((300, 300), (150, 150), (140, 140), 200) * light).astype(np.uint8)
    assert error(find_field(image), (150, 150), (140, 140)) < 0.03


def test_a_photograph_cut_out_on_white_is_found():
    image = draw((300, 300), (150, 150), (130, 130), 120)
    y, x = np.mgrid[:300, :300] + 0.5
    image[(y - 150) ** 2 + (x - 150) ** 2 > 142**2] = 255
    assert error(find_field(image), (150, 150), (130, 130)) < 0.02


def test_two_photographs_laid_over_each_other_are_both_kept():
    first = draw((300, 300), (120, 105), (100, 100), 120)
    second = draw((300, 300), (180, 195), (100, 100), 160)
    box = find_field(np.maximum(first, second)).numpy()
    np.testing.assert_allclose(box, [20, 5, 280, 295], atol=12)


@pytest.mark.parametrize("border", [0, 12])
def test_a_rectangular_picture_in_a_dark_frame_gives_the_rectangle(border):
    image = np.full((300, 400, 3), border, np.uint8)
    image[40:260, 60:350] = draw((220, 290), (110, 145), (900, 900), 150)
    np.testing.assert_allclose(find_field(image).numpy(), [40, 60, 260, 350], atol=4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((200, 300, 3), np.uint8),
        np.full((200, 300, 3), 255, np.uint8),
        np.full((16, 16, 3), 7, np.uint8),
        draw((200, 300), (100, 150), (900, 900), 150, noise=3),
        np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8),
    ],
)
def test_without_a_border_the_whole_frame_is_the_field(image):
    want = [0, 0, *image.shape[:2]]
    np.testing.assert_array_equal(find_field(image).numpy(), want)


def test_only_pictures_of_one_colour_have_no_field():
    for level in (0, 3, 255):
        assert not has_field(np.full((1, 80, 80, 3), level, np.uint8))[0]
    dim, wide = draw((64, 80), (32, 40), (30, 30), 15), draw((64, 80), (32, 40), (300, 300), 150)
    gray = np.full((64, 80, 3), 90, np.uint8)
    assert has_field(np.stack([dim, gray, wide])).numpy().tolist() == [True, False, True]
    noise = np.random.default_rng(0).normal(90, 2, (1, 900, 700, 3)).clip(0, 255)
    assert not has_field(noise)[0]
    assert has_field(np.zeros((0, 80, 80, 3))).shape == (0,)


def test_the_field_is_the_same_eagerly_in_a_pipeline_and_in_float():
    image = draw((320, 480), (160, 240), (150, 150), 90, noise=2)
    want = find_field(image).numpy()
    np.testing.assert_array_equal(eager_find_field(tf.constant(image)).numpy(), want)
    data = tf.data.Dataset.from_tensors(image).map(eager_find_field)
    np.testing.assert_allclose(next(iter(data)).numpy(), want, atol=1e-3)
    wide = eager_find_field(tf.constant(image.astype(np.float32)))
    np.testing.assert_allclose(wide.numpy(), want, atol=1e-3)


# Measured on the originals: first and last row and column brighter than 20; where the frame cuts
# above and below, the rows are those of a circle as high as wide. y0, x0, y1, x1.
MEASURED = {
    "1023_left.jpg": (88, 520, 1641, 2073),
    "720_right.jpg": (-27, 486, 922, 1435),
    "338_right.jpg": (101, 102, 2875, 2875),
}


def test_fields_of_originals_lie_where_they_were_measured(data_dir):
    for name, want in MEASURED.items():
        image = cv2.imread(str(data_dir / "odir5k" / "fullres" / name))[..., ::-1]
        box = find_field(np.ascontiguousarray(image)).numpy()
        assert np.abs(box - want).max() < 0.02 * (want[2] - want[0])


@pytest.mark.slow
def test_no_original_loses_what_is_bright(data_dir):
    paths = sorted((data_dir / "odir5k" / "fullres").glob("*.jpg"))
    assert paths
    for path in paths:
        image = cv2.imread(str(path))[..., ::-1]
        y0, x0, y1, x1 = np.rint(find_field(np.ascontiguousarray(image)).numpy()).astype(int)
        bright = cv2.morphologyEx(image.max(axis=2), cv2.MORPH_OPEN, np.ones((15, 15))) > 25
        inside = bright[max(y0, 0) : y1, max(x0, 0) : x1].sum()
        assert inside > 0.995 * bright.sum(), path.name
        assert (y1 - y0) * (x1 - x0) < 1.5 * bright.sum() / (np.pi / 4), path.name


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_a_small_copy_has_every_so_manyth_pixel(height, width, step):
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    np.testing.assert_array_equal(thinned(images, step), images[:, ::step, ::step])
    np.testing.assert_array_equal(thinned(images[1], step), images[1, ::step, ::step])
