"""Filters take speckle and leave lesions; regions find what was put into them."""

import tarfile

import cv2
import numpy as np
import pytest

from fundus_diag.explain import filters, regions
from fundus_diag.explain.filters import adaptive_threshold, clean, filter_maps, median
from fundus_diag.explain.regions import region_table
from fundus_diag.imaging.field import find_field
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


# median


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
    with pytest.raises(UsageError, match=f"median size {size}: must be an odd number"):
        median(maps, size)


# adaptive threshold


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
    with pytest.raises(UsageError, match=f"adaptive block {block}: must be an odd number"):
        adaptive_threshold(maps, block)


@pytest.mark.parametrize("offset", [-0.1, 1, float("nan")])
def test_an_offset_beyond_the_maximum_is_refused(maps, offset):
    with pytest.raises(UsageError, match="adaptive offset"):
        adaptive_threshold(maps, offset=offset)


# both


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


# regions


def spot(y, x, shape=(60, 60)):
    map = np.zeros(shape, "float32")
    map[int(y * shape[0]), int(x * shape[1])] = 3e-4
    return map


@pytest.mark.parametrize(
    ("eye", "y", "x", "quadrant"),
    [
        ("right", 0.2, 0.8, "superior_nasal"),
        ("right", 0.8, 0.2, "inferior_temporal"),
        ("left", 0.2, 0.8, "superior_temporal"),
        ("left", 0.8, 0.2, "inferior_nasal"),
        ("", 0.2, 0.8, "superior_right"),
        ("", 0.8, 0.2, "inferior_left"),
    ],
)
def test_a_spot_lies_in_its_quadrant(eye, y, x, quadrant):
    got = region_table(spot(y, x), eye)
    parts = {k: v for k, v in got.items() if k.startswith(("superior", "inferior"))}
    assert len(parts) == 4
    assert parts.pop(quadrant) == 1
    assert set(parts.values()) == {0}
    assert set(got) <= set(regions.COLUMNS)
    assert (got["peak_y"], got["peak_x"]) == pytest.approx((y, x), abs=1 / 60)


def test_the_peak_is_the_middle_of_its_pixel_as_a_share_of_each_side():
    got = region_table(spot(0.2, 0.55, (10, 20)))
    assert (got["peak_y"], got["peak_x"]) == (0.25, 11.5 / 20)


@pytest.mark.parametrize("shape", [(7, 7), (10, 10), (56, 33)])
def test_a_uniform_map_has_the_areas(shape):
    got = region_table(np.full(shape, 1e30), "left")
    for name in ("superior_nasal", "superior_temporal", "inferior_nasal", "inferior_temporal"):
        assert got[name] == pytest.approx(0.25)
    assert got["disc"] == pytest.approx(np.pi * regions.DISC[2] ** 2, rel=0.01)
    assert got["macula"] == pytest.approx(np.pi * regions.MACULA[2] ** 2, rel=0.01)


def test_shares_of_a_random_map_by_a_loop():
    map = np.random.default_rng(3).random((40, 50))
    got = region_table(map, disc=(0.3, 0.6, 0.2))
    inside = upper_left = 0
    for y, x in np.ndindex(map.shape):
        inside += map[y, x] * (np.hypot((y + 0.5) / 40 - 0.3, (x + 0.5) / 50 - 0.6) <= 0.2)
        upper_left += map[y, x] * (y < 20 and x < 25)
    assert got["superior_left"] == pytest.approx(upper_left / map.sum())
    assert got["disc"] == pytest.approx(inside / map.sum(), abs=0.002)  # pixels on the rim
    assert np.isnan(got["macula"])


def test_a_left_eye_is_the_mirror_image_of_a_right_one():
    map = np.random.default_rng(4).random((30, 30))
    right, left = region_table(map, "right"), region_table(map[:, ::-1], "left")
    assert left.pop("peak_x") == pytest.approx(1 - right.pop("peak_x"))
    assert left == pytest.approx(right)


def test_disc_and_macula_of_an_unknown_eye_are_unknown():
    got = region_table(spot(0.5, 0.75))
    assert np.isnan([got["disc"], got["macula"]]).all()
    assert region_table(spot(0.5, 0.75), "right")["disc"] == 1
    assert region_table(spot(0.5, 0.75), "left")["disc"] == 0
    assert region_table(spot(0.535, 0.4), "right")["macula"] == 1


def test_a_map_of_zeros_points_nowhere():
    for eye in regions.EYES:
        got = region_table(np.zeros((8, 8)), eye)
        assert len(got) == 8
        assert np.isnan(list(got.values())).all()


def test_circles_lie_in_the_picture_and_apart():
    (y, x, radius), (y2, x2, radius2) = regions.DISC, regions.MACULA
    assert np.hypot(y - y2, x - x2) > radius + radius2
    assert max(y, x) + radius < 1
    assert min(y2, x2) - radius2 > 0


def test_wrong_maps_and_eyes_are_refused():
    for map in (np.full((4, 4), -1.0), np.full((4, 4), np.nan), np.ones(4), np.ones((0, 4))):
        with pytest.raises(ValueError, match="a map must be"):
            region_table(map)
    with pytest.raises(ValueError, match="'left', 'right' or ''"):
        region_table(np.ones((4, 4)), "OD")


def test_real_discs_lie_in_the_disc_region(data_dir):
    held = []
    with tarfile.open(data_dir / "idrid_lesions" / "train.tar") as tar:
        for number in (1, 12, 29, 34, 46):
            stem = f"IDRiD_{number:02d}"
            files = (f"images/{stem}.jpg", f"masks/OD/{stem}_OD.png")
            data = [np.frombuffer(tar.extractfile(name).read(), np.uint8) for name in files]
            image, mask = cv2.imdecode(data[0], 1), cv2.imdecode(data[1], 0) > 0
            y0, x0, y1, x1 = find_field(image[..., ::-1].copy()).numpy()
            side = max(y1 - y0, x1 - x0)
            y, x = np.nonzero(mask)
            y = (y + 0.5 - (y0 + y1) / 2) / side + 0.5
            x = (x + 0.5 - (x0 + x1) / 2) / side + 0.5
            map, _, _ = np.histogram2d(y, x, bins=100, range=[[0, 1], [0, 1]])
            eye = "right" if x.mean() > 0.5 else "left"
            assert region_table(map, eye)["macula"] == 0
            held.append(region_table(map, eye)["disc"])
    assert np.mean(held) > 0.75


def test_one_cell_of_a_coarse_map_is_kept_and_one_of_a_fine_map_is_not():
    for side, left in ((4, 1), (15, 1), (16, 0), (40, 0)):
        map = np.zeros((2, side, side), np.float32)
        map[:, 1, 1] = 1
        assert clean(map).sum() == 2 * left, side
    np.testing.assert_array_equal(clean(map, 0), map)
