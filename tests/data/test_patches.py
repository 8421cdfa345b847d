"""Patches of pictures of which each pixel tells its own place: what a step of training sees."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_diag.data import patches
from fundus_diag.data.patches import _coloured, _laid, patch_batches, places
from fundus_diag.data.segments import Segments

few = settings(max_examples=60, deadline=None)
SIZE = 200  # a place fits a uint8


def segments(array, known=None):
    """`Segments` of an array (n, S, S, 3 + K + 1)."""
    count = array.shape[-1] - 4
    rows, classes = (f"{i}.png" for i in range(len(array))), (f"c{k}" for k in range(count))
    known = np.ones((len(array), count), bool) if known is None else np.array(known, bool)
    return Segments(tuple(rows), tuple(classes), array, known)


def own_places(size=SIZE, n=1):
    """Pictures and masks that tell row and column: red and class 0 the row, green and class 1 the
    column, blue the number of the picture plus 50.

    OpenCV reads the fifth channel and more at 64ths of a pixel.
    """
    rows, columns = np.mgrid[:size, :size]
    array = np.zeros((n, size, size, 6), np.uint8)
    array[..., 0] = array[..., 3] = rows
    array[..., 1] = array[..., 4] = columns
    array[..., 2] = 50 + np.arange(n)[:, None, None]
    array[..., 5] = 1
    return segments(array)


def seen(found, side, count, batch_size=8, seed=(3, 1), at=None, **options):
    """An epoch's batches, [(pictures, masks)]."""
    at = places(found) if at is None else at
    made = patch_batches(found, at, side, count, batch_size, list(seed), **options)
    return [(x.numpy(), z.numpy()) for x, z in made]


def joined(batches):
    return [np.concatenate(x) for x in zip(*batches, strict=True)]


@pytest.fixture
def colourless(monkeypatch):
    """Pictures are only moved, so that they can be held against their masks."""
    monkeypatch.setattr(patches, "_coloured", lambda picture, rng: picture)


# Of one patch.


@few
@given(st.data())
def test_a_patch_on_whole_pixels_is_the_crop_bit_by_bit(data):
    size, channels = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 9))
    side = data.draw(st.integers(1, size))
    y, x = data.draw(st.tuples(*[st.integers(0, size - side)] * 2))
    array = np.random.default_rng(size).integers(0, 256, (size, size, channels), np.uint8)
    centre = np.array([y, x]) + (side - 1) / 2
    for mirror in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        got = _laid(array, centre, 1.0, 0.0, np.array(mirror, float), side)
        want = array[y : y + side, x : x + side][:: mirror[0], :: mirror[1]]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, want)


@few
@given(
    st.integers(8, 60),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.floats(0.8, 1.2),
    st.floats(-0.55, 0.55),
    st.tuples(st.sampled_from((-1, 1)), st.sampled_from((-1, 1))),
)
@example(60, (0.0, 0.9), 1.2, 0.5, (-1, 1))
def test_a_pixel_of_a_patch_shows_the_place_that_the_formula_says(side, where, zoom, angle, mirror):
    """Mirrored about the patch's middle, turned, zoomed, carried to the centre; black beyond."""
    size = 70
    array = np.stack(np.mgrid[:size, :size], axis=-1).astype(np.float32) + 10
    centre = np.array(where) * (size - 1)
    got = _laid(array, centre, zoom, angle, np.array(mirror, float), side)
    p = (np.stack(np.mgrid[:side, :side], axis=-1) - (side - 1) / 2) * mirror
    y, x = p[..., 0], p[..., 1]
    turned = [y * math.cos(angle) + x * math.sin(angle), x * math.cos(angle) - y * math.sin(angle)]
    want = zoom * np.stack(turned, axis=-1) + centre
    inside = ((want >= 0) & (want <= size - 1)).all(axis=-1)
    np.testing.assert_allclose(got[inside], want[inside] + 10, atol=0.02)
    beyond = ((want < -1.01) | (want > size + 0.01)).any(axis=-1)
    np.testing.assert_array_equal(got[beyond], 0)


class Watched(np.ndarray):
    """An array that notes how many numbers are taken from it."""

    def __getitem__(self, key):
        part = super().__getitem__(key)
        taken.append(part.size)
        return part


taken = []


def test_of_a_large_picture_only_a_window_is_read():
    array = np.zeros((600, 600, 5), np.uint8).view(Watched)
    for centre in ((300.5, 299.5), (0.0, 599.0)):
        taken.clear()
        _laid(array, np.array(centre), 1.2, 0.5, np.ones(2), 32)
        window = taken[0]
        assert 32 * 32 * 5 / 4 <= window <= (1.2 * 32 * math.sqrt(2) + 8) ** 2 * 5


def test_black_stays_black_and_colours_change_by_no_more_than_they_may():
    """Halves of 100 and 150: their gap tells contrast and tint, their mean the brightness."""
    rng = np.random.default_rng(0)
    picture = np.full((8, 9, 3), 100, np.float32)
    picture[:, 3:6], picture[:, 6:] = 150, 0
    gaps, middles = [], []
    for _ in range(2000):
        got = _coloured(picture, rng)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got[:, 6:], 0)
        assert np.ptp(got[:, :3], axis=(0, 1)).max() == 0
        gaps.append((got[0, 3] - got[0, 0]) / 50)  # contrast times tint
        middles.append(got[0, 0] - 100 * gaps[-1])
    gaps = np.array(gaps)
    assert 0.8 * 0.92 <= gaps.min() < 0.78
    assert 1.26 < gaps.max() <= 1.2 * 1.08
    between = np.log(gaps[:, 0] / gaps[:, 1])  # contrast falls out
    assert np.log(1.05 / 0.95) < np.abs(between).max() <= np.log(1.08 / 0.92)
    # What is left is mean (1 - contrast) tint + brightness; the mean is 250 / 3.
    off = np.abs(np.array(middles) + (gaps - 1) * 250 / 3)
    assert 33 < off.max() <= 0.15 * 255 + 0.08 * 250 / 3
    bright = _coloured(np.full((4, 4, 3), 250, np.float32), np.random.default_rng(2))
    assert 0 <= bright.min() <= bright.max() <= 255


# Of an epoch.


def test_without_augmentation_a_patch_is_a_crop(colourless):
    for side in (16, 33):
        pictures, masks = joined(seen(own_places(n=2), side, 30, augment=False))
        first = pictures[:, :1, :1, :2]
        steps = np.stack(np.mgrid[:side, :side], axis=-1)
        np.testing.assert_allclose(pictures[..., :2] - first, np.broadcast_to(
            steps, (len(pictures), side, side, 2)), atol=1e-3)  # fmt: skip
        assert first.min() >= -1e-3
        assert first.max() <= SIZE - side + 1e-3
        assert first.std(axis=0).min() > 20  # all over the picture
        np.testing.assert_allclose(masks * 255, pictures[..., :2], atol=1 / 60)


def test_a_patch_as_large_as_the_picture_is_the_picture_and_may_be_moved_a_little(colourless):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (1, 21, 21, 6), np.uint8)
    pictures, masks = joined(seen(segments(array), 21, 3, augment=False))
    for picture, mask in zip(pictures, masks, strict=True):
        np.testing.assert_array_equal(picture, array[0, ..., :3])
        np.testing.assert_array_equal(mask, array[0, ..., 3:5] / np.float32(255))
    pictures, _ = joined(seen(own_places(101), 101, 200))
    middles = pictures[:, 50, 50, :2] - 50
    assert 0.04 * 101 < np.abs(middles).max() <= 0.05 * 101 + 1e-3
    assert (np.abs(middles) > 1e-3).all()


def test_picture_and_masks_are_moved_alike_by_up_to_30_degrees_and_20_percent(colourless):
    side = 32
    pictures, masks = joined(seen(own_places(), side, 1500, share=0))
    assert pictures.shape == (1496, side, side, 3)
    assert masks.shape == (1496, side, side, 2)
    assert pictures.dtype == masks.dtype == np.float32
    inside = np.abs(pictures[..., 2] - 50) < 1e-3
    assert 0.9 < inside.mean() < 1
    np.testing.assert_allclose(masks[inside] * 255, pictures[inside, :2], atol=1 / 60)
    np.testing.assert_allclose(masks * 255, pictures[..., :2], atol=SIZE / 60)
    # Of (row, column) to a step down and to a step right.
    down = (pictures[:, 20, 16, :2] - pictures[:, 12, 16, :2]) / 8
    right = (pictures[:, 16, 20, :2] - pictures[:, 16, 12, :2]) / 8
    for step in (down, right):
        zoom = np.hypot(*step.T)
        assert 0.8 - 1e-3 <= zoom.min() < 0.81
        assert 1.19 < zoom.max() <= 1.2 + 1e-3
        assert zoom.std() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)  # evenly
    np.testing.assert_allclose((down * right).sum(axis=1), 0, atol=1e-3)
    mirrored = np.sign(down[:, 0]), np.sign(right[:, 1])
    for one in mirrored:
        assert (one < 0).mean() == pytest.approx(0.5, abs=0.05)
    assert abs(np.corrcoef(*mirrored)[0, 1]) < 0.1  # each by itself
    angle = np.degrees(np.arctan2(down[:, 1] * mirrored[0], down[:, 0] * mirrored[0]))
    assert 29 < np.abs(angle).max() <= 30.01
    assert angle.std() == pytest.approx(30 / math.sqrt(3), rel=0.05)
    # Anywhere, as far as the patch fits.
    middle = pictures[:, 15:17, 15:17, :2].mean(axis=(1, 2))
    assert middle.min() >= 15.5 - 1e-3
    assert middle.max() <= SIZE - 16.5 + 1e-3
    inner = ((middle > 30) & (middle < SIZE - 31)).all(axis=1)
    assert inner.mean() == pytest.approx((SIZE - 61) ** 2 / SIZE**2, abs=0.05)


def test_masks_keep_their_place_while_colours_change():
    """Colours are one line a channel of a patch's own levels: the places still show."""
    array = np.insert(own_places().array, 5, 255, axis=-1)  # a class that is all of the picture
    pictures, masks = joined(seen(segments(array), 24, 60))
    changed = 0
    for picture, mask in zip(pictures, masks, strict=True):
        inner = (mask[..., 2] == 1) & ((mask > 2 / 255) & (mask < 1 - 58 / 255))[..., :2].all(
            axis=2
        )
        for k in range(2):
            at, shown = 255 * mask[..., k], picture[..., k]
            fine = inner & (shown > 0) & (shown < 255)
            if fine.sum() > 50:
                line = np.polyfit(at[fine], shown[fine], 1)
                np.testing.assert_allclose(np.polyval(line, at[fine]), shown[fine], atol=0.05)
                changed += abs(line[0] - 1) > 0.02
    assert changed > 60


def rare(where, size=SIZE):
    """A picture with one pixel of class 0."""
    array = np.zeros((1, size, size, 5), np.uint8)
    array[0, where[0], where[1], 3] = 255
    return segments(array)


def holds(masks):
    return masks.max(axis=(1, 2)) > 0.1


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_share_of_the_patches_lies_about_a_pixel_of_a_rare_class(share):
    side = 32
    _, masks = joined(seen(rare((100, 90)), side, 1200, share=share, augment=False))
    found = holds(masks)[:, 0]
    chance = (side / SIZE) ** 2
    assert found.mean() == pytest.approx(share + (1 - share) * chance, abs=0.045)
    if share == 1:
        assert found.all()
        middle = np.abs(np.stack([np.unravel_index(x.argmax(), x.shape[:2]) for x in masks]) - 15.5)
        assert 0.36 * side < middle.max() <= 0.4 * side + 1
        assert middle.mean() == pytest.approx(0.2 * side, rel=0.05)


def test_a_rare_pixel_is_seen_when_patches_are_moved_and_when_it_lies_in_a_corner():
    _, masks = joined(seen(rare((100, 90)), 32, 600, share=1))
    assert holds(masks).mean() > 0.95  # a turn carries it out of the patch's corner
    _, masks = joined(seen(rare((0, 199)), 32, 100, share=1, augment=False))
    assert holds(masks).all()


def test_classes_of_a_photograph_are_drawn_evenly_however_large_they_are():
    array = np.zeros((2, SIZE, SIZE, 6), np.uint8)
    array[0, 120:, 120:, 3] = 255  # 6,400 pixels against one; the other photograph has none
    array[0, 40, 40, 4] = 255
    array[..., 2] = np.array([10, 90])[:, None, None]
    pictures, masks = joined(seen(segments(array), 24, 800, share=1, augment=False))
    first = pictures[..., 2].mean(axis=(1, 2)) < 50
    assert first.mean() == 0.5
    one, other = holds(masks[first]).T
    assert other.mean() == pytest.approx(0.5, abs=0.055)
    assert one.mean() == pytest.approx(0.5, abs=0.055)
    assert (one | other).all()
    assert not holds(masks[~first]).any()


def test_places_are_pixels_that_are_of_a_class_by_half_at_least_and_not_too_many():
    rng = np.random.default_rng(0)
    array = np.zeros((2, 120, 120, 6), np.uint8)
    array[0, ..., 3] = rng.integers(0, 256, (120, 120))
    array[1, 5:7, 8:11, 4] = [[127, 128, 0], [255, 3, 128]]
    found = places(segments(array), seed=4)
    assert found.keys() == {(0, 0), (1, 1)}
    assert sorted(map(tuple, found[1, 1])) == [(5, 9), (6, 8), (6, 10)]
    many = found[0, 0]
    assert len(many) == len(np.unique(many, axis=0)) == patches.PLACES
    assert (array[0, many[:, 0], many[:, 1], 3] >= 127.5).all()
    assert many.mean(axis=0) == pytest.approx([59.5, 59.5], abs=3)  # all over the photograph
    again, other = (places(segments(array), seed)[0, 0] for seed in (4, 5))
    np.testing.assert_array_equal(many, again)
    assert (many != other).any()


def test_an_epoch_is_the_same_bit_by_bit_for_its_seed_and_another_for_another():
    found = own_places(n=3)

    def epoch(*seed):
        return [x.tobytes() + z.tobytes() for x, z in seen(found, 16, 20, 4, seed)]

    first = epoch(7, 2)
    assert len(set(first)) == len(first) == 15
    assert epoch(7, 2) == first
    for seed in ((7, 3), (8, 2)):
        assert not set(epoch(*seed)) & set(first)


def test_every_photograph_gives_as_many_patches_and_their_order_is_drawn(colourless):
    pictures, _ = joined(seen(own_places(n=3), 16, 20, 5, augment=False))
    numbers = np.rint(pictures[:, 0, 0, 2] - 50).astype(int)
    assert np.bincount(numbers).tolist() == [20, 20, 20]
    assert (np.diff(numbers) != 0).sum() > 20
    other, _ = joined(seen(own_places(n=3), 16, 20, 5, seed=(3, 2), augment=False))
    assert (np.rint(other[:, 0, 0, 2] - 50) != numbers).any()


@pytest.mark.parametrize(
    ("batch_size", "want"),
    [(4, [4, 4, 4]), (6, [6, 6]), (10, [10]), (14, [14]), (99, [14]), (1, [1] * 14)],
)
def test_an_incomplete_batch_is_left_out_unless_it_is_the_only_one(batch_size, want):
    batches = seen(own_places(40, n=2), 16, 7, batch_size)
    assert [len(x) for x, _ in batches] == [len(z) for _, z in batches] == want


@pytest.mark.parametrize("side", [16, 60])
def test_masks_are_nan_for_classes_that_nobody_looked_for_and_for_no_others(colourless, side):
    known = np.array([[True, False], [False, False], [True, True]])
    found = segments(own_places(60, n=3).array, known)
    pictures, masks = joined(seen(found, side, 8))
    numbers = np.rint(pictures[:, side // 2, side // 2, 2] - 50).astype(int)
    assert np.bincount(numbers).tolist() == [8, 8, 8]
    want = np.broadcast_to(~known[numbers][:, None, None], masks.shape)
    np.testing.assert_array_equal(np.isnan(masks), want)
    assert not np.isnan(pictures).any()


def test_shapes_are_known_before_anything_is_drawn():
    made = patch_batches(own_places(40), {}, 16, 5, 2, [1, 1])
    pictures, masks = made.element_spec
    assert pictures.shape == (2, 16, 16, 3)
    assert masks.shape == (2, 16, 16, 2)
