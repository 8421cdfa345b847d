"""Figures of predictions, whoever made them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fundus_diag.metrics.classification import FIGURES
from fundus_diag.metrics.evaluate import score_table
from fundus_diag.utils.errors import DataError


def score(
    truth: pd.DataFrame | np.ndarray,
    probabilities: pd.DataFrame | np.ndarray,
    patients: Iterable[Any] | None = None,
    *,
    thresholds: Mapping[str, float] | float | None = None,
    grades: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Figures of anyone's predictions, with 95 % intervals by bootstrap over patients.

    Args:
        truth: (N, L) of 1, 0 and NaN, which is not graded and counts nowhere; as a table its
            columns are the labels' names.
        probabilities: (N, L) in [0, 1], a column a label, in the same order.
        patients: N, whose rows are drawn together; None is a patient a row.
        thresholds: {label: from which probability on it is called}, or one for all; without one
            there are no figures of what is called.
        grades: whether the labels are exclusive grades in order, called by the largest probability.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the bootstrap.

    Returns:
        Row a label, and "macro", the mean over labels: ROC AUC, average precision and the others,
        each with FIGURE_low and FIGURE_high beside it. NaN where a figure is not defined.

    Raises:
        DataError: arrays do not fit each other, or hold what they may not.
    """
    y_true, labels = _matrix(truth, "truth")
    y_score, named = _matrix(probabilities, "probabilities")
    if y_true.shape != y_score.shape:
        raise DataError(f"truth is {y_true.shape}, probabilities are {y_score.shape}")
    if isinstance(truth, pd.DataFrame) and isinstance(probabilities, pd.DataFrame):
        named = [x.removeprefix("p_") for x in named]
        if [x.removeprefix("y_") for x in labels] != named:
            raise DataError(f"truth has the labels {labels}, probabilities have {named}")
        labels = named
    if not np.isin(y_true[~np.isnan(y_true)], (0, 1)).all():
        raise DataError("truth holds 1, 0 and NaN alone")
    if not ((y_score >= 0) & (y_score <= 1)).all():
        raise DataError("probabilities lie from 0 to 1, and none is missing")
    people = np.arange(len(y_true)) if patients is None else np.asarray(list(patients))
    if len(people) != len(y_true) or pd.isna(people).any():
        raise DataError(f"patients: one for each of {len(y_true)} rows, none missing")
    at = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(labels, thresholds)
    unknown = [str(x) for x in at if x not in labels]
    if unknown:
        raise DataError(f"thresholds of {', '.join(unknown)}: the labels are {', '.join(labels)}")
    table = pd.DataFrame({"patient": people})
    table[[f"y_{x}" for x in labels]], table[[f"p_{x}" for x in labels]] = y_true, y_score
    points = {"criterion": "f1", "labels": {x: {"threshold": at.get(x)} for x in labels}}
    found = score_table(table, labels, points, {}, resamples, seed, grade=grades)
    rows = {**found["labels"], "macro": found["macro"]}
    names = [x for x in FIGURES if x in found["macro"]]
    out = pd.DataFrame(index=pd.Index(rows, name="label"))
    for name in names:
        out[name] = [_number(row.get(name)) for row in rows.values()]
        if any(row.get(f"{name}_ci") for row in rows.values()):
            for k, end in enumerate(("low", "high")):
                pairs = [row.get(f"{name}_ci") or (None, None) for row in rows.values()]
                out[f"{name}_{end}"] = [_number(pair[k]) for pair in pairs]
    return out


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _matrix(values: pd.DataFrame | np.ndarray, what: str) -> tuple[np.ndarray, list[str]]:
    """(N, L) float64, and the labels' names."""
    names = [str(x) for x in getattr(values, "columns", ())]
    try:
        array = np.asarray(values, "float64")
    except (TypeError, ValueError) as error:
        raise DataError(f"{what}: holds what is no number") from error
    if array.ndim != 2 or not array.size:
        raise DataError(f"{what}: (N, L) is expected, not {array.shape}")
    names = names or [str(k) for k in range(array.shape[1])]
    if len(set(names)) < len(names):
        raise DataError(f"{what}: a column stands twice")
    return array, names
