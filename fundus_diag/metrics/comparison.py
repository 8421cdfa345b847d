"""Two sets of predictions of the same rows against each other: paired differences, with p values.

Of the area under the ROC curve by its placements (DeLong et al. 1988,
https://doi.org/10.2307/2531595, by midranks as Sun and Xu 2014,
https://doi.org/10.1109/LSP.2014.2337313), summed within patients where a patient has several rows
(Obuchowski 1997, https://doi.org/10.2307/2533958); of all else by the bootstrap over patients.
"""

import numpy as np
from scipy import stats

from fundus_diag.metrics import bootstrap


def macro_auc_influence(y_true, y_score):
    """Mean ROC AUC over labels, and what each row adds to its error.

    Args:
        y_true: (N, L) of 1, 0, NaN.
        y_score: (N, L), higher is more likely positive.

    Returns:
        (AUC, (N,) influences): the sum of the squares of the influences of independent rows
        estimates the AUC's variance, which of a single label is DeLong's. All labels with both
        classes are in the mean; NaN where there is none. Of a label with a single positive or
        negative no variance is known: the influences are NaN then.
    """
    areas, influences = [], []
    for truth, score in zip(np.transpose(y_true), np.transpose(y_score), strict=True):
        positive, negative = truth == 1, truth == 0
        m, n = positive.sum(), negative.sum()
        if not min(m, n):
            continue
        influence = np.zeros(len(truth))
        both = stats.rankdata(np.concatenate([score[positive], score[negative]]))
        won = (both[:m] - stats.rankdata(score[positive])) / n  # share of negatives below each
        lost = 1 - (both[m:] - stats.rankdata(score[negative])) / m  # .. of positives above
        area = won.mean()
        if min(m, n) < 2:
            influence[:] = np.nan
        else:
            influence[positive] = (won - area) / np.sqrt(m * (m - 1))
            influence[negative] = (lost - area) / np.sqrt(n * (n - 1))
        areas.append(area)
        influences.append(influence)
    if not areas:
        return np.nan, np.full(len(y_true), np.nan)
    return float(np.mean(areas)), np.mean(influences, axis=0)


def auc_difference(y_true, first, second, patients, level=bootstrap.LEVEL):
    """The difference of two macro ROC AUCs, each a mean over runs.

    Args:
        y_true: (N, L) of 1, 0, NaN.
        first, second: (S, N, L) scores of S runs each; their numbers of runs may differ.
        patients: (N,) identifiers.
        level: of the interval.

    Returns:
        {"difference", "low", "high", "p"}, of first minus second; p of two sides. They are about
        other patients, with these runs.
    """
    means = []
    for scores in (first, second):
        found = [macro_auc_influence(y_true, one) for one in scores]
        means.append((np.mean([a for a, _ in found]), np.mean([x for _, x in found], axis=0)))
    difference = means[0][0] - means[1][0]
    _, cluster = np.unique(np.asarray(patients, "str"), return_inverse=True)
    sums = np.bincount(cluster, means[0][1] - means[1][1])
    error = np.sqrt((sums**2).sum())
    if np.isnan(error):
        p = np.nan
    elif error < 1e-12:
        p = float(abs(difference) < 1e-12)
    else:
        p = 2 * stats.norm.sf(abs(difference) / error)
    half = stats.norm.ppf((1 + level) / 2) * error
    return {
        "difference": float(difference),
        "low": float(difference - half),
        "high": float(difference + half),
        "p": float(p),
    }


def bootstrap_difference(first, second, drawn_first, drawn_second, level=bootstrap.LEVEL):
    """The difference of two figures, with the percentiles of its resamples.

    Args:
        first, second: the figures.
        drawn_first, drawn_second: (R,) of them in the same resamples.
        level: of the interval.

    Returns:
        {"difference", "low", "high", "p"}: p is twice the share of resamples on the other side of
        0, of which one more is counted than there are (Davison and Hinkley 1997, section 4.2).
        Ends and p are NaN where `bootstrap.interval` gives none.
    """
    drawn = np.asarray(drawn_first) - np.asarray(drawn_second)
    ends, _ = bootstrap.interval(drawn, level)
    known = drawn[~np.isnan(drawn)]
    p = np.nan
    if ends:
        sides = [(np.sum(known <= 0) + 1), (np.sum(known >= 0) + 1)]
        p = min(1.0, 2 * min(sides) / (len(known) + 1))
    low, high = ends or (np.nan, np.nan)
    return {"difference": float(first - second), "low": low, "high": high, "p": float(p)}


def by_pairs(differences, level=bootstrap.LEVEL):
    """(low, high) of the t interval of a mean of paired differences; NaN of fewer than two."""
    differences = np.asarray(differences, "float64")
    if len(differences) < 2 or np.isnan(differences).any():
        return np.nan, np.nan
    half = stats.t.ppf((1 + level) / 2, len(differences) - 1) * stats.sem(differences)
    return float(differences.mean() - half), float(differences.mean() + half)


def over_runs(drawn, seed=0):
    """(R,) resamples of the mean over runs, the runs drawn with replacement as well.

    Args:
        drawn: (S, R) of a figure, a row a run, in the same resamples of patients.
        seed: of the draws.
    """
    drawn = np.asarray(drawn)
    count, resamples = drawn.shape
    chosen = np.random.default_rng(seed).integers(count, size=(count, resamples))
    return np.take_along_axis(drawn, chosen, axis=0).mean(axis=0)
