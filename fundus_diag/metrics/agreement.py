"""Agreement of several raters on a scale, with intervals over cases.

Sources:
    Fleiss 1971, "Measuring nominal scale agreement among many raters", equations 1 to 7
    Cohen 1968, "Weighted kappa", with squared weights
"""

import numpy as np

from fundus_diag.metrics import bootstrap


def fleiss_kappa(ratings, scale):
    """Agreement beyond chance of raters on categories, their order not looked at.

    Args:
        ratings: (cases, raters) numbers of the scale; NaN where one did not rate. A case counts
            with the raters that it has, at least two.
        scale: the categories.

    Returns:
        At most 1; NaN where fewer than two cases have two raters, or all said the same.
    """
    return float(_fleiss(_counts(ratings, scale), np.ones((len(ratings), 1)))[0])


def weighted_kappa(ratings, scale):
    """Mean over all pairs of raters of Cohen's kappa with squared weights.

    Args:
        ratings, scale: see `fleiss_kappa`; a pair is looked at on the cases that both rated.

    Returns:
        At most 1; NaN where no pair has one.
    """
    return float(_weighted(np.asarray(ratings, float), scale, np.ones((len(ratings), 1)))[0])


def agreement(ratings, scale, cases=None, resamples=1000, seed=0):
    """Both kappas with 95 % intervals over cases.

    Args:
        ratings, scale: see `fleiss_kappa`; a row is what was rated, such as a map.
        cases: (rows,) whose rows are drawn together; None is each by itself.
        resamples, seed: of the bootstrap.

    Returns:
        {"fleiss", "fleiss_low", "fleiss_high", "weighted", "weighted_low", "weighted_high"}; NaN
        where undefined, and for an interval that too many draws leave undefined.
    """
    ratings = np.asarray(ratings, float)
    counts = _counts(ratings, scale)
    cases = np.arange(len(ratings)) if cases is None else cases

    def both(weights):
        return {
            "fleiss": _fleiss(counts, weights),
            "weighted": _weighted(ratings, scale, weights),
        }

    found, draws = {}, bootstrap.distribution(both, cases, resamples, seed)
    for name, value in both(np.ones((len(ratings), 1))).items():
        ends = bootstrap.interval(draws[name])[0] if name in draws else None
        low, high = ends or (float("nan"),) * 2
        found |= {name: float(value[0]), f"{name}_low": low, f"{name}_high": high}
    return found


def _counts(ratings, scale):
    """(cases, categories) how many raters said which."""
    return np.stack([(np.asarray(ratings, float) == x).sum(axis=1) for x in scale], axis=1)


def _fleiss(counts, weights):
    """(r,) of (N, r) weights of the cases."""
    raters = counts.sum(axis=1)
    rated = raters >= 2
    counts, raters, weights = counts[rated], raters[rated], weights[rated]
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
        cases = weights.sum(axis=0)
        observed = alike @ weights / cases
        share = (counts.T @ weights) / (raters @ weights)
        chance = (share**2).sum(axis=0)
        kappa = (observed - chance) / (1 - chance)
    return np.where((cases >= 2) & (chance < 1), kappa, np.nan)


def _weighted(ratings, scale, weights):
    """(r,) of (N, r) weights of the cases."""
    values, kappas = np.asarray(scale, float), []
    apart = (values[:, None] - values) ** 2
    for i in range(ratings.shape[1]):
        for j in range(i + 1, ratings.shape[1]):
            a, b = (np.stack([ratings[:, k] == x for x in values], axis=1) for k in (i, j))
            both = (a.any(axis=1) & b.any(axis=1))[:, None]
            together = np.einsum("nk,nl,nr->klr", a.astype(float), b.astype(float), weights * both)
            total = together.sum(axis=(0, 1))
            with np.errstate(invalid="ignore", divide="ignore"):
                chance = together.sum(axis=1)[:, None] * together.sum(axis=0)[None] / total
                expected = np.einsum("kl,klr->r", apart, chance)
                kappas.append(1 - np.einsum("kl,klr->r", apart, together) / expected)
    if not kappas:
        return np.full(weights.shape[1], np.nan)
    known = np.isfinite(kappas)
    total = np.where(known, kappas, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(1, known.sum(axis=0)), np.nan)
