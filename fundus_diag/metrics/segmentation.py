"""Figures of merit of segmentation: one class, one picture or several.

`truth` (H, W) is bool, True on the class. `called` (H, W) is bool, True where a method says so.
`scores` (H, W) are on any scale, high where the class is likely; a pixel is called where
`score >= threshold`, and the threshold is on their scale. `where` (H, W) is bool, True on the
pixels that count: the field of view, or what was annotated. A pixel that does not count is outside
of both masks, as all beyond the frame is, and its score plays no part; a score that counts must be
finite. Of several pictures `truths`, `scores` and `wheres` are sequences; sizes may differ.

What is undefined is NaN: never 0 and never 1. No lesion and none called leaves Dice undefined; no
lesion and one pixel called is a Dice of 0.

Sources:
    Dice 1945 (coincidence index); Jaccard 1912 (intersection over union)
    Huttenlocher et al. 1993, "Comparing Images Using the Hausdorff Distance" (ranked distances)
    Davis and Goadrich 2006 (precision and recall)
    Zhang et al. 2014, "Exudate detection in color retinal images for mass screening", whose share
        of overlap, 0.2, is `SHARE`; there it must be exceeded, here reached
    Chakraborty 1989, "Maximum likelihood analysis of free-response receiver operating
        characteristic (FROC) data": marks are of lesions or of none; Bandos et al. 2009 (FROC)
"""

import numpy as np
from scipy import ndimage

SHARE = 0.2
LEVELS = 100  # thresholds that `froc` tries
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def overlap(truth, called, where=None):
    """Agreement of the pixels of one picture.

    Args:
        truth, called, where: (H, W) bool, see the module's text.

    Returns:
        Dict of floats in [0, 1]: `dice` 2 tp / (2 tp + fp + fn), `iou` tp / (tp + fp + fn),
        `sensitivity` tp / (tp + fn), `specificity` tn / (tn + fp), `precision` tp / (tp + fp).
        NaN where the denominator is 0.
    """
    masks = _within(truth, called, where)
    positive, marked, counted = (np.count_nonzero(mask) for mask in masks)
    both = np.count_nonzero(masks[0] & masks[1])
    union = positive + marked - both
    return {
        "dice": _ratio(2 * both, positive + marked),
        "iou": _ratio(both, union),
        "sensitivity": _ratio(both, positive),
        "specificity": _ratio(counted - union, counted - positive),
        "precision": _ratio(both, marked),
    }


def hausdorff(truth, called, percentile=95, where=None):
    """Distance between the edges of two masks, in pixels; at percentile 100 Hausdorff's own.

    For each direction the percentile, linear between ranks, of the distances from the edge pixels
    of one mask to the nearest edge pixel of the other; the larger of the two. An edge pixel is one
    of the mask with a 4-neighbour outside. MONAI 1.5's `compute_hausdorff_distance` is the same,
    but takes percentile 0 as 100 and ranks in float32, which is 2e-5 apart where edges are long.

    Args:
        truth, called, where: (H, W) bool, see the module's text.
        percentile: in [0, 100].

    Returns:
        Pixels, at least 0. NaN where either mask is empty.
    """
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile must lie in [0, 100]; got {percentile}")
    truth, called, _ = _within(truth, called, where)
    if not truth.any() or not called.any():
        return float("nan")
    # All edges lie in the box about both masks, and the transform takes time by the pixel.
    box = ndimage.find_objects((truth | called).view("uint8"))[0]
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (truth[box], called[box])]
    away = [ndimage.distance_transform_edt(~edge) for edge in edges]
    ways = ((away[1], edges[0]), (away[0], edges[1]))
    return float(max(np.percentile(there[edge], percentile) for there, edge in ways))


def average_precision(truth, scores, where=None):
    """Area under the steps of precision over recall: sum of (R_n - R_{n-1}) P_n, ties together.

    There is no interpolation: Davis and Goadrich 2006 show that it flatters. Scores of 8 or 16 bits
    are counted, which is as exact as the sort that others need and quicker.

    Args:
        truth, scores, where: arrays of one shape: (H, W), or (pixels,) of several pictures pooled.

    Returns:
        In [0, 1]. NaN without a positive.
    """
    truth, scores, where = _check(truth, scores, where)
    truth, scores = truth[where], scores[where]
    if not truth.any():
        return float("nan")
    if scores.dtype in (np.uint8, np.uint16):
        size = np.iinfo(scores.dtype).max + 1
        hits, every = (np.bincount(x, minlength=size) for x in (scores[truth], scores))
        called = every[::-1].cumsum()[::-1]
    else:
        # A score that no positive has adds nothing. Values sort far quicker than their places do.
        values, hits = np.unique(scores[truth], return_counts=True)
        called = len(scores) - np.searchsorted(np.sort(scores), values)
    tp = hits[::-1].cumsum()[::-1]
    return float((hits * (tp / np.maximum(called, 1))).sum() / tp[0])


def lesions(truth, called, where=None, share=SHARE):
    """Counts of lesions: connected components, with 8 neighbours, of one picture.

    A lesion is found when at least `share` of its pixels are called. A component of what is called
    is a false positive when less than `share` of its pixels lie in lesions, so one that is too
    large can find a lesion and be a false positive; `froc` does not let it.

    Args:
        truth, called, where: (H, W) bool, see the module's text.
        share: in (0, 1].

    Returns:
        (found, lesions, false positives), integers.
    """
    truth, called, _ = _within(truth, called, where)
    found, _, false_positives, n = _matches(ndimage.label(truth, EIGHT_NEIGHBOURS), called, share)
    return int(found), n, int(false_positives)


def froc(truths, scores, at=(1, 2, 4, 8), wheres=None, share=SHARE, levels=LEVELS):
    """Sensitivity to lesions at so many false positives a picture: free-response ROC.

    The highest sensitivity among the thresholds with at most that many false positives a picture on
    average. The thresholds are so many equal steps from the lowest score of all pictures to the
    highest, so a map whose scores crowd at one end is tried at few levels that tell them apart.

    False positives are those of `lesions`, but a lesion is found here only through components that
    are none: a mark is of a lesion or it is not (Chakraborty 1989). Else all of a picture, called
    in one piece, would find every lesion for one false positive.

    Args:
        truths, scores, wheres: sequences of (H, W), see the module's text; `wheres` may be None.
        at: (A,) mean numbers of false positives a picture, not below 0.
        share: in (0, 1], see `lesions`.
        levels: number of thresholds, at least 2.

    Returns:
        (A,) in [0, 1]: found lesions of all pictures over all lesions; 0 where every threshold has
        more false positives. NaN without a lesion.
    """
    pictures = _pictures(truths, scores, wheres)
    if not any((truth & where).any() for truth, _, where in pictures):
        return np.full(len(at), np.nan)
    ends = [f(x[where]) for _, x, where in pictures if where.any() for f in (np.min, np.max)]
    steps = np.linspace(min(ends), max(ends), levels)
    if pictures[0][1].dtype.kind != "f":
        steps = np.unique(np.rint(steps))
    found, false_positives, n = np.zeros(len(steps)), np.zeros(len(steps)), 0
    for truth, score, where in pictures:
        labelled = ndimage.label(truth & where, EIGHT_NEIGHBOURS)
        n += labelled[1]
        counts = np.array([_matches(labelled, call(score, s) & where, share) for s in steps])
        found += counts[:, 1]
        false_positives += counts[:, 2]
    few = false_positives <= np.asarray(at, "float64")[:, None] * len(pictures)  # (A, levels)
    return np.where(few, found, 0).max(axis=1) / n


def best_threshold(truths, scores, wheres, grid):
    """The threshold of highest Dice over the pixels of all pictures together.

    Pooled, not a mean over pictures: in a mean a picture without the class falls from undefined to
    0 by one false pixel and a small lesion weighs as much as a large one, so with few pictures the
    best threshold is that of one or two. The price is that large lesions decide. Of equally good
    thresholds the middle one: past the ends of a plateau the next picture is worse.

    Args:
        truths, scores, wheres: sequences of (H, W), see the module's text; `wheres` may be None.
        grid: (T,) thresholds to try, on the scale of the scores.

    Returns:
        One of `grid`. NaN where no picture has a positive pixel that counts.
    """
    grid = np.unique(np.asarray(grid, "float64"))
    tp, called, positive = np.zeros(len(grid)), np.zeros(len(grid)), 0
    for truth, score, where in _pictures(truths, scores, wheres):
        truth, score, steps = truth[where], score[where], _on_scale(score, grid)
        for total, values in ((tp, score[truth]), (called, score)):
            reached = np.searchsorted(steps, values, side="right")  # steps not above each score
            total += np.bincount(reached, minlength=len(grid) + 1)[:0:-1].cumsum()[::-1]
        positive += np.count_nonzero(truth)
    if not positive:
        return float("nan")
    dice = 2 * tp / (called + positive)
    best = np.flatnonzero(dice == dice.max())
    return float(grid[best[(len(best) - 1) // 2]])


def picture_figures(truth, scores, threshold, where=None, disc_diameter=None):
    """All figures of one picture and one class.

    Args:
        truth, scores, where: (H, W), see the module's text.
        threshold: on the scale of the scores. NaN, as `best_threshold` may say, leaves all that
            depends on a call undefined.
        disc_diameter: of the optic disc, pixels above 0; None or NaN where it is unknown.

    Returns:
        Dict: those of `overlap`, `hausdorff95` (pixels), `hausdorff95_discs` (disc diameters),
        `average_precision`, `lesions`, `found` and `false_positives` of `lesions`, and `area` and
        `area_called` (pixels that count). Undefined ones are NaN.
    """
    known = not np.isnan(threshold)
    called = call(scores, threshold) if known else np.zeros(np.shape(scores), bool)
    found, n, false_positives = lesions(truth, called, where)
    distance = hausdorff(truth, called, 95, where)
    area, area_called, _ = (int(np.count_nonzero(x)) for x in _within(truth, called, where))
    of_calls = overlap(truth, called, where) | {
        "hausdorff95": distance,
        "hausdorff95_discs": distance / (disc_diameter or float("nan")),
        "found": found,
        "false_positives": false_positives,
        "area_called": area_called,
    }
    figures = of_calls if known else dict.fromkeys(of_calls, float("nan"))
    return figures | {
        "average_precision": average_precision(truth, scores, where),
        "lesions": n,
        "area": area,
    }


def call(scores, threshold):
    """(H, W) bool, `scores >= threshold`. A threshold of whole-number scores is a whole number."""
    return np.asarray(scores) >= _on_scale(np.asarray(scores), threshold)


def _on_scale(scores, thresholds):
    """Thresholds in the type of the scores: else 0.7 in float32 lies below a threshold of 0.7."""
    thresholds = np.asarray(thresholds, "float64")
    if scores.dtype.kind == "f":
        return thresholds.astype(scores.dtype)
    if (thresholds != np.rint(thresholds)).any():  # a probability, but the scores are 0 to 255
        raise ValueError(f"scores are {scores.dtype}, so a threshold must be a whole number")
    return thresholds


def _matches(labelled, called, share):
    """(found, found through components that are no false positives, false positives, lesions)."""
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1]; got {share}")
    lesion, n = labelled
    mark, n_marks = ndimage.label(called, EIGHT_NEIGHBOURS)
    lesion, mark_there = lesion[lesion > 0], mark[lesion > 0]
    # 1 pixel of 5 is exactly a share of 0.2 by a division; a product may round to above 1.
    hit = np.zeros(n_marks + 1, bool)
    hit[1:] = _sizes(mark_there, n_marks) / _sizes(mark[called], n_marks) >= share
    found, found_by_hits = (
        np.count_nonzero(_sizes(lesion[pixels], n) / _sizes(lesion, n) >= share)
        for pixels in (mark_there > 0, hit[mark_there])
    )
    return found, found_by_hits, n_marks - np.count_nonzero(hit), n


def _sizes(labels, n):
    """(n,) pixels of each component."""
    return np.bincount(labels, minlength=n + 1)[1:]


def _ratio(above, below):
    return float(above / below) if below else float("nan")


def _pictures(truths, scores, wheres):
    """List of (truth, scores, where) of each picture, checked."""
    wheres = [None] * len(truths) if wheres is None else wheres
    return [_check(*picture) for picture in zip(truths, scores, wheres, strict=True)]


def _within(truth, called, where):
    """Both masks without the pixels that do not count, and `where`."""
    truth, called, where = _check(truth, called, where, masks=True)
    return truth & where, called & where, where


def _check(truth, other, where, masks=False):
    truth, other = np.asarray(truth), np.asarray(other)
    where = np.ones(truth.shape, bool) if where is None else np.asarray(where)
    shapes = [a.shape for a in (truth, other, where)]
    if len(set(shapes)) > 1:
        raise ValueError(f"truth, calls or scores, and where differ in shape: {shapes}")
    for mask in (truth, where, other) if masks else (truth, where):
        if mask.dtype != bool:  # 0 and 255 would count a pixel 255 times
            raise ValueError(f"masks must be bool; got {mask.dtype}")
    if not masks and not np.isfinite(other[where]).all():
        raise ValueError("a score that counts is not finite")
    return truth, other, where
