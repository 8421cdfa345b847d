"""Deletion and insertion against loops over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_diag.explain.metrics import deletion


def pixels(array):
    return [(y, x) for y in range(array.shape[0]) for x in range(array.shape[1])]


def linear(weights):
    """A model that knows its own saliency: the weighted sum of the pixels."""
    return lambda pictures: np.tensordot(pictures.astype("float64"), weights, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 30))
def test_both_curves_equal_a_loop_that_changes_pixel_after_pixel(seed, steps):
    rng = np.random.default_rng(seed)
    side = int(rng.integers(2, 5))
    picture, baseline = rng.random((2, side, side, 3), "float32") * 255
    ranking = rng.permutation(side**2).reshape(side, side)
    weights = rng.random((side, side, 3))
    got = deletion.deletion_insertion(picture, ranking + 1, linear(weights), steps, baseline)

    order = sorted(pixels(ranking), key=lambda p: -ranking[p])
    for k in range(steps + 1):
        count = round(side**2 * k / steps)
        deleted, inserted = picture.copy(), baseline.copy()
        for p in order[:count]:
            deleted[p], inserted[p] = baseline[p], picture[p]
        assert got["shares"][k] == count / side**2
        assert got["deletion"][k] == pytest.approx((deleted * weights).sum(), rel=1e-6)
        assert got["insertion"][k] == pytest.approx((inserted * weights).sum(), rel=1e-6)
    for name in ("deletion", "insertion"):
        x, y = got["shares"], got[name]
        area = sum((x[k + 1] - x[k]) * (y[k + 1] + y[k]) / 2 for k in range(steps))
        assert got[f"{name}_area"] == pytest.approx(area)


def half_white(side=8):
    """Left half white, right half black, and the share of white as its probability."""
    picture = np.zeros((side, side, 3), "float32")
    picture[:, : side // 2] = 255
    return picture, lambda pictures: pictures.mean(axis=(1, 2, 3)) / 255


def test_areas_by_hand_of_a_perfect_and_of_a_reversed_map():
    picture, predict = half_white()
    black = np.zeros_like(picture)
    perfect = deletion.deletion_insertion(picture, picture[..., 0], predict, 8, black)
    fall = [0.5, 0.375, 0.25, 0.125, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(perfect["shares"], np.linspace(0, 1, 9))
    np.testing.assert_allclose(perfect["deletion"], fall)
    np.testing.assert_allclose(perfect["insertion"], 0.5 - np.array(fall))
    assert perfect["deletion_area"] == pytest.approx(1 / 8)
    assert perfect["insertion_area"] == pytest.approx(3 / 8)
    wrong = deletion.deletion_insertion(picture, 255 - picture[..., 0], predict, 8, black)
    assert wrong["deletion_area"] == pytest.approx(3 / 8)
    assert wrong["insertion_area"] == pytest.approx(1 / 8)


def test_a_better_ranking_falls_sooner_and_rises_sooner():
    rng = np.random.default_rng(0)
    picture = rng.random((32, 32, 3), "float32") * 255
    weights = rng.random((32, 32))
    predict = linear(np.repeat(weights[..., None], 3, axis=2) / (255 * 32**2 * 3))
    black = np.zeros_like(picture)
    best, worst, none = (
        deletion.deletion_insertion(picture, m, predict, baseline=black)
        for m in (weights * picture.sum(-1), 800 - weights * picture.sum(-1), np.ones((32, 32)))
    )
    for got in (best, worst, none):
        assert (np.diff(got["deletion"]) < 0).all()
        assert (np.diff(got["insertion"]) > 0).all()
    assert best["deletion_area"] < none["deletion_area"] < worst["deletion_area"]
    assert best["insertion_area"] > none["insertion_area"] > worst["insertion_area"]
    np.testing.assert_allclose(worst["insertion"], best["deletion"][::-1], rtol=1e-6)


def test_the_ends_are_the_picture_and_the_baseline_and_each_curve_is_one_call():
    rng = np.random.default_rng(0)
    picture = rng.random((12, 12, 3), "float32") * 255
    seen = []

    def predict(pictures):
        seen.append(pictures)
        return np.zeros(len(pictures), "float32")

    got = deletion.deletion_insertion(picture, rng.random((12, 12)), predict, steps=7)
    deleted, inserted = seen
    assert deleted.shape == inserted.shape == (8, 12, 12, 3)
    assert deleted.dtype == "float32"
    np.testing.assert_array_equal(deleted[0], picture)
    np.testing.assert_array_equal(deleted[-1], deletion.blurred(picture))
    np.testing.assert_array_equal(inserted[0], deletion.blurred(picture))
    np.testing.assert_array_equal(inserted[-1], picture)
    assert got["deletion"].shape == got["insertion"].shape == got["shares"].shape == (8,)
    for k, share in enumerate(got["shares"]):
        assert (deleted[k] != picture).any(axis=-1).mean() == pytest.approx(share)
        assert (inserted[k] == picture).all(axis=-1).mean() == pytest.approx(share)


@pytest.mark.parametrize("level", [1, 0.1, 0.3])
def test_equal_pixels_go_in_a_random_order_that_is_always_the_same(level):
    picture = np.full((64, 64, 3), 255, "float32")
    black, m = np.zeros_like(picture), np.full((64, 64), level)

    def part(*place):
        def predict(pictures):
            return pictures[(slice(None), *place)].mean(axis=(1, 2, 3)) / 255

        return deletion.deletion_insertion(picture, m, predict, baseline=black)

    for place in ((slice(32),), (slice(None), slice(32)), (slice(None, None, 2),)):
        got = part(*place)
        np.testing.assert_allclose(got["deletion"], 1 - got["shares"], atol=0.05)
        np.testing.assert_array_equal(got["deletion"], part(*place)["deletion"])
    m = np.zeros((64, 64))  # a rectified map: the order within its zeros is random as well
    m[16:32] = level
    falls = [(slice(16, 32), 0, 0.25), (slice(16), 0.25, 1), (slice(32, 64), 0.25, 1)]
    for place, start, stop in falls:
        got = part(place)
        want = np.interp(got["shares"], [start, stop], [1, 0])
        np.testing.assert_allclose(got["deletion"], want, atol=0.05)


def test_a_map_of_zeros_ranks_nothing_and_no_picture_is_predicted():
    picture, _ = half_white()
    got = deletion.deletion_insertion(picture, np.zeros((8, 8)), pytest.fail, steps=5)
    assert got["shares"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1], abs=0.01)
    for name in ("deletion", "insertion", "deletion_area", "insertion_area"):
        assert np.isnan(got[name]).all()
    assert got["deletion"].shape == got["insertion"].shape == (6,)


def test_outside_of_the_field_no_pixel_is_ranked_or_changed():
    rng = np.random.default_rng(1)
    picture, baseline = rng.random((2, 9, 9, 3), "float32") * 255
    inside = np.hypot(*(np.indices((9, 9)) - 4)) < 4
    m = rng.random((9, 9))
    m[~inside] += 5  # the highest of all
    weights = rng.random((9, 9, 3))
    got = deletion.deletion_insertion(picture, m, linear(weights), 5, baseline, inside)
    order = sorted((p for p in pixels(m) if inside[p]), key=lambda p: -m[p])
    start = np.where(inside[..., None], baseline, picture)
    for k in range(6):
        count = round(len(order) * k / 5)
        deleted, inserted = picture.copy(), start.copy()
        for p in order[:count]:
            deleted[p], inserted[p] = baseline[p], picture[p]
        assert got["shares"][k] == pytest.approx(count / len(order))
        assert got["deletion"][k] == pytest.approx((deleted * weights).sum(), rel=1e-6)
        assert got["insertion"][k] == pytest.approx((inserted * weights).sum(), rel=1e-6)
    nothing = np.where(inside, 0, m)
    got = deletion.deletion_insertion(picture, nothing, pytest.fail, 5, baseline, inside)
    assert np.isnan(got["deletion_area"])


def test_the_blur_spreads_one_pixel_as_a_gaussian_and_keeps_the_mean():
    picture = np.zeros((41, 41, 3), "float32")
    picture[20, 20] = 255, 100, 0
    got = deletion.blurred(picture, share=0.05)
    want = np.exp(-0.5 * ((np.arange(41) - 20) / (0.05 * 41)) ** 2)
    want = np.outer(want, want) / want.sum() ** 2
    np.testing.assert_allclose(got[..., 0], 255 * want, atol=0.02)
    np.testing.assert_allclose(got[..., 1], 100 * want, atol=0.02)
    assert not got[..., 2].any()
    random = np.random.default_rng(0).random((30, 30, 3), "float32") * 255
    np.testing.assert_allclose(
        deletion.blurred(random).mean((0, 1)), random.mean((0, 1)), rtol=1e-4
    )
    np.testing.assert_array_equal(deletion.blurred(random), deletion.blurred(random, 0.1))
    np.testing.assert_array_equal(deletion.blurred(np.full((30, 30, 3), 255)), 255)


def test_wrong_pictures_maps_steps_and_answers_are_named():
    picture, predict = half_white()
    with pytest.raises(ValueError, match=r"got \(8, 8, 3\) and \(4, 4, 3\)"):
        deletion.deletion_insertion(picture, np.ones((8, 8)), predict, 5, picture[:4, :4])
    with pytest.raises(ValueError, match="steps must be at least 1"):
        deletion.deletion_insertion(picture, np.ones((8, 8)), predict, 0)
    for broken in (np.ones((2, 2)), np.ones((8, 8, 1)), np.full((8, 8), np.nan),
                   np.full((8, 8), -1.0)):  # fmt: skip
        with pytest.raises(ValueError, match="finite and not below 0"):
            deletion.deletion_insertion(picture, broken, predict)
    with pytest.raises(ValueError, match=r"must return \(21,\); got \(21, 1\)"):
        deletion.deletion_insertion(picture, np.ones((8, 8)), lambda p: predict(p)[:, None])
