"""Which rows an epoch sees, and how much its positives weigh. Computed from `train` alone.

The original system multiplied oversampling, sampling weights and loss weights. Here there is one
path: rows of rare labels are repeated up to the median count (median-frequency oversampling), and
the loss weighs positives by the counts *after* that. So what was repeated weighs about 1, and what
the weights do is to lower the labels that are more common than the median: on ODIR's eyes N weighs
.09, D .15, O .30, the five rare ones .99 to 1.01, of which H is repeated 1.4 times. They raise a
label only where repetition was switched off, or did not reach the median. Nowhere does a positive
count more than `most` times.
"""

import numpy as np


def label_repeats(y_true, oversample_to=1.0, most=np.inf):
    """How often the rows of each label are to be repeated.

    A label with fewer positives than the median label is repeated until it has `oversample_to`
    times the median count; all others, and labels without a positive, once.

    Args:
        y_true: (N, L) of 1, 0 and NaN (not graded), rows of `train`.
        oversample_to: target as a multiple of the median count; 0 switches repetition off.
        most: largest factor, at least 1.

    Returns:
        (L,) float array, at least 1.
    """
    counts = np.nansum(y_true == 1, axis=0).astype(float)
    repeats = np.ones(len(counts))
    if (counts > 0).any():
        median = np.median(counts[counts > 0])
        rare = (counts > 0) & (counts < median)
        repeats[rare] = np.clip(oversample_to * median / counts[rare], 1, most)
    return repeats


def row_repeats(y_true, repeats):
    """(N,) repeat factor of each row: the largest over its positive labels, else 1."""
    return np.where(y_true == 1, repeats, 1.0).max(axis=1, initial=1.0)


def positive_weights(y_true, row_factors=None, most=np.inf):
    """Weight `median / count` of each label's positives, counts taken after repetition.

    Eigen & Fergus 2015 (https://arxiv.org/abs/1411.4734), section 4.3.2, median frequency
    balancing, here for labels.

    Args:
        y_true: (N, L) of 1, 0, NaN.
        row_factors: (N,) from `row_repeats`; None is once each.
        most: how often a positive may count, by its weight and the mean factor of its rows.

    Returns:
        (L,) float array; 1 for a label without a positive.
    """
    factors = np.ones(len(y_true)) if row_factors is None else row_factors
    counts = (factors[:, None] * (y_true == 1)).sum(axis=0)
    weights = np.ones(len(counts))
    seen = counts > 0
    if seen.any():
        repeated = counts[seen] / np.sum(y_true == 1, axis=0)[seen]
        wanted = np.median(counts[seen]) / counts[seen]
        weights[seen] = np.minimum(wanted, np.maximum(1, most / repeated))
    return weights


def draw_epoch(row_factors, seed, epoch):
    """Row numbers of one epoch in random order; the same for the same seed and epoch.

    A factor of 2.3 gives two copies, and a third with probability .3, drawn anew each epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    copies = np.floor(row_factors + rng.random(len(row_factors))).astype(int)
    return rng.permutation(np.repeat(np.arange(len(row_factors)), copies))


def reweight_by_sensitivity(weights, base, confusion, *, bound=3.0, smoothing=0.5):
    """Raises the positive weights of labels that validation misses.

    The target is `base * (1 + (bound - 1) * miss)`, miss = FN / (TP + FN): a label that is never
    missed keeps its base weight, one that is always missed gets `bound` times it. The new weight
    is a running mean of the targets, so one odd epoch moves it little.

    Args:
        weights: (L,) weights in use.
        base: (L,) weights from `positive_weights`.
        confusion: (L, 2, 2) of counts [[tn, fp], [fn, tp]] on `val`.
        bound: largest factor on the base weight, at least 1.
        smoothing: share of the old weight that stays, in [0, 1).

    Returns:
        (L,) float array between `base` and `bound * base`; labels without a positive in `val`
        keep their weight.
    """
    missed, found = confusion[:, 1, 0], confusion[:, 1, 1]
    positives = missed + found
    miss = np.divide(missed, positives, out=np.zeros(len(base)), where=positives > 0)
    target = base * (1 + (bound - 1) * miss)
    return np.where(positives > 0, smoothing * weights + (1 - smoothing) * target, weights)


def sampling_plan(config, y):
    """(row factors (N,), label repeats (L,), positive weights (L,)) of the training rows."""
    most = config.most_repeats or np.inf
    repeats = label_repeats(y, config.oversample_to, most)
    factors = row_repeats(y, repeats)
    weights = np.ones(y.shape[1])
    if config.pos_weight != "none" and config.task != "grade":
        counted = factors if config.pos_weight == "median" else None
        weights = positive_weights(y, counted, most)
    return factors, repeats, weights


def held_back(config, y, labels):
    """Lines on the labels whose rows are repeated less often than asked for, one each."""
    wanted = label_repeats(y, config.oversample_to)
    counts = np.sum(y == 1, axis=0)
    return [
        f"label {label}: {counts[k]} positives in {len(y)} rows of train: each shown "
        f"{config.most_repeats:g} times an epoch, not {round(wanted[k], 1):g} (--most-repeats)"
        for k, label in enumerate(labels)
        if 0 < config.most_repeats < wanted[k]
    ]
