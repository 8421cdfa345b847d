"""How far a photograph is from what a run has seen: two measures.

Mahalanobis distance of pooled features (Lee et al. 2018, https://arxiv.org/abs/1807.03888, without
classes: labels are not exclusive here), with the covariance shrunk towards a multiple of the unit
matrix (Ledoit and Wolf 2004, https://doi.org/10.1016/S0047-259X(03)00096-4); and the energy of the
logits (Wang et al. 2021, https://arxiv.org/abs/2111.12797, equation 4).
"""

import numpy as np

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
    """Distance of features (N, D) from those that were fitted, over the root of D: (N,).

    About 1 for photographs like them.
    """
    centred = np.asarray(features, np.float64) - fitted["mean"]
    along = centred @ fitted["basis"].astype(np.float64)
    beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
    squares = (along**2 / fitted["spread"]).sum(axis=1) + beside / fitted["rest"]
    return np.sqrt(squares / centred.shape[1])


def energy(logits):
    """Minus the joint energy of independent labels: the sum of log(1 + exp(z)) of logits (N, L).

    (N,), the lower the less a photograph looks like any of the labels.
    """
    return np.logaddexp(0, np.asarray(logits, np.float64)).sum(axis=1)
