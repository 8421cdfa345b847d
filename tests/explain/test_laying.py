"""Where maps lie, what of them counts, and their peak, by loops and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laid import placed_in_field, placed_in_picture
from maps_and_masks import maps_and_masks, pixels

from fundus_diag.explain import laying
from fundus_diag.imaging.inside import field_on_photograph, picture_field
from fundus_diag.imaging.preprocess import Loaded
from fundus_diag.models.geometry import Grid
from fundus_diag.models.geometry import pixels as picture_grid

GRID = Grid((5, 4), (1.5, -1.0), (6.0, 8.0), 32)


def loaded(field=(4, -3, 44, 60, 1), shape=(40, 56)):
    """A photograph of which the square about its field, which leaves its frame, is the picture."""
    half = max(field[2] - field[0], field[3] - field[1]) / 2
    cy, cx = (field[0] + field[2]) / 2, (field[1] + field[3]) / 2
    box = np.array([cy - half, cx - half, cy + half, cx + half], "float32")
    field = np.array(field, "float32")
    return Loaded(np.zeros((32, 32, 3)), box, np.zeros((*shape, 3), np.uint8), field)


def test_a_map_lies_on_picture_and_photograph_where_its_cells_stand_and_in_the_field_alone():
    map, one = np.random.default_rng(0).random((5, 4)).astype("float32") + 0.1, loaded()
    want, there = placed_in_picture(map, GRID, one)
    inside = picture_field(one)
    np.testing.assert_array_equal(inside, there)
    assert 0.3 < there.mean() < 0.7
    np.testing.assert_allclose(laying.over_picture(map, GRID, inside), want, atol=1e-5)
    wide = field_on_photograph(one.field, 40, 56).numpy()
    got = laying.over_photograph(map, GRID, one.box, wide)
    np.testing.assert_allclose(got, placed_in_field(map, GRID, one), atol=1e-5)
    assert ((got > 0) == wide).all()


def test_where_no_field_is_found_the_photograph_is_it_and_not_the_padding():
    inside = picture_field(loaded((0, 0, 40, 56, 0)))
    rows = (np.arange(32) + 0.5) * 56 / 32 - 8  # of the photograph, 40 high
    np.testing.assert_array_equal(inside, np.tile(((rows >= 0) & (rows <= 40))[:, None], 32))


def test_what_the_frame_cuts_off_a_round_field_does_not_count():
    inside = picture_field(loaded((-8, 0, 48, 56, 1)))
    at = (np.arange(32) + 0.5) * 56 / 32
    rows = at - 8  # of the photograph, 40 high
    disc = (at[:, None] - 28) ** 2 + (at - 28) ** 2 <= 28**2
    np.testing.assert_array_equal(inside, disc & ((rows >= 0) & (rows <= 40))[:, None])


def test_on_another_grid_each_cell_takes_what_lies_at_its_middle():
    map = np.random.default_rng(1).random((1, 5, 4, 2)).astype("float32")
    onto = Grid((7, 9), (2.0, 0.5), (4.0, 3.0), 32)
    got = laying.on_grid(map, GRID, onto).numpy()
    fine = laying.on_grid(map, GRID, picture_grid(32)).numpy()
    for i, j in np.ndindex(7, 9):
        y, x = 2.0 + 4 * i, 0.5 + 3 * j
        at = np.clip((y - 1.5) / 6, 0, 4), np.clip((x + 1) / 8, 0, 3)
        weights = [
            np.maximum(0, 1 - np.abs(a - np.arange(n))) for a, n in zip(at, (5, 4), strict=True)
        ]
        want = np.einsum("h,w,hwk->k", *weights, map[0])
        np.testing.assert_allclose(got[0, i, j], want, atol=1e-5)
        if x % 1 == 0.5 and y % 1 == 0.5:
            np.testing.assert_allclose(fine[0, int(y), int(x)], want, atol=1e-5)
    np.testing.assert_array_equal(laying.on_grid(map, GRID, GRID), map)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999))
def test_a_cell_reaches_into_the_field_where_a_pixel_nearest_to_it_does(seed):
    inside = np.random.default_rng(seed).random((32, 32)) < 0.01
    want = np.zeros((5, 4), bool)
    for y, x in pixels(inside):
        if inside[y, x]:
            rows = [abs(y + 0.5 - 1.5 - 6 * i) for i in range(5)]
            columns = [abs(x + 0.5 + 1 - 8 * j) for j in range(4)]
            want |= np.outer(np.equal(rows, min(rows)), np.equal(columns, min(columns)))
    (got,) = laying.reached(inside[None], GRID).numpy()
    np.testing.assert_array_equal(got, want)


@settings(max_examples=80, deadline=None)
@given(maps_and_masks())
def test_the_peak_is_the_highest_pixel_and_of_equal_ones_that_nearest_to_their_middle(drawn):
    m, _ = drawn
    top = [p for p in pixels(m) if m[p] == m.max() > 0]
    assert [p for p in pixels(m) if laying.highest(m)[p]] == top
    got = laying.peak(m)
    if not top:
        assert np.isnan(got).all()
        return
    middle = np.mean(top, axis=0)
    apart = [round(math.dist(p, middle), 9) for p in top]
    assert tuple(got) == tuple(np.array(top[apart.index(min(apart))]) + 0.5)


def test_what_rounding_parts_is_one_peak():
    m = np.array([[0.1, 1.0, np.float32(1) - 6e-8, 0.999]])
    np.testing.assert_array_equal(laying.highest(m), [[False, True, True, False]])
    even = laying.over_picture(np.full((5, 4), 0.3, "float32"), GRID, np.ones((32, 32), bool))
    assert laying.highest(even).all()
    assert laying.peak(even) == pytest.approx((15.5, 15.5))
