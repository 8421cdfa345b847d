"""Exclusive grades: accuracy, weighted kappa (Cohen 1968), and the cut from which one is referred.

Whoever has the grade of the cut or a higher one is referable: its probability is the sum of theirs.
"""

import numpy as np

from fundus_diag.metrics.classification import ratio
from fundus_diag.utils.errors import UsageError

REFERABLE_FROM = 2  # moderate retinopathy, of the scale from 0 to 4


def cut_of(n_grades, asked=None):
    """The first grade that is referred: as asked for, else `REFERABLE_FROM`, of two grades 1.

    Raises:
        UsageError: there is no such grade, or none is left below it.
    """
    if asked is None:
        return min(REFERABLE_FROM, n_grades - 1)
    if not 1 <= asked < n_grades:
        raise UsageError(f"--referable-cut {asked}: a grade from 1 to {n_grades - 1}")
    return asked


def referable(y_true, y_score, cut):
    """Whether rows are referable, and how probably.

    Args:
        y_true: (N, K) of 1, 0, NaN, one grade each.
        y_score: (N, K) probabilities of the grades, a row sums to 1.
        cut: the first grade that is referred.

    Returns:
        (N,) 1, 0, or NaN where nobody graded; (N,) in [0, 1].
    """
    truth = np.where(np.isnan(y_true).any(axis=1), np.nan, y_true[:, cut:].max(axis=1))
    return truth, np.clip(y_score[:, cut:].sum(axis=1), 0, 1)


def grade_statistic(truth, called, n_grades):
    """Prepares accuracy and quadratic kappa of exclusive grades; returns a function of weights.

    Args:
        truth, called: (N,) integer grades in [0, n_grades).
        n_grades: at least 2.

    Returns:
        A function `(N, R) weights -> {"grade.accuracy": (R,), "grade.kappa": (R,)}`. Kappa is
        1 - sum(w O) / sum(w E), w = (i - j) ** 2, E the product of the margins (Cohen 1968);
        undefined when every row is one grade and is called so.
    """
    cell = np.asarray(truth) * n_grades + np.asarray(called)
    onehot = (cell[:, None] == np.arange(n_grades**2)).astype("float64")
    distance = np.subtract.outer(np.arange(n_grades), np.arange(n_grades)) ** 2.0

    def figures_of(weights):
        table = np.asarray(weights, "float64").T @ onehot
        table = table.reshape(-1, n_grades, n_grades)  # (R, true, called)
        n = table.sum(axis=(1, 2))
        expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :]
        apart = (distance * table).sum(axis=(1, 2)) * n
        kappa = 1 - ratio(apart, (distance * expected).sum(axis=(1, 2)))
        return {"grade.accuracy": ratio(np.einsum("rkk->r", table), n), "grade.kappa": kappa}

    return figures_of
