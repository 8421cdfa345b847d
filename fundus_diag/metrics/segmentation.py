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
"""

import cv2
import numpy as np
from scipy import ndimage

from fundus_diag.metrics.lesions import lesions
from fundus_diag.metrics.masks import call, checked, on_scale, pictures, ratio, within


def overlap(truth, called, where=None):
    """Agreement of the pixels of one picture.

    Args:
        truth, called, where: (H, W) bool, see the module's text.

    Returns:
        Dict of floats in [0, 1]: `dice` 2 tp / (2 tp + fp + fn), `iou` tp / (tp + fp + fn),
        `sensitivity` tp / (tp + fn), `specificity` tn / (tn + fp), `precision` tp / (tp + fp).
        NaN where the denominator is 0.
    """
    masks = within(truth, called, where)
    positive, marked, counted = (np.count_nonzero(mask) for mask in masks)
    both = np.count_nonzero(masks[0] & masks[1])
    union = positive + marked - both
    return {
        "dice": ratio(2 * both, positive + marked),
        "iou": ratio(both, union),
        "sensitivity": ratio(both, positive),
        "specificity": ratio(counted - union, counted - positive),
        "precision": ratio(both, marked),
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
    truth, called, _ = within(truth, called, where)
    if not truth.any() or not called.any():
        return float("nan")
    # All edges lie in the box about both masks, and the transform takes time by the pixel.
    box = ndimage.find_objects((truth | called).view("uint8"))[0]
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (truth[box], called[box])]
    away = [
        cv2.distanceTransform((~edge).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for edge in edges
    ]
    # OpenCV has them in float32. Their squares are whole numbers, which rounding finds again up to
    # 2,000 px; of longer ones a ten-millionth is lost.
    ways = [
        np.sqrt(np.rint(np.square(there[edge], dtype=np.float64)))
        for there, edge in ((away[1], edges[0]), (away[0], edges[1]))
    ]
    return float(max(np.percentile(x, percentile) for x in ways))


def average_precision(truth, scores, where=None):
    """Area under the steps of precision over recall: sum of (R_n - R_{n-1}) P_n, ties together.

    There is no interpolation: Davis and Goadrich 2006 show that it flatters. Scores of 8 or 16 bits
    are counted, which is as exact as the sort that others need and quicker.

    Args:
        truth, scores, where: arrays of one shape: (H, W), or (pixels,) of several pictures pooled.

    Returns:
        In [0, 1]. NaN without a positive.
    """
    truth, scores, where = checked(truth, scores, where)
    truth, scores = truth[where], scores[where]
    if not truth.any():
        return float("nan")
    if scores.dtype in (np.uint8, np.uint16):
        size = np.iinfo(scores.dtype).max + 1
        return average_precision_of(
            *(np.bincount(x, minlength=size) for x in (scores[truth], scores))
        )
    # A score that no positive has adds nothing. Values sort far quicker than their places do.
    values, hits = np.unique(scores[truth], return_counts=True)
    return _area(hits, len(scores) - np.searchsorted(np.sort(scores), values))


def average_precision_of(hits, every):
    """As `average_precision`, of counts.

    Args:
        hits, every: (T,) numbers of positives and of all pixels that have each score, low to high.
    """
    return _area(hits, every[::-1].cumsum()[::-1]) if hits.any() else float("nan")


def best_threshold_of(hits, every):
    """As `best_threshold`, of counts, see `average_precision_of`; and the Dice that it reaches.

    Returns:
        (number of the lowest score that is called, at least 1; Dice), NaN without a positive.
    """
    positive = hits.sum()
    if not positive:
        return float("nan"), float("nan")
    tp, called = (x[::-1].cumsum()[::-1][1:] for x in (hits, every))
    dice = 2 * tp / (called + positive)
    best = np.flatnonzero(dice == dice.max())
    return float(1 + best[(len(best) - 1) // 2]), float(dice.max())


def _area(hits, called):
    tp = hits[::-1].cumsum()[::-1]
    return float((hits * (tp / np.maximum(called, 1))).sum() / tp[0])


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
    for truth, score, where in pictures(truths, scores, wheres):
        truth, score, steps = truth[where], score[where], on_scale(score, grid)
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
    area, area_called, _ = (int(np.count_nonzero(x)) for x in within(truth, called, where))
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
