"""Intervals by the bootstrap over patients (cluster bootstrap, percentile method).

The rows of one patient (two eyes, several visits) are not independent, so patients are drawn with
replacement and all rows of a patient come along: Field and Welsh 2007, "Bootstrapping clustered
data". Interval: percentiles of the resampled figure, Efron 1981.
"""

import numpy as np

LEVEL = 0.95
MAX_UNDEFINED = 0.1  # more undefined resamples than this share: no interval
BLOCK_ENTRIES = 4_000_000  # rows x resamples held at once: 16 MB per array


def resamples(patients, n_resamples, seed, block=None):
    """Draws patients with replacement; yields (N, r) integer row weights until there are enough.

    Args:
        patients: (N,) identifiers; equal ones are drawn together.
        n_resamples: number of columns in all.
        seed: the draws depend on it and on the set of patients, not on `block` or row order.
        block: columns per array; by default as many as keep the memory bounded.
    """
    names, cluster = np.unique(np.asarray(patients, "str"), return_inverse=True)
    n_clusters = len(names)
    block = block or max(1, BLOCK_ENTRIES // max(1, len(cluster)))
    rng = np.random.default_rng(seed)
    for begin in range(0, n_resamples, block):
        width = min(block, n_resamples - begin)
        drawn = np.empty((n_clusters, width), "int32")
        for k in range(width):
            drawn[:, k] = np.bincount(rng.integers(0, n_clusters, n_clusters), minlength=n_clusters)
        yield drawn[cluster]


def distribution(statistic, patients, n_resamples, seed, width=1):
    """Values of every figure of `statistic` in every resample: name -> (R, ..) array.

    Args:
        statistic: function of (N, r) weights, see `classification.statistic`.
        patients: (N,) identifiers.
        n_resamples: R. With 0 the dict is empty.
        seed: of the draws.
        width: entries per row that the statistic holds at once (the number of labels).
    """
    block = max(1, BLOCK_ENTRIES // (len(patients) * width)) if len(patients) else 1
    parts = [statistic(w) for w in resamples(patients, n_resamples, seed, block)]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}


def interval(values, level=LEVEL):
    """Percentile interval of (R,) resampled values: ([low, high] or None, number undefined).

    Undefined resamples are left out and counted; with more than `MAX_UNDEFINED` of them the
    interval would be one of the lucky resamples only, so there is none.
    """
    values = np.asarray(values, "float64")
    undefined = int(np.isnan(values).sum())
    if not len(values) or undefined > MAX_UNDEFINED * len(values):
        return None, undefined
    tail = 50 * (1 - level)
    low, high = np.percentile(values[~np.isnan(values)], [tail, 100 - tail])
    return [float(low), float(high)], undefined
