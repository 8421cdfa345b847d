import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maps_and_masks import maps_and_masks, pixels
from scipy import ndimage

from fundus_diag.explain.laying import highest
from fundus_diag.explain.metrics import localization


def pointing(m, mask, tolerance=0):
    """The pointing game by a map's peak."""
    return localization.pointing_game(
        np.argwhere(highest(m)) + 0.5, localization.within(mask, tolerance)
    )


MEASURES = {
    "pointing_game": pointing,
    "energy_inside": localization.energy_inside,
    "overlap_as_planned": localization.overlap_as_planned,
    "overlap": localization.overlap,
    "iou": lambda m, mask: localization.iou(m, mask, 0.5),
    "best_iou": lambda m, mask: localization.best_iou(m, mask)[0],
}


def lesion():
    """A mask of 3 x 4 pixels in a picture of 10 x 12: a tenth of it."""
    mask = np.zeros((10, 12), bool)
    mask[2:5, 6:10] = True
    return mask


same = settings(max_examples=80, deadline=None)


@same
@given(maps_and_masks(), st.sampled_from([0, 1, math.sqrt(2), 2, 2.9, 3]))
def test_pointing_game_equals_a_search_from_each_peak_pixel(drawn, tolerance):
    m, mask = drawn
    hits = []
    for y, x in pixels(m):
        if m[y, x] == m.max():
            near = [math.hypot(y - v, x - u) for v, u in pixels(mask) if mask[v, u]]
            hits.append(min(near) <= tolerance + 1e-12)
    want = sum(hits) / len(hits) if m.any() else math.nan
    assert pointing(m, mask, tolerance) == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize(
    ("peak", "tolerance", "want"),
    [((2, 6), 0, 1), ((1, 6), 0, 0), ((1, 6), 1, 1), ((1, 6), 0.99, 0), ((1, 5), 1.4, 0),
     ((1, 5), math.sqrt(2), 1), ((4, 11), 2, 1), ((4, 11), 1, 0), ((4, 11), math.inf, 1)],
)  # fmt: skip
def test_a_peak_may_miss_the_mask_by_the_tolerance_and_no_more(peak, tolerance, want):
    m = np.full((10, 12), 0.2)
    m[peak] = 0.9
    assert pointing(m, lesion(), tolerance) == want


def test_a_plateau_counts_by_its_share_and_not_by_its_first_pixel():
    corner = np.zeros((10, 12), bool)
    corner[0, 0] = True
    uniform = localization.uniform_map((10, 12))
    assert pointing(uniform, corner) == pytest.approx(1 / 120)
    assert pointing(uniform, corner, 1) == pytest.approx(3 / 120)
    assert pointing(uniform, lesion()) == pytest.approx(12 / 120)
    assert pointing(uniform, lesion(), 1) == pytest.approx((12 + 14) / 120)
    m = np.zeros((10, 12))
    m[4, 6:8] = m[9, :2] = 3.0
    assert pointing(m, lesion()) == 0.5


@same
@given(maps_and_masks())
def test_energy_and_overlaps_equal_sums_over_pixels(drawn):
    m, mask = drawn
    inside = sum(m[p] for p in pixels(m) if mask[p])
    energy = inside / sum(m[p] for p in pixels(m)) if m.any() else math.nan
    assert localization.energy_inside(m, mask) == pytest.approx(energy, nan_ok=True)
    size = sum(1 for p in pixels(m) if mask[p])
    assert localization.overlap_as_planned(m, mask) == pytest.approx(inside / size)
    low = sum(min(m[p], float(mask[p])) for p in pixels(m))
    high = sum(max(m[p], float(mask[p])) for p in pixels(m))
    assert localization.overlap(m, mask) == pytest.approx(low / high)


def brute_iou(m, mask, level):
    called = [m[p] >= level and m[p] > 0 for p in pixels(m)]
    truth = [mask[p] for p in pixels(m)]
    both = sum(c and t for c, t in zip(called, truth, strict=True))
    return both / sum(c or t for c, t in zip(called, truth, strict=True))


@same
@given(maps_and_masks(), st.sampled_from([0, 0.25, 0.3, 0.5, 1, 1.5]))
def test_iou_equals_a_count_over_pixels_and_the_best_is_the_best_of_all(drawn, level):
    m, mask = drawn
    assert localization.iou(m, mask, level) == pytest.approx(brute_iou(m, mask, level))
    tried = {float(v): brute_iou(m, mask, v) for v in np.unique(m) if v > 0}
    best = max(tried.values(), default=0.0)
    first = max((v for v, score in tried.items() if score == best), default=math.nan)
    assert localization.best_iou(m, mask) == pytest.approx((best, first), nan_ok=True)
    tried = {v: brute_iou(m, mask, v) if m.any() else 0.0 for v in (0.5, 0.2, 0.75)}
    best = max(tried.values())
    first = max(v for v, score in tried.items() if score == best) if m.any() else math.nan
    got = localization.best_iou(m, mask, [0.5, 0.2, 0.75])
    assert got == pytest.approx((best, first), nan_ok=True)


def test_best_iou_is_exact_where_every_pixel_has_its_own_value():
    m = np.random.default_rng(0).random((20, 30)) + 0.01
    mask = m + np.random.default_rng(1).normal(0, 0.1, m.shape) > 0.8
    got, level = localization.best_iou(m, mask)
    assert got == max(localization.iou(m, mask, v) for v in np.unique(m))
    assert localization.iou(m, mask, level) == got
    coarse = localization.best_iou(m, mask, levels=np.linspace(0, 1, 9))
    assert coarse[0] == max(localization.iou(m, mask, v) for v in np.linspace(0, 1, 9)) < got


@same
@given(maps_and_masks(), st.sampled_from(["float32", "float64"]))
def test_the_best_iou_is_that_of_a_sort_of_all_pixels_in_either_precision(drawn, kind):
    m, mask = drawn[0].astype(kind), drawn[1]
    order = np.argsort(-m, axis=None)
    tp, fp = np.cumsum(mask.ravel()[order]), np.cumsum(~mask.ravel()[order])
    last = np.append(np.diff(m.ravel()[order]) != 0, True) & (m.ravel()[order] > 0)
    scores = (tp / (mask.sum() + fp))[last]
    best = scores.max() if len(scores) else 0
    assert localization.best_iou(m, mask)[0] == best
    if len(scores):
        assert localization.best_iou(m, mask)[1] == m.ravel()[order][last][scores.argmax()]


def test_on_a_photographs_grid_nothing_is_copied_to_double_and_all_is_as_in_double():
    rng = np.random.default_rng(0)
    m = cv2.resize(rng.random((19, 19), "float32"), (600, 400))
    mask = np.zeros(m.shape, bool)
    mask[100:130, 200:260] = mask[300:310, 20:40] = True
    for name, measure in MEASURES.items():
        assert measure(m, mask) == pytest.approx(measure(m.astype("float64"), mask), rel=1e-6), name
    assert localization._check(m, mask)[0] is m
    near = localization.within(mask, 8.5)
    np.testing.assert_array_equal(near, ndimage.distance_transform_edt(~mask) <= 8.5)
    for tolerance in (math.sqrt(13), 5, 13):  # which are distances of pixels
        want = ndimage.distance_transform_edt(~mask) <= tolerance + 1e-9
        np.testing.assert_array_equal(localization.within(mask, tolerance), want)


EXTREMES = [  # map, then pointing, energy, overlap as planned, overlap, iou at .5, best iou
    ("equal to the mask", lambda mask: mask, (1, 1, 1, 1, 1, 1)),
    ("outside the mask", lambda mask: ~mask, (0, 0, 0, 0, 0, 0)),
    ("uniform", lambda mask: np.ones(mask.shape), (0.1, 0.1, 1, 0.1, 0.1, 0.1)),
    ("half", lambda mask: np.full(mask.shape, 0.5), (0.1, 0.1, 0.5, 6 / 66, 0.1, 0.1)),
    ("zero", lambda mask: np.zeros(mask.shape), (math.nan, math.nan, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("make", "want"), [e[1:] for e in EXTREMES], ids=[e[0] for e in EXTREMES])
def test_extremes(make, want):
    m = make(lesion()).astype("float32")
    got = [measure(m, lesion()) for measure in MEASURES.values()]
    assert got == pytest.approx(want, nan_ok=True), list(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_an_empty_mask_leaves_every_measure_undefined(name):
    for m in (np.ones((4, 5)), np.zeros((4, 5)), np.eye(4, 5)):
        assert math.isnan(MEASURES[name](m, np.zeros((4, 5), bool)))


def test_a_full_mask_is_hit_by_every_map():
    m, full = np.random.default_rng(0).random((4, 5)), np.ones((4, 5), bool)
    assert pointing(m, full) == 1
    assert localization.energy_inside(m, full) == 1
    assert localization.overlap(m, full) == pytest.approx(m.mean())
    assert localization.best_iou(m, full) == (1, m.min())


def test_a_map_of_zeros_calls_nothing_at_level_zero():
    assert localization.iou(np.zeros((4, 5)), np.ones((4, 5), bool), 0) == 0
    assert math.isnan(localization.best_iou(np.zeros((4, 5)), np.ones((4, 5), bool))[1])
    assert math.isnan(localization.iou(np.ones((4, 5)), np.ones((4, 5), bool), math.nan))


def test_scale_matters_to_the_planned_overlap_only_and_a_map_above_one_has_no_soft_one():
    m, mask = np.random.default_rng(0).random((10, 12)), lesion()
    for name in ("pointing_game", "energy_inside", "best_iou"):
        assert MEASURES[name](7e307 * m, mask) == pytest.approx(MEASURES[name](m, mask)), name
    seven = localization.overlap_as_planned(7 * m, mask)
    assert seven == pytest.approx(7 * localization.overlap_as_planned(m, mask))
    with pytest.raises(ValueError, match=r"map in \[0, 1\]; its maximum is 1.5"):
        localization.overlap(m / m.max() * 1.5, mask)


def test_a_peak_is_looked_up_where_it_lies_and_beyond_the_mask_hits_nothing():
    mask = lesion()
    for point, want in (((2, 6), 1), ((4.99, 9.99), 1), ((5, 9.9), 0), ((1.99, 6), 0)):
        assert localization.pointing_game(np.array([point]), mask) == want
    beyond = np.array([(-0.1, 6), (2, 12), (10, 6), (2.5, 6.5)])
    assert localization.pointing_game(beyond, mask) == 0.25
    assert math.isnan(localization.pointing_game(np.zeros((0, 2)), mask))


@pytest.mark.parametrize("name", [x for x in MEASURES if x != "pointing_game"])
@pytest.mark.parametrize(
    ("m", "mask", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 2), bool), r"got \(2, 3\) and \(3, 2\)"),
        (np.ones((2, 3, 1)), np.ones((2, 3, 1), bool), "must both be"),
        (np.ones((2, 3)), np.full((2, 3), 255, "uint8"), "must be bool; got uint8"),
        (np.full((2, 3), np.nan), np.ones((2, 3), bool), "finite"),
        (np.full((2, 3), np.inf), np.ones((2, 3), bool), "finite"),
        (np.full((2, 3), -0.1), np.ones((2, 3), bool), "not below 0"),
    ],
)
def test_what_is_no_map_or_no_mask_is_refused(name, m, mask, message):
    with pytest.raises(ValueError, match=message):
        MEASURES[name](m, mask)


@pytest.mark.parametrize("tolerance", [-1, math.nan])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must not be below 0"):
        pointing(np.ones((2, 3)), np.ones((2, 3), bool), tolerance)


@pytest.mark.parametrize("shape", [(9, 9), (8, 8), (6, 15), (1, 4)])
def test_the_centred_gaussian_is_a_gaussian_of_the_distance_from_the_centre(shape):
    got = localization.centred_gaussian(shape)

    def distance(y, x):
        return ((y + 0.5) / shape[0] - 0.5) ** 2 + ((x + 0.5) / shape[1] - 0.5) ** 2

    peak = distance(shape[0] // 2, shape[1] // 2)  # not 0 where the centre is between pixels
    for y, x in pixels(got):
        want = math.exp(-(distance(y, x) - peak) / (2 * 0.25**2))
        assert got[y, x] == pytest.approx(want, abs=1e-6)
    assert got.max() == 1
    narrow = localization.centred_gaussian((9, 9), sigma_share=0.1)
    assert narrow[4, 5] == pytest.approx(math.exp(-0.5 * (1 / 0.9) ** 2))
    with pytest.raises(ValueError, match="sigma_share"):
        localization.centred_gaussian((9, 9), 0)
