"""Figures of merit of multi-label and graded predictions, for many weightings of the rows at once.

Shapes: `y_true` (N, L) holds 1 (present), 0 (absent) or NaN (not graded); `y_score` (N, L) holds
calibrated probabilities; `called` (N, L) holds 1 (called positive), 0 or NaN (no call, because the
label has no threshold). `weights` (N, R) holds how often each row counts in each of R weightings:
one column of ones gives the figures themselves, the columns of `bootstrap.resamples` give their
sampling distribution. An integer weight is exactly a repeated row, so a thousand resamples cost a
few matrix products and one sort per label instead of a thousand sorts.

What is undefined is NaN: never 0 and never 0.5. In macro means alone the precision of a label that
has positives and is never called counts 0, so do the MCC of one that is never or always called and
the negative predictive value of one that is always called: see `IN_MEANS`. Macro precision, recall
and F1 are so over the same labels whatever a classifier says. Sources: Fawcett
2006 (ROC), Davis and Goadrich 2006 (precision and recall), Guo et al. 2017 (expected calibration
error, equation 3).
"""

import numpy as np

ECE_BINS = 15  # equal-width bins, as in Guo et al. 2017
OFFICIAL_THRESHOLD = 0.5  # of the ODIR challenge; a score above it is a call
RANKED = ("roc_auc", "average_precision")
# Figures that are functions of weighted sums `c`: the cells of the confusion matrix, and sums of
# scores. NaN where a denominator is zero.
COUNTED = {
    "accuracy": lambda c: ratio(c["tp"] + c["tn"], c["tp"] + c["fp"] + c["fn"] + c["tn"]),
    "precision": lambda c: ratio(c["tp"], c["tp"] + c["fp"]),
    "recall": lambda c: ratio(c["tp"], c["tp"] + c["fn"]),
    "f1": lambda c: _f1(c["tp"], c["fp"], c["fn"]),
    "specificity": lambda c: ratio(c["tn"], c["tn"] + c["fp"]),
    "false_positive_rate": lambda c: ratio(c["fp"], c["tn"] + c["fp"]),
    "mcc": lambda c: _mcc(c["tp"], c["fp"], c["fn"], c["tn"]),
    "brier": lambda c: ratio(c["squares"], c["graded"]),
    "ece": lambda c: ratio(np.abs(c["gaps"]).sum(axis=-1), c["graded"]),
    "npv": lambda c: ratio(c["tn"], c["tn"] + c["fn"]),
}
FIGURES = (*RANKED, *COUNTED)
# What enters a macro mean in place of a figure that a label lacks because of how it was called: a
# classifier that never says a label would gain by it. Where the table is the reason, for it holds
# no positive (or, for MCC, no negative), there is nothing to mean.
IN_MEANS = {
    "precision": lambda c: _or_0(c["tp"] + c["fn"] > 0, COUNTED["precision"](c)),
    "mcc": lambda c: _or_0((c["tp"] + c["fn"]) * (c["tn"] + c["fp"]) > 0, COUNTED["mcc"](c)),
    "npv": lambda c: _or_0(c["tn"] + c["fp"] > 0, COUNTED["npv"](c)),
}


def statistic(y_true, y_score, called, figures=FIGURES, official=False):
    """Prepares the figures of fixed predictions; returns a function of the row weights.

    Args:
        y_true, y_score, called: (N, L), see the module's text.
        figures: which of `FIGURES`; anything else but the ranked ones comes together.
        official: whether the ODIR challenge's figures are wanted too.

    Returns:
        A function `(N, R) integer weights -> dict of arrays`: `labels.<figure>` (R, L),
        `in_means.<figure>` (R, L) of those in `IN_MEANS`, `micro.<figure>` (R,), and
        `exact_match`, `hamming`, `odir.<figure>` (R,).

    Raises:
        ValueError: shapes differ, or y_true or called hold something else than 0, 1 and NaN.
    """
    y_true, y_score, called = _check(y_true, y_score, called)
    # A score that does not exist cannot be ranked, binned or thresholded: that entry is left out.
    truth = np.where(np.isnan(y_score), np.nan, y_true)
    ranked = [_ranking(truth[:, [k]], y_score[:, [k]]) for k in range(truth.shape[1])]
    pooled = _ranking(truth, y_score)
    rest = set(figures) - set(RANKED) or official
    columns = _count_columns(truth, y_score, called) if rest else None

    def figures_of(weights):
        weights = np.asarray(weights, "int32")
        areas = np.stack([_areas(plan, weights) for plan in ranked], axis=-1)  # (2, R, L)
        out = dict(zip([f"labels.{name}" for name in RANKED], areas, strict=True))
        out |= zip([f"micro.{name}" for name in RANKED], _areas(pooled, weights), strict=True)
        if rest:
            counts = _counts(columns, weights)
            out |= {f"labels.{name}": v for name, v in _from_counts(counts).items()}
            out |= {f"in_means.{name}": figure(counts) for name, figure in IN_MEANS.items()}
            sums = {name: v.sum(axis=1, keepdims=True) for name, v in counts.items()}
            out |= {f"micro.{name}": v[:, 0] for name, v in _from_counts(sums).items()}
            out |= _row_figures(truth, called, weights)
        if official:
            out |= _odir(sums, out["micro.roc_auc"])
        return out

    return figures_of


def confusion(y_true, called):
    """Counts of each label: (L, 2, 2) integers, [[tn, fp], [fn, tp]]; NaN entries do not count."""
    y_true, called = np.asarray(y_true, "float64"), np.asarray(called, "float64")
    cells = [np.sum((y_true == t) & (called == c), axis=0) for t in (0, 1) for c in (0, 1)]
    return np.stack(cells, axis=-1).reshape(-1, 2, 2)


def call(y_score, thresholds):
    """(N, L) calls, 1 where `y_score >= threshold`; NaN where the score or threshold is."""
    y_score, thresholds = np.asarray(y_score, "float64"), np.asarray(thresholds, "float64")
    known = ~np.isnan(y_score) & ~np.isnan(thresholds)
    return np.where(known, y_score >= thresholds, np.nan)


def call_grade(y_score):
    """(N, K) calls of exclusive grades: 1 for the most probable one (the first of equals)."""
    return np.eye(y_score.shape[1])[np.argmax(y_score, axis=1)]


def mean_of_defined(values, defined):
    """Mean over the labels `defined` (L,) of `values` (R, L); NaN where one of them is NaN.

    The set of labels is fixed by the figure itself, not by the resample: a mean over whichever
    labels a resample happens to define would be another quantity each time.
    """
    if not defined.any():
        return np.full(len(values), np.nan)
    return values[:, defined].mean(axis=1)


def _ranking(truth, score):
    """Where the positives and the tied groups of (N, L) entries lie, highest score first.

    Returns None where a class is empty, else a dict of index arrays; only groups of equal scores
    that hold a positive are listed, for no other group adds to either area.
    """
    rows, cols = np.nonzero(~np.isnan(truth))
    positive, value = truth[rows, cols] == 1, score[rows, cols]
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-value, kind="stable")
    rows, positive, value = rows[order], positive[order], value[order]
    group = np.concatenate([[0], np.cumsum(value[1:] != value[:-1])])
    first = np.searchsorted(group, np.arange(group[-1] + 2))  # (groups + 1,) first row of each
    held, first_positive = np.unique(group[positive], return_index=True)
    return {
        "rows": rows,
        "starts": first[held],
        "ends": first[held + 1],
        "positive_rows": rows[positive],
        "positive_starts": first_positive,
    }


def _areas(plan, weights):
    """(2, R): ROC AUC (share of ranked pairs, ties half) and average precision (no interpolation).

    Average precision is the sum over scores of (R_n - R_{n-1}) P_n.
    """
    if plan is None:
        return np.full((2, weights.shape[1]), np.nan)
    above = np.zeros((len(plan["rows"]) + 1, weights.shape[1]), "int32")
    np.cumsum(np.take(weights, plan["rows"], axis=0), axis=0, dtype="int32", out=above[1:])
    start = above[plan["starts"]].astype("float64")  # entries with a higher score than the group
    end = above[plan["ends"]].astype("float64")  # .. and with one at least as high
    hits = np.add.reduceat(
        np.take(weights, plan["positive_rows"], axis=0), plan["positive_starts"], axis=0
    ).astype("float64")
    hits_end = np.cumsum(hits, axis=0)
    positives = hits_end[-1]
    negatives = above[-1] - positives
    false_start, false_end = start - (hits_end - hits), end - hits_end
    won = (hits * (negatives - (false_start + false_end) / 2)).sum(axis=0)
    auc = ratio(won, positives * negatives)
    precision = (hits * (hits_end / np.maximum(end, 1))).sum(axis=0)
    return np.stack([auc, np.where(np.isnan(auc), np.nan, ratio(precision, positives))])


def _count_columns(truth, score, called):
    """Everything that is a weighted sum over rows, as (N, columns, L); see `_counts` for names."""
    graded, decided = ~np.isnan(truth), ~np.isnan(truth) & ~np.isnan(called)
    columns = [
        decided & (truth == 1) & (called == 1),
        decided & (truth == 0) & (called == 1),
        decided & (truth == 1) & (called == 0),
        decided & (truth == 0) & (called == 0),
        graded & (truth == 1) & (score > OFFICIAL_THRESHOLD),
        graded & (truth == 0) & (score > OFFICIAL_THRESHOLD),
        graded & (truth == 1),
        graded,
        np.where(graded, (score - truth) ** 2, 0),
    ]
    known = np.where(graded, score, 0)
    place = np.minimum((known * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = np.where(graded, score - truth, 0)
    columns += [np.where(place == b, gap, 0) for b in range(ECE_BINS)]
    return np.stack(columns, axis=1).astype("float64")


def _counts(columns, weights):
    """Weighted sums: name -> (R, L), and `gaps` (R, L, ECE_BINS)."""
    n, width, n_labels = columns.shape
    sums = (weights.T.astype("float64") @ columns.reshape(n, -1)).reshape(-1, width, n_labels)
    names = ("tp", "fp", "fn", "tn", "official_tp", "official_fp", "positives", "graded", "squares")
    out = {name: sums[:, k] for k, name in enumerate(names)}
    return out | {"gaps": np.moveaxis(sums[:, len(names) :], 1, 2)}


def _from_counts(c):
    return {name: figure(c) for name, figure in COUNTED.items()}


def _f1(tp, fp, fn):
    """Of a label without a positive it is undefined here, as its recall is; some count it as 0."""
    return np.where(tp + fn > 0, ratio(2 * tp, 2 * tp + fp + fn), np.nan)


def _or_0(possible, values):
    return np.where(possible, np.nan_to_num(values, nan=0.0), np.nan)


def _mcc(tp, fp, fn, tn):
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ratio(tp * tn - fp * fn, np.sqrt(margins))


def _row_figures(truth, called, weights):
    """Share of rows with every label right, and share of wrong entries (Hamming loss).

    Both over the labels that have a call; exact match over the rows that grade all of these.
    """
    decided = ~np.isnan(truth) & ~np.isnan(called)
    used = ~np.isnan(called).all(axis=0)
    whole = decided[:, used].all(axis=1) & used.any()
    right = whole & (truth == called)[:, used].all(axis=1)
    wrong = (decided & (truth != called)).sum(axis=1)
    parts = np.stack([right, whole, wrong, decided.sum(axis=1)], axis=1).astype("float64")
    right, whole, wrong, entries = (weights.T.astype("float64") @ parts).T
    return {"exact_match": ratio(right, whole), "hamming": ratio(wrong, entries)}


def _odir(sums, auc):
    """The four figures of the ODIR-2019 challenge, over all graded entries as one binary vector.

    Cohen's kappa and the micro-averaged F1 of both classes (which is plain accuracy) at a score
    above 0.5, the ROC AUC, and the mean of the three:
    https://odir2019.grand-challenge.org/evaluation/
    """
    tp, fp, positives, n = (
        sums[name][:, 0] for name in ("official_tp", "official_fp", "positives", "graded")
    )
    agree = ratio(tp + (n - positives - fp), n)
    calls = tp + fp
    chance = ratio(calls * positives + (n - calls) * (n - positives), n * n)
    kappa = ratio(agree - chance, 1 - chance)
    final = (kappa + agree + auc) / 3
    return {"odir.kappa": kappa, "odir.f1": agree, "odir.auc": auc, "odir.final": final}


def ratio(above, below):
    """above / below, NaN where below is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, "float64"), below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


def _check(y_true, y_score, called):
    arrays = [np.asarray(a, "float64") for a in (y_true, y_score, called)]
    if arrays[0].ndim != 2 or len({a.shape for a in arrays}) > 1:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(f"y_true, y_score and called must all be (N, L); got {shapes}")
    for name, array in zip(("y_true", "called"), (arrays[0], arrays[2]), strict=True):
        if not np.isin(array[~np.isnan(array)], (0, 1)).all():
            raise ValueError(f"{name} may hold only 0, 1 and NaN")
    score = arrays[1][~np.isnan(arrays[1])]
    if score.size and not (score.min() >= 0 and score.max() <= 1):
        raise ValueError("y_score must lie in [0, 1]")
    return arrays


def macro_auc(y_true, y_score):
    """Mean ROC AUC of the labels that have one; None where none has."""
    unused = np.full(np.shape(y_true), np.nan)
    figures = statistic(y_true, y_score, unused, ("roc_auc",))(np.ones((len(y_true), 1)))
    areas = figures["labels.roc_auc"][0]
    return None if np.isnan(areas).all() else float(np.nanmean(areas))
