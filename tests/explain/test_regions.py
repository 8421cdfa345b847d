"""Where in the eye a map points."""

import tarfile

import cv2
import numpy as np
import pytest

from fundus_diag.data.labels import EYE_VALUES
from fundus_diag.explain import regions
from fundus_diag.explain.regions import region_table
from fundus_diag.imaging.field import find_field


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
    for eye in EYE_VALUES:
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
