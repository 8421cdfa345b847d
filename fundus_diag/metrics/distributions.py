"""Figures of merit together with their values in resamples of the patients."""

import numpy as np

from fundus_diag.metrics import bootstrap, classification, grades


def distributions(y_true, y_score, patients, n_resamples, seed, *, thresholds, official=False):
    """Macro figures of predictions, and the same in resamples of the patients.

    Args:
        y_true, y_score: (N, L), see `classification`.
        patients: (N,) identifiers.
        n_resamples: R.
        seed: of the draws; those of the same patients are the same.
        thresholds: (L,) of the labels; None where they are exclusive grades, called by the largest.
        official: whether the figures of ODIR's challenge are wanted too.

    Returns:
        {name: (value, (R,) values)}: macro figures by their names, of grades `accuracy` and
        `kappa`, of the challenge `odir`.
    """
    if thresholds is None:
        called = classification.call_grade(y_score)
    else:
        called = classification.call(y_score, thresholds)
    names = {f"macro.{x}": x for x in classification.FIGURES} | {"odir.final": "odir"}
    point, draws = drawn(y_true, y_score, called, patients, n_resamples, seed, official=official)
    if thresholds is None:
        graded = ~np.isnan(y_true).any(axis=1)
        truth, call = y_true[graded].argmax(axis=1), called[graded].argmax(axis=1)
        width = y_true.shape[1]
        statistic = grades.grade_statistic(truth, call, width)
        point |= {k: v[0] for k, v in statistic(np.ones((len(truth), 1), "int32")).items()}
        draws |= bootstrap.distribution(statistic, patients[graded], n_resamples, seed, width)
        names |= {"grade.accuracy": "accuracy", "grade.kappa": "kappa"}
    return {short: (float(point[x]), draws[x]) for x, short in names.items() if x in point}


def drawn(
    y_true,
    y_score,
    called,
    patients,
    n_resamples,
    seed,
    which=classification.FIGURES,
    official=False,
):
    """Figures of predictions, and the same in resamples of the patients.

    Args:
        y_true, y_score, called: (N, L), see `classification`.
        patients: (N,) identifiers.
        n_resamples: R; 0 for none.
        seed: of the draws; those of the same patients are the same.
        which, official: see `classification.statistic`.

    Returns:
        ({name: (L,) or ()}, {name: (R, L) or (R,)}): of each label, `micro.`, `macro.` and
        `n_labels.` of them, and of rows.
    """
    statistic = classification.statistic(y_true, y_score, called, which, official)
    point = statistic(np.ones((len(y_true), 1), "int32"))
    draws = bootstrap.distribution(statistic, patients, n_resamples, seed, width=y_true.shape[1])
    counted = {}
    for name in [n.removeprefix("labels.") for n in point if n.startswith("labels.")]:
        source = f"in_means.{name}" if f"in_means.{name}" in point else f"labels.{name}"
        defined = ~np.isnan(point[source][0])
        counted[name] = int(defined.sum())
        for values in (point, draws):
            if values:
                values[f"macro.{name}"] = classification.mean_of_defined(values[source], defined)
    point, draws = (
        {name: values for name, values in figures.items() if not name.startswith("in_means.")}
        for figures in (point, draws)
    )
    point = {name: values[0] for name, values in point.items()}
    return point | {f"n_labels.{name}": count for name, count in counted.items()}, draws
