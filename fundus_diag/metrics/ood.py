"""How far a photograph is from what a run has seen.

Mahalanobis distance of pooled features (Lee et al. 2018, https://arxiv.org/abs/1807.03888, without
classes: labels are not exclusive here), with the covariance shrunk towards a multiple of the unit
matrix (Ledoit and Wolf 2004, https://doi.org/10.1016/S0047-259X(03)00096-4).
"""

import numpy as np
from keras import ops

MOST = 128  # directions that are told apart; along the others the spread is one


def shrinkage(features):
    """Ledoit and Wolf's share of the unit matrix in a covariance: in [0, 1].

    Args:
        features: (N, D).
    """
    centred = features - features.mean(axis=0)
    count, width = centred.shape
    covariance = centred.T @ centred / count
    level = np.trace(covariance) / width
    distance = (covariance**2).sum() / width - level**2
    if distance <= 0:
        return 1.0
    # The mean over photographs of |x x' - S|^2, without an array of N D^2.
    squares = ((centred**2).sum(axis=1) ** 2).sum() / count
    error = (squares - (covariance**2).sum()) / width / count
    return float(np.clip(error / distance, 0, 1))


def fit_mahalanobis(features, most=MOST):
    """What `mahalanobis` needs: a dict of float32 arrays.

    Args:
        features: (N, D), of photographs that a run has seen.
        most: directions of the largest spread that are kept; the others share the mean of theirs.

    Returns:
        {"mean": (D,), "basis": (D, K), "spread": (K,), "rest": ()}: variances along K directions,
        and along all others.
    """
    features = np.asarray(features, np.float64)
    centred = features - features.mean(axis=0)
    share, width = shrinkage(features), features.shape[1]
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    variances = np.zeros(width)
    variances[: len(sizes)] = sizes**2 / len(features)
    variances = (1 - share) * variances + share * variances.mean()
    kept = min(most, len(sizes), width)
    # Without any spread at all everything is equally far.
    floor = max(1e-6 * variances.mean(), 1e-12)
    rest = variances[kept:].mean() if kept < width else 1.0
    found = {
        "mean": features.mean(axis=0),
        "basis": directions[:kept].T,
        "spread": np.maximum(variances[:kept], floor),
        "rest": max(rest, floor),
    }
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def mahalanobis(features, fitted):
    """Distance of features (N, D) from those that were fitted, over the root of D: (N,) float32.

    About 1 for photographs like them. In Keras's operations, for arrays and for what a network
    gives alike.
    """
    centred = features - fitted["mean"]
    along = ops.matmul(centred, fitted["basis"])
    beside = ops.relu(ops.sum(centred**2, axis=1) - ops.sum(along**2, axis=1))
    squares = ops.sum(along**2 / fitted["spread"], axis=1) + beside / fitted["rest"]
    return ops.sqrt(squares / len(fitted["mean"]))
