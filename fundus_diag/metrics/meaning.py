"""What a score meant on validation: of those scored like it, how many had the disease."""

import numpy as np
from scipy import stats

NEAR = 0.05  # scores so near are alike ..
FEWEST = 10  # .. and at least so many cases, the nearest, are looked at


def scored_alike(scores, truth, score):
    """Of the cases of validation that were scored alike, how many had the disease.

    Args:
        scores: (N,) calibrated probabilities on val.
        truth: (N,) 1, 0, NaN where nobody graded; those do not count.
        score: the probability that is asked about.

    Returns:
        (n, k, low, high): of n cases, whose scores lie from low to high, k had it. (0, 0, NaN, NaN)
        where val has no graded case.
    """
    known = ~np.isnan(truth)
    scores, truth = scores[known], truth[known]
    if not len(scores):
        return 0, 0, float("nan"), float("nan")
    apart = np.abs(scores - score)
    count = max(int((apart <= NEAR).sum()), min(FEWEST, len(scores)))
    near = np.argsort(apart, kind="stable")[:count]
    return count, int(truth[near].sum()), float(scores[near].min()), float(scores[near].max())


def share_interval(k, n, level=0.95):
    """(low, high) of the share k / n, by Wilson 1927; NaN of none."""
    if not n:
        return float("nan"), float("nan")
    found = stats.binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)
