"""Which rows an epoch sees, and how much its positives weigh. Computed from `train` alone.

The original system multiplied oversampling, sampling weights and loss weights. Here there is one
path: rows of rare labels are repeated (median-frequency oversampling), and the loss weighs the
positives that are still rare *after* that.
"""

import numpy as np


def label_repeats(y_true, oversample_to=1.0):
    """How often the rows of each label are to be repeated.

    A label with fewer positives than the median label is repeated until it has `oversample_to`
    times the median count; all others, and labels without a positive, once.

    Args:
        y_true: (N, L) of 1, 0 and NaN (not graded), rows of `train`.
        oversample_to: target as a multiple of the median count; 0 switches repetition off.

    Returns:
        (L,) float array, at least 1.
    """
    counts = np.nansum(y_true == 1, axis=0).astype(float)
    repeats = np.ones(len(counts))
    if (counts > 0).any():
        median = np.median(counts[counts > 0])
        rare = (counts > 0) & (counts < median)
        repeats[rare] = np.maximum(1, oversample_to * median / counts[rare])
    return repeats


def row_repeats(y_true, repeats):
    """(N,) repeat factor of each row: the largest over its positive labels, else 1."""
    return np.where(y_true == 1, repeats, 1.0).max(axis=1, initial=1.0)


def positive_weights(y_true, row_factors=None):
    """Weight `median / count` of each label's positives, counts taken after repetition.

    Eigen & Fergus 2015 (https://arxiv.org/abs/1411.4734), section 4.3.2, median frequency
    balancing, here for labels.

    Args:
        y_true: (N, L) of 1, 0, NaN.
        row_factors: (N,) from `row_repeats`; None is once each.

    Returns:
        (L,) float array; 1 for a label without a positive.
    """
    factors = np.ones(len(y_true)) if row_factors is None else row_factors
    counts = (factors[:, None] * (y_true == 1)).sum(axis=0)
    weights = np.ones(len(counts))
    if (counts > 0).any():
        weights[counts > 0] = np.median(counts[counts > 0]) / counts[counts > 0]
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
    repeats = label_repeats(y, config.oversample_to)
    factors = row_repeats(y, repeats)
    weighted = config.pos_weight == "median" and config.task == "multi_label"
    weights = positive_weights(y, factors) if weighted else np.ones(y.shape[1])
    return factors, repeats, weights
