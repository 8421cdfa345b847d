import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as skm

from fundus_diag.metrics import lesions, segmentation

NAN = float("nan")
SEEDS = st.integers(0, 10_000)
few = settings(max_examples=25, deadline=None)


def approx(value, **options):
    return pytest.approx(value, **({"abs": 1e-12} | options), nan_ok=True)


def masks(seed, size=14, share=0.3):
    """Two random masks and the pixels that count; one in eight is empty."""
    rng = np.random.default_rng(seed)
    shares = share * rng.random(2) * (rng.random(2) > 1 / 8)
    truth, called = (rng.random((size, size + 3)) < k for k in shares)
    return truth, called, rng.random(truth.shape) < 0.8


def blobs(seed, size=24):
    """A truth of round lesions and scores that follow it badly."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    truth, score = np.zeros((size, size), bool), 0.3 * rng.random((size, size))
    for _ in range(rng.integers(0, 6)):
        disc = np.hypot(rows - rng.integers(size), columns - rng.integers(size)) <= rng.integers(3)
        truth |= disc
        score[disc] += 0.5 * rng.random() * (rng.random(disc.sum()) < 0.8)
    for _ in range(3):
        row, column = rng.integers(0, size - 3, 2)
        score[row : row + 3, column : column + 3] += 0.4 * rng.random()
    return truth, score


def square(row, column, side=5, size=20):
    mask = np.zeros((size, size), bool)
    mask[row : row + side, column : column + side] = True
    return mask


def disc(radius, size=81):
    away = np.arange(size) - size // 2
    return np.hypot(away[:, None], away) <= radius


# By loops over pixels, with no part of the functions.


def neighbours(row, column, shape, eight):
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            there = row + down, column + right
            near = (down or right) and (eight or not (down and right))
            if near and 0 <= there[0] < shape[0] and 0 <= there[1] < shape[1]:
                yield there


def edges_by_loops(mask):
    return [
        at
        for at in map(tuple, np.argwhere(mask))
        if sum(mask[near] for near in neighbours(*at, mask.shape, eight=False)) < 4
    ]


def hausdorff_by_loops(truth, called, percentile):
    ends = edges_by_loops(truth), edges_by_loops(called)
    if not all(ends):
        return NAN
    ways = []
    for here, there in (ends, ends[::-1]):
        away = [min(np.hypot(a - c, b - d) for c, d in there) for a, b in here]
        ways.append(np.percentile(away, percentile))
    return max(ways)


def components_by_loops(mask):
    left, out = set(map(tuple, np.argwhere(mask))), []
    while left:
        component, todo = set(), [left.pop()]
        while todo:
            at = todo.pop()
            component.add(at)
            near = set(neighbours(*at, mask.shape, eight=True)) & left
            left -= near
            todo += near
        out.append(component)
    return out


def share_of(component, others):
    return len(component & set().union(*others)) / len(component)


def lesions_by_loops(truth, called, share, only_hits=False):
    true, marks = components_by_loops(truth), components_by_loops(called)
    hits = [mark for mark in marks if share_of(mark, true) >= share]
    found = [x for x in true if share_of(x, hits if only_hits else marks) >= share]
    return len(found), len(true), len(marks) - len(hits)


@few
@given(SEEDS)
def test_overlap_equals_scikit_learn_on_the_pixels_that_count(seed):
    truth, called, where = masks(seed)
    t, c = truth[where], called[where]
    options = {"zero_division": np.nan}
    want = {
        "dice": skm.f1_score(t, c, **options),
        "iou": skm.jaccard_score(t, c, zero_division=0) if (t | c).any() else NAN,
        "sensitivity": skm.recall_score(t, c, **options),
        "specificity": skm.recall_score(t, c, pos_label=False, **options),
        "precision": skm.precision_score(t, c, **options),
    }
    assert segmentation.overlap(truth, called, where) == approx(want)


def test_overlap_counted_by_hand():
    truth, called = square(2, 2), square(2, 5)  # two of five columns are in both
    want = {"dice": 20 / 50, "iou": 10 / 40, "sensitivity": 10 / 25, "precision": 10 / 25}
    assert segmentation.overlap(truth, called) == approx(want | {"specificity": 360 / 375})


NOTHING, ALL = np.zeros((4, 4), bool), np.ones((4, 4), bool)
SOME = np.eye(4, dtype=bool)


@pytest.mark.parametrize(
    ("truth", "called", "where", "want"),
    [
        (NOTHING, NOTHING, None, (NAN, NAN, NAN, 1, NAN)),
        (NOTHING, SOME, None, (0, 0, NAN, 0.75, 0)),
        (SOME, NOTHING, None, (0, 0, 0, 1, NAN)),
        (ALL, ALL, None, (1, 1, 1, NAN, 1)),
        (ALL, NOTHING, None, (0, 0, 0, NAN, NAN)),
        (SOME, SOME, NOTHING, (NAN, NAN, NAN, NAN, NAN)),
    ],
    ids=["none, none called", "none", "none called", "all", "all, none called", "none counts"],
)
def test_what_overlap_leaves_undefined_is_nan_and_no_other_is(truth, called, where, want):
    got = segmentation.overlap(truth, called, where)
    names = ("dice", "iou", "sensitivity", "specificity", "precision")
    assert got == approx(dict(zip(names, want, strict=True)))


@few
@given(SEEDS, st.sampled_from([0, 50, 95, 100]))
def test_hausdorff_equals_loops_over_edge_pixels(seed, percentile):
    truth, called, where = masks(seed)
    got = segmentation.hausdorff(truth, called, percentile, where)
    assert got == approx(hausdorff_by_loops(truth & where, called & where, percentile))
    assert segmentation.hausdorff(called, truth, percentile, where) == approx(got)


def test_hausdorff_of_shifted_squares_and_of_concentric_discs():
    for percentile in (95, 100):
        assert segmentation.hausdorff(square(2, 2), square(2, 5), percentile) == 3
    assert segmentation.hausdorff(disc(20), disc(30), 100) == approx(10, abs=1)
    assert segmentation.hausdorff(disc(20), disc(30)) == approx(10, abs=1)
    assert segmentation.hausdorff(disc(20), disc(20)) == 0


def test_a_far_speck_counts_at_percentile_100_and_not_at_95():
    called = disc(20)
    called[0, 0] = True
    assert segmentation.hausdorff(disc(20), called) == 0
    assert segmentation.hausdorff(disc(20), called, 100) > 30


def test_a_pixel_in_the_frame_is_an_edge_pixel():
    inner = np.zeros((9, 9), bool)
    inner[4, 4] = True
    assert segmentation.hausdorff(np.ones((9, 9), bool), inner, 100) == approx(np.hypot(4, 4))


def test_hausdorff_of_an_empty_mask_is_undefined():
    some, none = square(2, 2), np.zeros((20, 20), bool)
    for truth, called, where in ((some, none, None), (none, some, None), (some, some, none)):
        assert np.isnan(segmentation.hausdorff(truth, called, where=where))


def test_a_percentile_beyond_100_is_refused():
    with pytest.raises(ValueError, match="percentile"):
        segmentation.hausdorff(square(2, 2), square(2, 2), 101)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # MONAI 1.5 deprecates its own argument
def test_distances_and_overlap_equal_monai():
    torch, monai = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    compared = 0
    for seed in range(60):
        truth, called, _ = masks(seed, size=20 + seed)
        if seed % 2:  # solid shapes, so that there is more than edges
            size = 60 + seed
            truth, called = (disc(r, size) for r in (size // 3, size // 4))
            called = np.roll(called, (seed, -seed), (0, 1))
        if not truth.any() or not called.any():
            continue
        y_pred, y = (torch.tensor(x[None, None].astype("float32")) for x in (called, truth))
        for percentile in (50, 95, 100):
            want = monai.compute_hausdorff_distance(
                y_pred, y, include_background=True, percentile=percentile
            )
            got = segmentation.hausdorff(truth, called, percentile)
            assert got == pytest.approx(want.item(), rel=1e-6, abs=1e-6)  # theirs is float32
            compared += 1
        got = segmentation.overlap(truth, called)
        for name, metric in (("dice", monai.compute_dice), ("iou", monai.compute_iou)):
            want = metric(y_pred, y, include_background=True).item()
            assert got[name] == pytest.approx(want, rel=1e-6)
    assert compared > 120


@few
@given(SEEDS, st.sampled_from(["uint8", "uint16", "int32", "float16", "float32", "float64"]))
def test_average_precision_equals_scikit_learn_with_ties(seed, dtype):
    truth, _, where = masks(seed, share=0.6)
    truth[0, 0] = where[0, 0] = True
    scores = np.random.default_rng(seed).integers(0, 12, truth.shape) + 2 * truth
    scores = (scores / 16).astype(dtype) if dtype.startswith("float") else scores.astype(dtype)
    want = skm.average_precision_score(truth[where], scores[where].astype("float64"))
    assert segmentation.average_precision(truth, scores, where) == approx(want)


def test_average_precision_without_a_positive_is_undefined_and_pooled_pixels_are_taken():
    truth, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    assert segmentation.average_precision(truth, scores) == approx((1 + 2 / 3) / 2)
    assert np.isnan(segmentation.average_precision(np.zeros(3, bool), scores))
    assert np.isnan(segmentation.average_precision(truth, scores, np.zeros(3, bool)))
    assert segmentation.average_precision(truth, np.zeros(3)) == approx(2 / 3)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_refused_where_it_counts_and_nowhere_else(broken):
    truth, scores = np.array([[True, False]]), np.array([[1.0, broken]])
    assert segmentation.average_precision(truth, scores, np.array([[True, False]])) == 1
    with pytest.raises(ValueError, match="not finite"):
        segmentation.average_precision(truth, scores)


@few
@given(SEEDS, st.sampled_from([0.1, 0.2, 0.5, 1.0]))
def test_lesions_equal_a_flood_fill(seed, share):
    truth, score = blobs(seed)
    called, where = score > 0.3, np.random.default_rng(seed).random(truth.shape) < 0.9
    got = lesions.lesions(truth, called, where, share)
    assert got == lesions_by_loops(truth & where, called & where, share)


def test_lesions_by_hand():
    none = np.zeros((20, 20), bool)
    assert lesions.lesions(none, none) == (0, 0, 0)
    assert lesions.lesions(none, square(2, 2)) == (0, 0, 1)
    assert lesions.lesions(square(2, 2), none) == (0, 1, 0)
    assert lesions.lesions(square(2, 2), square(2, 2)) == (1, 1, 0)
    corner = square(2, 2) | square(7, 7)  # one touches the other by a corner only
    assert lesions.lesions(corner, none) == (0, 1, 0)
    # 5 of 25 pixels are just the share, 4 of 25 are not.
    assert lesions.lesions(square(2, 2), square(2, 6)) == (1, 1, 0)
    strip = square(2, 6)
    strip[2, 6] = False
    assert lesions.lesions(square(2, 2), strip) == (0, 1, 1)
    seven = np.zeros((20, 20), bool)
    seven[2, 2:7] = seven[3, 2:4] = True
    assert 0.28 * 25 > 7  # by rounding
    assert lesions.lesions(square(2, 2), seven, share=0.28) == (1, 1, 0)
    assert lesions.lesions(seven, square(2, 2), share=0.28) == (1, 1, 0)


def test_a_share_beyond_0_and_1_is_refused():
    for share in (0, 1.1):
        with pytest.raises(ValueError, match="share"):
            lesions.lesions(square(2, 2), square(2, 2), share=share)


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_froc_equals_a_flood_fill_at_every_threshold(seed):
    at = (0, 0.5, 1, 2, 4)
    pictures = [blobs(3 * seed + k) for k in range(3)]
    truths, scores = zip(*pictures, strict=True)
    rng = np.random.default_rng(seed)
    wheres = [rng.random(t.shape) < 0.9 for t in truths]
    counted = np.concatenate([s[w] for s, w in zip(scores, wheres, strict=True)])
    best, total = dict.fromkeys(at, 0), 0
    for k in range(9):
        step = counted.min() + k * (counted.max() - counted.min()) / 8
        step = counted.max() if k == 8 else step
        rows = [
            lesions_by_loops(t & w, (s >= step) & w, 0.2, only_hits=True)
            for t, s, w in zip(truths, scores, wheres, strict=True)
        ]
        found, total, false = np.sum(rows, axis=0)
        for limit in at:
            if false / 3 <= limit:
                best[limit] = max(best[limit], found)
    got = lesions.froc(truths, scores, at, wheres, levels=9)
    want = [best[limit] / total if total else NAN for limit in at]
    assert got == approx(want)


def test_froc_by_hand():
    truth = square(2, 2) | square(12, 12)
    score = 1.0 * square(2, 2) + 0.8 * square(2, 12) + 0.5 * square(12, 12)
    # Two pictures, the other without a lesion: one false positive from 0.8 down is half a picture.
    pictures = [truth, np.zeros_like(truth)], [score, np.zeros_like(score)]
    assert lesions.froc(*pictures, at=(0, 0.4, 0.5, 8)) == approx([0.5, 0.5, 1, 1])
    whole = [np.rint(255 * x).astype("uint8") for x in pictures[1]]
    got = lesions.froc(pictures[0], whole, at=(0, 0.4, 0.5, 8))
    assert got == approx([0.5, 0.5, 1, 1])


def test_a_map_that_is_one_large_blob_finds_nothing_in_froc():
    truth = square(2, 2, side=3) | square(12, 12, side=3)
    for score in (np.ones(truth.shape), 1.0 * disc(8, 20), np.linspace(0, 1, 400).reshape(20, 20)):
        assert lesions.froc([truth], [score])[0] == 0
    assert lesions.lesions(truth, np.ones_like(truth)) == (2, 2, 1)


def test_froc_without_a_lesion_is_undefined():
    truth, where = square(2, 2), np.zeros((20, 20), bool)
    assert np.isnan(lesions.froc([where], [np.ones((20, 20))])).all()
    assert np.isnan(lesions.froc([truth], [np.ones((20, 20))], wheres=[where])).all()
    assert lesions.froc([], []).shape == (4,)


@few
@given(SEEDS, st.sampled_from(["float32", "float64", "uint8"]))
def test_the_best_threshold_has_the_highest_dice_of_all_pixels_together(seed, dtype):
    grid = np.arange(0, 256, 15) if dtype == "uint8" else np.arange(11) / 10
    pictures = [blobs(seed + k, 16 + k) for k in range(3)]
    truths = [truth for truth, _ in pictures]
    # Scores that equal thresholds, such as 0.7 in float32, which is below 0.7 in float64.
    scores = [np.rint(s * (17 if dtype == "uint8" else 10)) for _, s in pictures]
    scores = [(s * 15 if dtype == "uint8" else s / 10).astype(dtype) for s in scores]
    rng = np.random.default_rng(seed)
    wheres = [rng.random(t.shape) < 0.9 for t in truths]
    got = segmentation.best_threshold(truths, scores, wheres, grid)
    pixels = zip(truths, scores, wheres, strict=True)
    flat = [(t[w], s[w]) for t, s, w in pixels]
    t, s = (np.concatenate(x) for x in zip(*flat, strict=True))
    if not t.any():
        assert np.isnan(got)
        return
    levels = grid if dtype == "uint8" else grid.astype(dtype)
    dice = np.array([skm.f1_score(t, s >= level) for level in levels])
    same = grid[np.isclose(dice, dice.max(), rtol=0, atol=1e-12)]
    assert got == same[(len(same) - 1) // 2]


def test_the_best_threshold_pools_pixels_and_takes_the_middle_of_a_plateau():
    large, small = square(2, 2, 10), square(2, 2, 2)
    truths, scores = [large, small], [0.9 * large, np.where(small, 0.1, 0.4 * square(8, 8, 3))]
    # A mean over pictures would take 0.1: there the small one gains more than this one costs.
    assert segmentation.best_threshold(truths, scores, None, [0.1, 0.5, 0.6, 0.7]) == 0.6
    nothing = [np.zeros((20, 20), bool)] * 2
    assert np.isnan(segmentation.best_threshold(nothing, scores, None, [0.5]))
    assert np.isnan(segmentation.best_threshold(truths, scores, nothing, [0.5]))


def test_a_score_of_float32_reaches_the_threshold_that_it_was_rounded_from():
    truth = square(2, 2)
    score = np.where(truth, 0.7, 0).astype("float32")
    assert score.max() < np.float64(0.7)
    assert segmentation.picture_figures(truth, score, np.float64(0.7))["dice"] == 1
    assert segmentation.best_threshold([truth], [score], None, [0.6, 0.65, 0.7]) == 0.65


def test_a_probability_as_threshold_of_scores_of_8_bits_is_refused():
    scores = np.zeros((20, 20), "uint8")
    with pytest.raises(ValueError, match="whole number"):
        segmentation.picture_figures(square(2, 2), scores, 0.5)
    with pytest.raises(ValueError, match="whole number"):
        segmentation.best_threshold([square(2, 2)], [scores], None, [0.5, 1])


@few
@given(SEEDS)
def test_figures_of_a_picture_are_those_of_the_functions(seed):
    truth, score = blobs(seed)
    where = np.random.default_rng(seed).random(truth.shape) < 0.9
    score = score.astype("float32")
    called = score >= np.float32(0.4)
    t, c = truth & where, called & where
    got = segmentation.picture_figures(truth, score, 0.4, where, disc_diameter=8)
    found, n, false_positives = lesions_by_loops(t, c, 0.2)
    distance = hausdorff_by_loops(t, c, 95)
    want = segmentation.overlap(truth, called, where) | {
        "hausdorff95": distance,
        "hausdorff95_discs": distance / 8,
        "average_precision": skm.average_precision_score(t[where], score[where])
        if t.any()
        else NAN,
        "lesions": n,
        "found": found,
        "false_positives": false_positives,
        "area": t.sum(),
        "area_called": c.sum(),
    }
    assert got == approx(want)


def test_a_disc_or_a_threshold_that_is_not_known_leaves_its_figures_undefined():
    truth, score = square(2, 2), 0.8 * square(2, 5)
    whole = segmentation.picture_figures(truth, score, 0.5, disc_diameter=6)
    assert {type(value) for value in whole.values()} == {int, float}  # as JSON takes them
    assert whole["hausdorff95"] == 3
    assert whole["hausdorff95_discs"] == 0.5
    for unknown in (None, NAN):
        got = segmentation.picture_figures(truth, score, 0.5, disc_diameter=unknown)
        assert got == approx(whole | {"hausdorff95_discs": NAN})
    got = segmentation.picture_figures(truth, score, NAN, disc_diameter=6)
    known = {name for name, value in got.items() if not np.isnan(value)}
    assert known == {"average_precision", "lesions", "area"}
    assert {name: got[name] for name in known} == {name: whole[name] for name in known}


@few
@given(SEEDS)
def test_pixels_that_do_not_count_move_nothing(seed):
    rng = np.random.default_rng(seed)
    truth, score = blobs(seed)
    where = rng.random(truth.shape) < 0.7

    def figures(truth, score):
        one = segmentation.picture_figures(truth, score, 0.4, where, disc_diameter=8)
        two = lesions.froc([truth], [score], wheres=[where], levels=9)
        best = segmentation.best_threshold([truth], [score], [where], [0.2, 0.3, 0.4, 0.5])
        return [*one.values(), *two, best]

    noise = rng.choice([-5.0, 0.4, 7.0, np.nan, np.inf], truth.shape)
    other = np.where(where, truth, rng.random(truth.shape) < 0.5), np.where(where, score, noise)
    np.testing.assert_array_equal(figures(*other), figures(truth, score))


def test_masks_that_are_not_bool_and_shapes_that_differ_are_refused():
    mask, score = square(2, 2), np.zeros((20, 20))
    for function in (segmentation.overlap, segmentation.hausdorff, lesions.lesions):
        with pytest.raises(ValueError, match="must be bool; got uint8"):
            function(mask, mask.astype("uint8"))
        with pytest.raises(ValueError, match="differ in shape"):
            function(mask, mask[1:])
    for truth, where in ((mask.astype("uint8"), None), (mask, mask.astype("uint8"))):
        with pytest.raises(ValueError, match="must be bool; got uint8"):
            segmentation.average_precision(truth, score, where)
    with pytest.raises(ValueError, match="differ in shape"):
        segmentation.average_precision(mask, score, mask[1:])
    with pytest.raises(ValueError, match="shorter"):
        lesions.froc([mask, mask], [score])


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_pictures_without_a_pixel_have_no_lesions(shape):
    nothing = np.zeros(shape, bool)
    assert lesions.lesions(nothing, nothing) == (0, 0, 0)
    found, false_positives, n = lesions.marks(nothing, np.zeros(shape), [0.5])
    assert (found.tolist(), false_positives.tolist(), n) == ([0], [0], 0)
