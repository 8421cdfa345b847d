"""The points of ROC, precision-recall and reliability curves of one label.

All functions take the graded rows of one label: `truth` (N,) bool and `score` (N,) in [0, 1], with
at least one row of each class.
"""

import numpy as np

from fundus_diag.metrics import bootstrap
from fundus_diag.metrics.meaning import share_interval

BAND_RESAMPLES = 200  # for a band that is looked at, not quoted
RELIABILITY_BINS = 10


def threshold_counts(truth, score):
    """(tp, fp) at each distinct score, highest first, each (K + 1,) and starting at 0."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # of each group of equal scores
    tp = np.cumsum(truth[order])[last]
    fp = np.cumsum(~truth[order])[last]
    return np.append(0, tp), np.append(0, fp)


def roc_points(truth, score):
    """(false-positive rate, sensitivity), each (K + 1,), from (0, 0) to (1, 1)."""
    tp, fp = threshold_counts(truth, score)
    return fp / fp[-1], tp / tp[-1]


def precision_recall_points(truth, score):
    """(recall, precision), each (K,), one per distinct score from the highest down."""
    tp, fp = (counts[1:] for counts in threshold_counts(truth, score))
    return tp / tp[-1], tp / (tp + fp)


def roc_band(truth, score, patients, seed=0):
    """Pointwise 95 % band of the ROC curve over patients: (grid, low, high), each (101,).

    None where too many resamples lack a class, by the rule of `bootstrap.interval`.
    """
    grid = np.linspace(0, 1, 101)
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    heights = []
    for weights in bootstrap.resamples(patients, BAND_RESAMPLES, seed):
        for column in weights[order].T:
            tp, fp = np.cumsum(column * truth[order])[last], np.cumsum(column * ~truth[order])[last]
            if tp[-1] and fp[-1]:
                # A curve may rise on the spot; the upper end of such a rise is its height there.
                x, y = np.append(0, fp / fp[-1]), np.append(0, tp / tp[-1])
                x, at = np.unique(x[::-1], return_index=True)
                heights.append(np.interp(grid, x, y[::-1][at]))
    if len(heights) < (1 - bootstrap.MAX_UNDEFINED) * BAND_RESAMPLES:
        return None
    low, high = np.percentile(heights, [2.5, 97.5], axis=0)
    return grid, low, high


def reliability_points(truth, score, bins=RELIABILITY_BINS):
    """Mean score, share of positives and its 95 % Wilson interval in bins of equally many rows.

    Equal scores stay in one bin. Source of the interval: Wilson 1927.

    Returns:
        (mean score, share, low, high), each (number of bins,).
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, score, side="right")
    n = np.bincount(place, minlength=len(edges) + 1)
    keep = n > 0
    mean = np.bincount(place, score, len(edges) + 1)[keep] / n[keep]
    share = np.bincount(place, truth, len(edges) + 1)[keep] / n[keep]
    positives = np.bincount(place[truth], minlength=len(edges) + 1)[keep]
    low, high = np.array([share_interval(*x) for x in zip(positives, n[keep], strict=True)]).T
    return mean, share, low, high
