"""Whole pictures by windows: every pixel is seen, and what is said of it is a mean by weights."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_diag.runs.windows import over_windows, starts, weights

few = settings(max_examples=30, deadline=None)


@st.composite
def sizes(draw):
    """(size, side) of a picture and a window of it."""
    size = draw(st.integers(1, 300))
    return size, draw(st.integers(1, size))


def picture(size, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (size, size, 3)).astype(np.float32)


def of_each_pixel(pictures):
    """Logits (B, P, P, 2) of what a pixel itself shows."""
    return np.stack([pictures[..., 0] / 40 - 3, 2 - pictures[..., 2] / 50], axis=-1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@settings(max_examples=300, deadline=None)
@given(sizes(), st.floats(0, 0.95))
@example((10, 5), 0.5)  # half of five pixels are three
@example((20, 10), 0.9)
def test_windows_begin_at_0_and_end_at_the_end_and_overlap_by_what_was_asked_for(both, overlap):
    size, side = both
    begins = starts(size, side, overlap)
    assert begins.dtype.kind == "i"
    assert (begins[0], begins[-1]) == (0, size - side)
    seen = np.zeros(size, bool)
    for begin in begins:
        seen[begin : begin + side] = True
    assert seen.all()
    apart = np.diff(begins)
    assert (apart > 0).all()
    shared = side - apart
    assert ((shared >= side * overlap - 1e-6) | (apart == 1)).all()
    if len(begins) > 1:
        assert np.ptp(apart) <= 1  # evenly spread


def test_there_are_no_more_windows_than_the_overlap_asks_for():
    assert starts(512, 256, 0.5).tolist() == [0, 128, 256]
    assert starts(512, 256, 0).tolist() == [0, 256]
    assert starts(513, 256, 0).tolist() == [0, 128, 257]
    assert starts(20, 10, 0.9).tolist() == list(range(11))
    assert starts(64, 64, 0.9).tolist() == [0]


@pytest.mark.parametrize("side", [1, 7, 64, 255])
def test_weights_are_positive_symmetric_and_largest_in_the_middle(side):
    got = weights(side)
    assert got.shape == (side, side)
    assert got.dtype == np.float32
    assert got.min() >= np.float32(1e-3)
    for other in (got[::-1], got[:, ::-1], got.T):
        np.testing.assert_array_equal(got, other)
    line = got[side // 2]
    assert (np.diff(line[(side - 1) // 2 :]) <= 0).all()
    assert got.max() == line.max() == pytest.approx(1, abs=0.01)
    if side > 16:  # a deviation from the middle, an eighth of the side, is exp(-1 / 2) high
        at = (side - 1) / 2 + side / 8
        found = np.interp(at, np.arange(side), line.astype(float)) / line.max()
        assert found == pytest.approx(np.exp(-0.5), abs=0.01)
        assert line[0] < 0.02


@few
@given(
    st.integers(5, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(3, size))),
    st.floats(0, 0.8),
    st.integers(1, 9),
)
def test_what_is_said_of_a_pixel_by_its_own_value_is_said_wherever_it_lies(both, overlap, batch):
    size, side = both
    shown = picture(size)
    got = over_windows(of_each_pixel, shown, side, overlap, batch)
    assert got.shape == (size, size, 2)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, sigmoid(of_each_pixel(shown)), atol=1e-6)


def test_the_same_logit_everywhere_is_the_same_probability_everywhere():
    constant = np.float32([-1.5, 0.25, 4])
    got = over_windows(lambda x: np.ones((*x.shape[:3], 3)) * constant, picture(50), 16, 0.5)
    np.testing.assert_allclose(got, np.broadcast_to(sigmoid(constant), got.shape), atol=1e-6)


def test_a_pixel_has_the_mean_of_its_windows_by_their_weights():
    """Windows that say what they like, against a loop over pixels in float64."""
    size, side, rng = 19, 8, np.random.default_rng(1)
    begins = starts(size, side, 0.5)
    said = rng.normal(0, 3, (len(begins) ** 2, side, side, 1)).astype(np.float32)
    given_so_far = []

    def score(pictures):
        first = sum(given_so_far)
        given_so_far.append(len(pictures))
        assert pictures.dtype == np.float32
        return said[first : first + len(pictures)]

    got = over_windows(score, picture(size).astype(np.uint8), side, 0.5, batch_size=4)
    assert given_so_far == [4, 4, 4, 4]
    away = (np.arange(side) - 3.5) / 1.0  # a deviation is an eighth of eight pixels
    total, share = np.zeros((size, size)), np.zeros((size, size))
    places = [(y, x) for y in begins for x in begins]
    for (y, x), logits in zip(places, sigmoid(said), strict=True):
        for i in range(side):
            for j in range(side):
                weight = max(np.exp(-(away[i] ** 2 + away[j] ** 2) / 2), 1e-3)
                total[y + i, x + j] += weight * logits[i, j, 0]
                share[y + i, x + j] += weight
    np.testing.assert_allclose(got[..., 0], total / share, atol=1e-6)


def test_windows_show_what_lies_at_their_places_and_the_last_batch_may_be_smaller():
    size, side = 23, 10
    shown, seen = picture(size), []

    def score(pictures):
        seen.append(pictures)
        return pictures[..., :1]

    over_windows(score, shown, side, 0.25, batch_size=7)
    begins = starts(size, side, 0.25)
    want = [shown[y : y + side, x : x + side] for y in begins for x in begins]
    assert [len(x) for x in seen] == [7, 2]
    np.testing.assert_array_equal(np.concatenate(seen), want)


def test_a_window_as_large_as_the_picture_is_the_networks_own_answer():
    shown, calls = picture(33), []

    def score(pictures):
        calls.append(pictures.shape)
        return of_each_pixel(pictures)

    got = over_windows(score, shown, 33, 0.9)
    assert calls == [(1, 33, 33, 3)]
    np.testing.assert_allclose(got, sigmoid(of_each_pixel(shown)), atol=1e-6)


def test_logits_without_measure_are_0_and_1_and_warn_of_nothing():
    sure = np.float32([-1e4, 1e4])
    got = over_windows(lambda x: np.ones((*x.shape[:3], 2), "float32") * sure, picture(9), 4, 0.5)
    np.testing.assert_array_equal(got, np.broadcast_to(np.float32([0, 1]), got.shape))
