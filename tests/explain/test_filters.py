"""Filters take speckle and leave lesions; regions find what was put into them."""

import numpy as np
import pytest

from fundus_diag.explain import filters
from fundus_diag.explain.filters import adaptive_threshold, clean, filter_maps, median
from fundus_diag.utils.errors import UsageError


@pytest.fixture
def maps():
    """(2, 3, 13, 18): maps of quite different scales, one of them zero, one of one value."""
    rng = np.random.default_rng(0)
    maps = rng.random((2, 3, 13, 18)) ** 3 * 10.0 ** rng.integers(-6, 4, (2, 3, 1, 1))
    maps[0, 1], maps[1, 2] = 0, 0.37
    return maps.astype("float32")


@pytest.fixture
def lesion():
    """(64, 64) map with a spot of 10 pixels about (22.5, 40.5), half as bright at its rim."""
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(y - 22.5, x - 40.5)
    return np.where(distance <= 5, 1 - 0.1 * distance, 0).astype("float32")


def centre(map):
    y, x = np.nonzero(map)
    return np.average(y, weights=map[y, x]), np.average(x, weights=map[y, x])


def windows(map, side):
    """The (side, side) surroundings of every pixel, one by one; the border is mirrored."""
    padded = np.pad(map, side // 2, mode="symmetric")
    for y, x in np.ndindex(map.shape):
        yield (y, x), padded[y : y + side, x : x + side]


@pytest.mark.parametrize("side", [1, 3, 5])
def test_median_equals_a_loop_over_the_windows_of_each_map(maps, side):
    got = median(maps, side)
    assert got.dtype == np.float32
    for index in np.ndindex(2, 3):
        for at, window in windows(maps[index], side):
            assert got[index][at] == np.median(window)


def test_median_takes_salt_and_leaves_a_lesion_of_ten_pixels(lesion):
    salted = lesion.copy()
    salted[1::4, 2:28:4] = 1  # 16 x 7 grains, none next to another or to the lesion
    got = median(salted)
    assert not got[lesion == 0].any()
    kept = np.where(lesion > 0, got, 0)
    np.testing.assert_allclose(centre(kept), centre(lesion), atol=0.05)
    assert 0.85 < (kept > 0).sum() / (lesion > 0).sum() <= 1
    assert 0.9 < kept.sum() / lesion.sum() <= 1


@pytest.mark.parametrize("size", [0, 2, 4, -1, 2.5])
def test_an_even_median_is_refused(maps, size):
    with pytest.raises(UsageError, match=f"--median {size}: must be an odd number"):
        median(maps, size)


@pytest.mark.parametrize(("block", "offset"), [(3, 0.0), (5, 0.05), (7, 0.3), (None, 0.05)])
def test_adaptive_threshold_equals_a_loop_over_the_windows_of_each_map(maps, block, offset):
    got = adaptive_threshold(maps, block, offset)
    side = block or 3  # a quarter of 13
    for index in np.ndindex(2, 3):
        map = maps[index].astype("float64")
        if np.ptp(map) == 0:
            assert not got[index].any()
            continue
        for at, window in windows(map, side):
            want = map[at] if map[at] > window.mean() + offset * map.max() else 0
            assert got[index][at] == np.float32(want)


@pytest.mark.parametrize(("shape", "block"), [((64, 80), 17), ((80, 40), 11), ((10, 10), 3)])
def test_the_box_is_about_a_quarter_of_the_shorter_side_by_default(shape, block):
    map = np.random.default_rng(2).random(shape)
    np.testing.assert_array_equal(adaptive_threshold(map), adaptive_threshold(map, block))
    assert (adaptive_threshold(map) != adaptive_threshold(map, block + 2)).any()


def test_adaptive_threshold_leaves_a_lesion_on_a_bright_slope(lesion):
    slope = np.linspace(0, 2, 64, dtype="float32")
    got = adaptive_threshold(slope + lesion)
    assert (got[lesion > 0.6] > 0).all()
    assert (got[:, :30] == 0).mean() > 0.99
    np.testing.assert_array_equal(got[got > 0], (slope + lesion)[got > 0])


@pytest.mark.parametrize("value", [0, 0.1, 1 / 3, 1e-30, 7e30])
@pytest.mark.parametrize("offset", [0, 0.05])
def test_a_map_of_one_value_stands_out_nowhere(value, offset):
    got = adaptive_threshold(np.full((2, 9, 11), value), 5, offset)
    assert got.shape == (2, 9, 11)
    assert not got.any()  # NaN would be seen


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7])
def test_a_plain_beside_rough_ground_stands_out_nowhere_even_without_an_offset(value):
    map = np.full((20, 40), value)
    map[:, :6] = np.random.default_rng(5).random((20, 6))
    got = adaptive_threshold(map, 3, 0)
    assert got[:, :6].any()
    assert not got[:, 8:].any()


@pytest.mark.parametrize("block", [1, 4, 0, -3])
def test_an_even_box_is_refused(maps, block):
    with pytest.raises(UsageError, match=f"--adaptive-block {block}: must be an odd number"):
        adaptive_threshold(maps, block)


@pytest.mark.parametrize("offset", [-0.1, 1, float("nan")])
def test_an_offset_beyond_the_maximum_is_refused(maps, offset):
    with pytest.raises(UsageError, match="--adaptive-offset"):
        adaptive_threshold(maps, offset=offset)


def test_the_filters_run_in_turn_or_not_at_all(maps):
    np.testing.assert_array_equal(filter_maps(maps, 0), maps)
    np.testing.assert_array_equal(filter_maps(maps), median(maps, 3))
    np.testing.assert_array_equal(filter_maps(maps, 5), median(maps, 5))
    want = adaptive_threshold(maps, 7, 0.2)
    np.testing.assert_array_equal(filter_maps(maps, 0, True, 7, 0.2), want)
    want = adaptive_threshold(median(maps, 3), 7, 0.2)
    np.testing.assert_array_equal(filter_maps(maps, 3, True, 7, 0.2), want)


def test_filters_change_the_scale_of_a_map_by_nothing(maps):
    for factor in (2.0**-40, 2.0**60):
        want = filter_maps(maps, adaptive=True) * np.float32(factor)
        got = filter_maps(maps * np.float32(factor), adaptive=True)
        np.testing.assert_array_equal(got, want)


def test_single_maps_and_none_at_all_keep_their_shape(maps):
    for shape in ((13, 18), (0, 3, 13, 18), (1, 1)):
        got = filter_maps(np.zeros(shape), adaptive=True)
        assert got.shape == shape
    np.testing.assert_array_equal(
        filter_maps(maps[1, 1], adaptive=True), filter_maps(maps, adaptive=True)[1, 1]
    )
    with pytest.raises(ValueError, match=r"\(\.\.\., h, w\)"):
        filters.median(np.zeros(5))


def test_one_cell_of_a_coarse_map_is_kept_and_one_of_a_fine_map_is_not():
    for side, left in ((4, 1), (15, 1), (16, 0), (40, 0)):
        map = np.zeros((2, side, side), np.float32)
        map[:, 1, 1] = 1
        assert clean(map).sum() == 2 * left, side
    np.testing.assert_array_equal(clean(map, 0), map)
