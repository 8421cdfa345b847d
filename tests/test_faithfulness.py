import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from fundus_diag.explain.metrics import deletion, localization
from fundus_diag.explain.metrics.randomization import rank_correlation
from fundus_diag.metrics import bootstrap
from fundus_diag.metrics.summary import summarise

MEASURES = {
    "pointing_game": localization.pointing_game,
    "energy_inside": localization.energy_inside,
    "overlap_as_planned": localization.overlap_as_planned,
    "overlap": localization.overlap,
    "iou": lambda m, mask: localization.iou(m, mask, 0.5),
    "best_iou": lambda m, mask: localization.best_iou(m, mask)[0],
}


@st.composite
def maps_and_masks(draw):
    """A map of quarters in [0, 1], so that values tie, and a mask with at least one pixel."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    values = draw(arrays.arrays(int, shape, elements=st.integers(0, 4)))
    mask = draw(arrays.arrays(bool, shape))
    mask[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    return values / 4, mask


def pixels(array):
    return [(y, x) for y in range(array.shape[0]) for x in range(array.shape[1])]


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
    got = localization.pointing_game(m, mask, tolerance)
    assert got == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize(
    ("peak", "tolerance", "want"),
    [((2, 6), 0, 1), ((1, 6), 0, 0), ((1, 6), 1, 1), ((1, 6), 0.99, 0), ((1, 5), 1.4, 0),
     ((1, 5), math.sqrt(2), 1), ((4, 11), 2, 1), ((4, 11), 1, 0), ((4, 11), math.inf, 1)],
)  # fmt: skip
def test_a_peak_may_miss_the_mask_by_the_tolerance_and_no_more(peak, tolerance, want):
    m = np.full((10, 12), 0.2)
    m[peak] = 0.9
    assert localization.pointing_game(m, lesion(), tolerance) == want


def test_a_plateau_counts_by_its_share_and_not_by_its_first_pixel():
    corner = np.zeros((10, 12), bool)
    corner[0, 0] = True
    uniform = localization.uniform_map((10, 12))
    assert localization.pointing_game(uniform, corner) == pytest.approx(1 / 120)
    assert localization.pointing_game(uniform, corner, 1) == pytest.approx(3 / 120)
    assert localization.pointing_game(uniform, lesion()) == pytest.approx(12 / 120)
    assert localization.pointing_game(uniform, lesion(), 1) == pytest.approx((12 + 14) / 120)
    m = np.zeros((10, 12))
    m[4, 6:8] = m[9, :2] = 3.0
    assert localization.pointing_game(m, lesion()) == 0.5


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
    assert localization.pointing_game(m, full) == 1
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


@pytest.mark.parametrize("name", MEASURES)
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
        localization.pointing_game(np.ones((2, 3)), np.ones((2, 3), bool), tolerance)


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


@same
@given(maps_and_masks(), st.integers(0, 99))
def test_rank_correlation_equals_a_count_of_ranks(drawn, seed):
    a = drawn[0]
    b = np.random.default_rng(seed).integers(0, 4, a.shape) / 3

    def ranks(m):
        flat = [m[p] for p in pixels(m)]
        return [sum(v < w for v in flat) + sum(v == w for v in flat) / 2 for w in flat]

    want = math.nan
    if a.max() > a.min() and b.max() > b.min():
        want = np.corrcoef(ranks(a), ranks(b))[0, 1]
        assert want == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic)
    assert rank_correlation(a, b) == pytest.approx(want, abs=1e-12, nan_ok=True)


def test_rank_correlation_sees_order_only():
    m = np.random.default_rng(0).random((15, 15))
    assert rank_correlation(m, np.exp(5 * m)) == pytest.approx(1, abs=1e-12)
    assert rank_correlation(m, -m) == pytest.approx(-1, abs=1e-12)
    assert math.isnan(rank_correlation(m, np.zeros((15, 15))))
    for other in (m[:5], np.full((15, 15), np.nan)):
        with pytest.raises(ValueError, match="finite and of one shape"):
            rank_correlation(m, other)


# Deletion and insertion


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

    got = deletion.deletion_insertion(picture, rng.random((3, 4)), predict, steps=7)
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
    black, m = np.zeros_like(picture), np.full((9, 9), level)

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
    got = deletion.deletion_insertion(picture, np.zeros((4, 4)), pytest.fail, steps=5)
    assert got["shares"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1], abs=0.01)
    for name in ("deletion", "insertion", "deletion_area", "insertion_area"):
        assert np.isnan(got[name]).all()
    assert got["deletion"].shape == got["insertion"].shape == (6,)


def test_a_map_is_resized_between_pixel_centres():
    m = np.random.default_rng(0).random((3, 5), "float32")
    got = deletion.resized(m, (7, 4))
    for y, x in pixels(got):
        v, u = np.clip((y + 0.5) * 3 / 7 - 0.5, 0, 2), np.clip((x + 0.5) * 5 / 4 - 0.5, 0, 4)
        want = sum(m[p] * max(0, 1 - abs(p[0] - v)) * max(0, 1 - abs(p[1] - u)) for p in pixels(m))
        assert got[y, x] == pytest.approx(want, abs=1e-6)
    np.testing.assert_array_equal(deletion.resized(m, (3, 5)), m)


def test_a_uniform_map_stays_uniform_at_every_size():
    for side in (3, 7, 10, 19, 38, 75, 299, 400):
        for level in (1, 0.1, 1 / 3):
            assert np.ptp(deletion.resized(np.full((side, side), level), (299, 299))) == 0


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
        deletion.deletion_insertion(picture, np.ones((2, 2)), predict, 5, picture[:4, :4])
    with pytest.raises(ValueError, match="steps must be at least 1"):
        deletion.deletion_insertion(picture, np.ones((2, 2)), predict, 0)
    for broken in (np.ones((2, 2, 1)), np.full((2, 2), np.nan), np.full((2, 2), -1.0)):
        with pytest.raises(ValueError, match="finite and not below 0"):
            deletion.deletion_insertion(picture, broken, predict)
    with pytest.raises(ValueError, match=r"must return \(21,\); got \(21, 1\)"):
        deletion.deletion_insertion(picture, np.ones((2, 2)), lambda p: predict(p)[:, None])


# Means over patients


def table_of(n=90, seed=0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "patient": rng.integers(0, 25, n).astype(str),
            "label": rng.choice(list("DG"), n),
            "method": rng.choice(["layer_cam", "grad_cam"], n),
            "energy": rng.random(n),
            "pointing": (rng.random(n) < 0.4).astype(float),
        }
    )
    table.loc[rng.random(n) < 0.2, "energy"] = np.nan
    return table


def test_means_and_intervals_equal_a_plain_loop_over_the_same_draws():
    table = table_of()
    got = summarise(table, ["label", "method"], ["energy", "pointing"], 60, seed=3)
    assert len(got) == 4
    for row in got.to_dict("records"):
        rows = table[(table.label == row["label"]) & (table.method == row["method"])]
        assert row["n"] == len(rows)
        names = sorted(set(rows.patient))
        rng = np.random.default_rng(3)
        draws = [[names[i] for i in rng.integers(0, len(names), len(names))] for _ in range(60)]
        for figure in ("energy", "pointing"):
            assert row[figure] == pytest.approx(np.nanmean(rows[figure]))
            assert row[f"{figure}_undefined"] == rows[figure].isna().sum()
            means = [
                np.nanmean(np.concatenate([rows[figure][rows.patient == p] for p in drawn]))
                for drawn in draws
            ]
            ends = [row[f"{figure}_low"], row[f"{figure}_high"]]
            assert ends == pytest.approx(np.percentile(means, [2.5, 97.5]))
            assert ends[0] < row[figure] < ends[1]


def test_a_patient_with_many_rows_comes_and_goes_as_a_whole():
    table = pd.DataFrame({"patient": ["a"] * 50 + ["b"], "label": "D", "energy": [1.0] * 50 + [0]})
    (row,) = summarise(table, "label", ["energy"]).to_dict("records")
    assert row["energy"] == pytest.approx(50 / 51)  # the mean is one of rows
    assert (row["energy_low"], row["energy_high"]) == (0, 1)  # a quarter of the draws each


def test_undefined_rows_are_left_out_and_counted_and_undefined_groups_stay_so():
    table = pd.DataFrame(
        {
            "patient": list("aabbc") * 2,
            "label": ["D"] * 5 + ["G"] * 5,
            "energy": [1, np.nan, 0, 0.5, np.nan] + [np.nan] * 5,
        }
    )
    got = summarise(table, ["label"], ["energy"], resamples=200)
    columns = ["label", "n", "energy", "energy_low", "energy_high", "energy_undefined"]
    assert list(got.columns) == columns
    assert list(got.label) == ["D", "G"]
    assert list(got.n) == [5, 5]
    assert got.energy[0] == pytest.approx(0.5)
    assert got.energy[1:].isna().all()
    assert got[["energy_low", "energy_high"]].iloc[1].isna().all()
    assert list(got.energy_undefined) == [2, 5]


def test_too_few_patients_or_too_many_empty_draws_give_a_mean_without_an_interval():
    one = pd.DataFrame({"patient": ["a", "a"], "label": "D", "energy": [0.2, 0.4]})
    known = pd.DataFrame({"patient": ["a", "a", "b"], "label": "D", "energy": [0.2, 0.4, np.nan]})
    rare = pd.DataFrame({"patient": np.arange(40).astype(str), "label": "D", "energy": np.nan})
    rare.loc[:1, "energy"] = [0.2, 0.4]  # of 40 patients: (38 / 40) ** 40 = 13 % empty draws
    assert (38 / 40) ** 40 > bootstrap.MAX_UNDEFINED
    for table in (one, known, rare):
        (row,) = summarise(table, "label", ["energy"]).to_dict("records")
        assert row["energy"] == pytest.approx(0.3)
        assert math.isnan(row["energy_low"])
        assert math.isnan(row["energy_high"])
    none = summarise(table_of(), "label", ["energy"], resamples=0)
    assert none[["energy_low", "energy_high"]].isna().all().all()
    assert none.energy.notna().all()


def test_groups_keep_their_order_and_row_order_does_not_matter():
    table = table_of()
    table["label"] = table["label"].map({"D": "z", "G": None})
    got = summarise(table, ["label", "method"], ["energy"], 50)
    assert list(got.n) == [
        len(rows)
        for _, rows in table.groupby(["label", "method"], sort=False, dropna=False)
    ]  # fmt: skip
    assert got.n.sum() == len(table)
    mixed = summarise(table.sample(frac=1, random_state=0), ["label", "method"],
                                   ["energy"], 50)  # fmt: skip
    both = got.merge(mixed, on=["label", "method"])
    for end in ("", "_low", "_high"):
        np.testing.assert_allclose(both[f"energy{end}_x"], both[f"energy{end}_y"])
    assert len(summarise(table[:0], "label", ["energy"])) == 0


def test_a_table_that_cannot_be_summarised_says_why():
    table = table_of()
    with pytest.raises(ValueError, match="no column filter, iou"):
        summarise(table, ["label", "filter"], ["energy", "iou"])
    table.loc[3, "patient"] = None
    with pytest.raises(ValueError, match="without a patient"):
        summarise(table, "label", ["energy"])
