"""Means of figures over photographs, with intervals over patients."""

import numpy as np
import pandas as pd

from fundus_diag.metrics import bootstrap


def summarise(rows, by, figures, resamples=1000, seed=0):
    """Mean of each figure per group, with a 95 % percentile interval over patients.

    Patients of the group are drawn with all of their rows, see `metrics.bootstrap`; groups of the
    same patients share their draws.

    Args:
        rows: DataFrame with a column `patient`, the columns `by` and the figures, NaN undefined.
        by: column or list of columns that make a group, such as label, method and filter.
        figures: list of columns to average; undefined rows are left out of the mean and counted.
        resamples: number of draws; 0 leaves the intervals out.
        seed: of the draws.

    Returns:
        DataFrame, one row per group in order of first appearance: the columns `by`, `n` (rows),
        and per figure `<figure>`, `<figure>_low`, `<figure>_high`, `<figure>_undefined` (rows).
        No interval (NaN) where fewer than two patients have the figure or where more than
        `bootstrap.MAX_UNDEFINED` of the draws hold none of them.

    Raises:
        ValueError: a column is missing, or a patient is unknown.
    """
    by, figures = [by] if isinstance(by, str) else list(by), list(figures)
    missing = [c for c in ["patient", *by, *figures] if c not in rows.columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} to summarise")
    if rows["patient"].isna().any():
        raise ValueError("a row without a patient cannot be resampled")
    ends = ("", "_low", "_high", "_undefined")
    columns = [*by, "n", *(f"{figure}{end}" for figure in figures for end in ends)]
    groups = rows.groupby(by, sort=False, dropna=False, observed=True)
    return pd.DataFrame(
        [[*key, *_group(group, figures, resamples, seed)] for key, group in groups],
        columns=columns,
    )


def _group(group, figures, resamples, seed):
    """[n, then mean, low, high, undefined of each figure] of the rows of one group."""
    values = group[figures].astype("float64").to_numpy()  # (N, F)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0)
    patients = group["patient"].to_numpy()

    def means(weights):
        with np.errstate(invalid="ignore"):  # 0 / 0: no row of this draw has the figure
            return {"mean": (weights.T @ filled) / (weights.T @ known.astype("float64"))}

    mean = means(np.ones((len(group), 1)))["mean"][0]
    draws = bootstrap.distribution(means, patients, resamples, seed, width=len(figures))
    out = [len(group)]
    for k in range(len(figures)):
        several = len(np.unique(patients[known[:, k]].astype("str"))) > 1
        ends = bootstrap.interval(draws["mean"][:, k])[0] if several and resamples else None
        out += [mean[k], *(ends or (np.nan, np.nan)), int((~known[:, k]).sum())]
    return out
