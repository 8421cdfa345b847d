"""Regions and labels: shares by loops, chance, and what is undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_diag.explain.association import COLUMNS, associations, cover, ranks


def by_loops(map, region, inside):
    total = here = 0.0
    count = size = 0
    for y in range(map.shape[0]):
        for x in range(map.shape[1]):
            if inside[y, x]:
                total += map[y, x]
                size += 1
                if region[y, x]:
                    here += map[y, x]
                    count += 1
    return here / total, count / size


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_shares_equal_loops(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, 9, 2)
    inside = rng.random(shape) < 0.8
    inside[0, 0] = True
    maps = {label: rng.random(shape) for label in "DG"}
    regions = {"EX": rng.random(shape) < 0.4, "disc": rng.random(shape) < 0.4}
    table = associations(maps, regions, inside)
    for row in table.itertuples():
        share, area = by_loops(maps[row.label], regions[row.region], inside)
        assert (row.share, row.area) == pytest.approx((share, area))
        assert row.ratio == pytest.approx(share / area)
        other = "G" if row.label == "D" else "D"
        assert row.others == pytest.approx(by_loops(maps[other], regions[row.region], inside)[0])
        within = maps[row.label][regions[row.region] & inside] / maps[row.label][inside].max()
        assert (row.mean, row.largest) == pytest.approx((within.mean(), within.max()))
        assert row.covered == pytest.approx((within >= 0.5).mean())
    # What lies outside of the field is nobody's.
    changed = {label: np.where(inside, map, rng.random(shape)) for label, map in maps.items()}
    assert associations(changed, regions, inside).equals(table)


def test_a_uniform_map_is_at_chance_and_one_on_the_region_is_first():
    inside = np.ones((20, 20), bool)
    spot, disc = np.zeros((2, 20, 20), bool)
    spot[2:5, 2:5] = True
    disc[10:18, 10:18] = True
    maps = {"D": spot * 1.0 + 0.01, "N": np.ones((20, 20)), "G": disc * 2.0}
    table = ranks(associations(maps, {"EX": spot, "disc": disc}, inside))
    cell = table.set_index(["region", "label"])
    assert cell["ratio"]["EX", "N"] == pytest.approx(1)
    assert cell["ratio"]["EX", "D"] > 20
    assert cell["region_rank"]["EX", "D"] == 1
    assert cell["region_rank"]["disc", "D"] == 2
    assert cell["label_rank"]["EX", "D"] == 1
    assert cell["label_rank"]["disc", "G"] == 1
    assert cell["region_rank"]["EX", "N"] == cell["region_rank"]["disc", "N"] == 1.5
    assert cell["covered"]["disc", "G"] == 1


def test_a_region_keeps_its_area_on_a_smaller_copy():
    rng = np.random.default_rng(0)
    mask = rng.random((63, 91)) < 0.02  # specks, less than a pixel of the copy
    small = cover(mask, (9, 13))
    assert small.mean() == pytest.approx(mask.mean(), rel=1e-5)
    map = rng.random((9, 13))
    inside = np.ones((9, 13), bool)
    row = associations({"D": map}, {"MA": small}, inside).iloc[0]
    # As on the photograph's own pixels, the map laid on it without smoothing.
    whole = np.kron(map, np.ones((7, 7)))
    assert row["area"] == pytest.approx(mask.mean())
    assert row["share"] == pytest.approx(whole[mask].sum() / whole.sum())
    assert row["mean"] == pytest.approx(whole[mask].mean() / whole.max())
    assert row["covered"] == pytest.approx((whole[mask] >= 0.5 * whole.max()).mean())


def test_what_is_undefined_stays_so():
    inside = np.ones((4, 4), bool)
    region = np.eye(4, dtype=bool)
    table = associations({"D": np.zeros((4, 4))}, {"EX": region, "HE": ~inside}, inside)
    assert table["region"].tolist() == ["EX"]
    assert table[["share", "ratio", "others", "mean", "covered"]].isna().all(axis=None)
    assert table["area"].item() == 0.25
    assert list(associations({}, {"EX": region}, inside).columns) == list(COLUMNS)


@pytest.mark.parametrize("wrong", [np.full((4, 4), -1.0), np.full((4, 4), np.nan), np.ones((4, 5))])
def test_what_is_no_map_is_refused(wrong):
    inside = np.ones((4, 4), bool)
    with pytest.raises(ValueError, match="map of D"):
        associations({"D": wrong}, {"EX": inside}, inside)
