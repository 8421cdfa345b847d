"""The threshold of a label, by the criterion that a user names."""

import math

import numpy as np

from fundus_diag.utils.errors import UsageError


def parse_criterion(criterion):
    """("f1", None), ("sensitivity", S) or ("specificity", S). Raises UsageError."""
    kind, _, value = str(criterion).partition("=")
    if kind == "f1" and not value:
        return kind, None
    try:
        least = float(value)
    except ValueError:
        least = math.nan
    if kind not in ("sensitivity", "specificity") or not 0 < least < 1:
        raise UsageError(
            f"criterion {criterion!r} is none of f1, sensitivity=S, specificity=S with 0 < S < 1"
        )
    return kind, least


def choose_threshold(truth, probability, kind="f1", least=None):
    """The threshold in [0, 1] that a criterion chooses, halfway between two observed values.

    Args:
        truth: (N,) bool with both classes present, or in [0, 1] how far each row is a positive.
        probability: (N,) in [0, 1]; positive is called at or above the threshold.
        kind, least: as `parse_criterion` gives them.

    Returns:
        Of the equally good ones the highest, that is the one with the fewest calls. Where
        saturated probabilities leave the asked specificity out of reach, the nearest to it.
    """
    truth = np.asarray(truth, "float64")
    values = np.unique(np.concatenate([[0.0], probability, [1.0]]))
    # 0 calls everything, saturated probabilities of exactly 0 included.
    candidates = np.unique(np.append(0.0, (values[1:] + values[:-1]) / 2))
    order = np.argsort(-probability, kind="stable")
    calls = len(probability) - np.searchsorted(probability[order][::-1], candidates)
    tp = np.append(0.0, np.cumsum(truth[order]))[calls]  # positives among those called
    positives = tp[0]  # the sum that the share of found ones reaches 1 with
    negatives = len(truth) - positives
    tn = negatives - (calls - tp)
    if kind == "f1":
        good = 2 * tp / (positives + calls)
    elif kind == "sensitivity":
        good = np.where(tp / positives >= least, tn / negatives, -1)
    else:
        good = np.where(tn / negatives >= least, tp / positives, tn / negatives - 2)
    return float(candidates[np.flatnonzero(good == good.max())[-1]])
