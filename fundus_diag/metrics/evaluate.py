"""Scores of a table of predictions: figures, intervals over patients, baseline, subgroups.

The maths is in `classification`, the intervals in `bootstrap`, thresholds and calibration in
`calibration`.
"""

import numpy as np

from fundus_diag.metrics import bootstrap, classification, grades
from fundus_diag.metrics.calibration import thresholds_array
from fundus_diag.metrics.distributions import drawn
from fundus_diag.metrics.operating import at_prevalence
from fundus_diag.metrics.subgroups import group_order, groupings
from fundus_diag.metrics.thresholds import parse_criterion

MIN_CLASS = 5  # positives and negatives that a label needs to enter a subgroup's mean
# Predictive values where half of the photographs show the disease: from these and their intervals
# follow those at any other share, for the odds are in proportion.
HALF, AT_HALF = 0.5, ("precision_at_half", "npv_at_half")


def score_table(
    predictions,
    labels,
    points,
    train_summary,
    n_resamples=1000,
    seed=0,
    *,
    grade=False,
    official=False,
):
    """Scores predictions and returns what `metrics_<split>.json` holds; undefined is None.

    Args:
        predictions: table with `patient`, `y_<label>` (1, 0, NaN), `p_<label>` (calibrated, in
            [0, 1]) and, where known, `age` (years), `sex`, `dataset`.
        labels: L names.
        points: operating points, see `calibration.fit_operating_points`.
        train_summary: {"positives": {label: n}, "negatives": {label: n}} of the training split,
            from which the prior-only baseline takes its scores.
        n_resamples: of the bootstrap over patients; 0 for no intervals.
        seed: of the bootstrap.
        grade: whether the labels are exclusive grades, in order, called by the largest probability;
            else each label is called at its threshold.
        official: whether the labels are those of ODIR's challenge, which has figures of its own.

    Returns:
        {"rows", "patients", "labels": {label: figures}, "macro", "micro", "exact_match",
        "hamming", "odir", "prior_only", "subgroups", "bootstrap"[, "grade"]}. A figure `x` with an
        interval has `x_ci` = [low, high] beside it (ECE has none), a macro figure `x_n_labels`. A
        label has the two of `AT_HALF` as well.
    """
    y_true = predictions[[f"y_{label}" for label in labels]].to_numpy("float64")
    y_score = predictions[[f"p_{label}" for label in labels]].to_numpy("float64")
    patients = predictions["patient"].to_numpy()
    if grade:
        called = classification.call_grade(y_score)
    else:
        called = classification.call(y_score, thresholds_array(points, labels))
    figures, ci, undefined = _evaluate(
        y_true, y_score, called, patients, labels, n_resamples, seed, official=official
    )

    out = {"rows": len(predictions), "patients": int(predictions["patient"].nunique())}
    out["labels"] = _label_part(y_true, called, labels, points, figures, ci)
    out["macro"] = _group(figures, ci, "macro")
    out["micro"] = _group(figures, ci, "micro")
    out |= _group(figures, ci, None)
    out["odir"] = _group(figures, ci, "odir")
    if grade:
        out["grade"] = _grade_part(y_true, called, patients, n_resamples, seed, out, undefined)
        if "referable" in points:  # runs of earlier versions have none
            part = _referable(y_true, y_score, patients, points["referable"], n_resamples, seed)
            out["grade"]["referable"] = part
    prior = prior_scores(labels, train_summary)
    out["prior_only"] = _prior_part(y_true, prior, labels, points, patients, grade, official)
    out["subgroups"] = _subgroups(predictions, y_true, y_score, n_resamples, seed)
    out["bootstrap"] = {
        "unit": "patient",
        "method": "percentile",
        "level": bootstrap.LEVEL,
        "resamples": n_resamples,
        "seed": seed,
        "max_undefined": bootstrap.MAX_UNDEFINED,
        "undefined": undefined,
    }
    return out


def prior_scores(labels, train_summary):
    """(L,) share of positives among the graded training rows; NaN for a label without one."""
    positives, negatives = (
        np.array([train_summary.get(key, {}).get(label, 0) for label in labels], "float64")
        for key in ("positives", "negatives")
    )
    graded = positives + negatives
    return np.divide(positives, graded, out=np.full(len(labels), np.nan), where=graded > 0)


def _evaluate(
    y_true,
    y_score,
    called,
    patients,
    labels,
    n_resamples,
    seed,
    which=classification.FIGURES,
    official=False,
):
    """Figures {name: (L,) or ()}, their intervals {name: list} and undefined counts."""
    point, draws = drawn(
        y_true, y_score, called, patients, n_resamples, seed, which=which, official=official
    )
    for values in (point, draws):
        if "labels.recall" in values:
            rates = values["labels.recall"], values["labels.specificity"]
            halves = at_prevalence(*rates, HALF)
            values |= {f"labels.{x}": v for x, v in zip(AT_HALF, halves, strict=True)}
    ci, undefined = {}, {}
    for name, values in draws.items():
        if name.endswith(".ece"):
            # Resampling adds noise to every bin and the error is a sum of absolute values: its
            # percentiles lie above the figure itself, an interval that misleads.
            continue
        columns = values[:, None] if values.ndim == 1 else values
        found = [bootstrap.interval(column) for column in columns.T]
        ci[name] = [pair for pair, _ in found]
        for k, (_, count) in enumerate(found):
            key = name if values.ndim == 1 else name.replace("labels", f"labels.{labels[k]}")
            # A figure that is undefined on the rows themselves has nothing to resample.
            if count and not np.isnan(point[name] if values.ndim == 1 else point[name][k]):
                undefined[key] = count
    return point, ci, undefined


def _label_part(y_true, called, labels, points, figures, ci):
    thresholds = [points["labels"][label]["threshold"] for label in labels]
    tables = classification.confusion(y_true, called)
    part = {}
    for k, label in enumerate(labels):
        entry = {"support": int((y_true[:, k] == 1).sum())}
        entry["graded"] = int((~np.isnan(y_true[:, k])).sum())
        entry["threshold"] = thresholds[k]
        entry |= zip(("tn", "fp", "fn", "tp"), tables[k].ravel().tolist(), strict=True)
        for name in (*classification.FIGURES, *AT_HALF):
            value = figures[f"labels.{name}"][k]
            entry |= _with_interval(name, value, ci.get(f"labels.{name}"), k)
        part[label] = entry
    return part


def _group(figures, ci, group):
    """The figures of one group ("macro", "micro", "odir", or None for those of rows) as JSON."""
    if group == "odir" and "odir.kappa" not in figures:
        return dict.fromkeys(("kappa", "f1", "auc", "final"))
    out = {}
    for name, value in figures.items():
        head, _, tail = name.rpartition(".")
        if head != (group or ""):
            continue
        out |= _with_interval(tail, value, ci.get(name), 0)
        if group == "macro":
            out[f"{tail}_n_labels"] = figures[f"n_labels.{tail}"]
    if group == "macro":
        out["n_labels"] = out["roc_auc_n_labels"]
    return out


def _with_interval(name, value, ci, k):
    if np.isnan(value):
        return {name: None} | ({f"{name}_ci": None} if ci else {})
    return {name: float(value)} | ({f"{name}_ci": ci[k]} if ci else {})


def _grade_part(y_true, called, patients, n_resamples, seed, out, undefined):
    """Accuracy, macro P/R/F1, quadratic kappa, one-vs-rest AUC and the confusion of grades."""
    graded = ~np.isnan(y_true).any(axis=1)
    truth, call = y_true[graded].argmax(axis=1), called[graded].argmax(axis=1)
    n_grades = y_true.shape[1]
    statistic = grades.grade_statistic(truth, call, n_grades)
    point = statistic(np.ones((len(truth), 1), "int32"))
    draws = bootstrap.distribution(statistic, patients[graded], n_resamples, seed, width=n_grades)
    part = {}
    for name, values in point.items():
        pair, count = bootstrap.interval(draws[name]) if draws else (None, 0)
        part |= _with_interval(name.split(".")[1], values[0], [pair] if draws else None, 0)
        if count and not np.isnan(values[0]):
            undefined[name] = count
    for name in ("precision", "recall", "f1", "roc_auc"):
        part |= {k: v for k, v in out["macro"].items() if k in (name, f"{name}_ci")}
        part[f"{name}_n_grades"] = out["macro"][f"{name}_n_labels"]
    table = np.zeros((n_grades, n_grades), int)
    np.add.at(table, (truth, call), 1)
    return part | {"n_grades": n_grades, "rows": len(truth), "confusion": table.tolist()}


def _referable(y_true, y_score, patients, point, n_resamples, seed):
    """Figures of the call that somebody be referred, as those of one label, and the cut."""
    truth, score = grades.referable(y_true, y_score, point["cut"])
    truth, score, name = truth[:, None], score[:, None], "referable"
    points = {"labels": {name: point}}
    called = classification.call(score, thresholds_array(points, [name]))
    figures, ci, _ = _evaluate(truth, score, called, patients, [name], n_resamples, seed)
    return {"cut": point["cut"]} | _label_part(truth, called, [name], points, figures, ci)[name]


def _prior_part(y_true, prior, labels, points, patients, grade, official):
    """Figures of a model that knows only how common each label is in the training split.

    A constant score has two operating points, all or none. The criterion of the run chooses:
    a specificity asked for leaves none, the best F1 and a sensitivity asked for leave all. Grades
    are called as the commonest one.
    """
    y_score = np.broadcast_to(prior, y_true.shape)
    if grade:
        called = np.zeros_like(y_true)
        called[:, np.nanargmax(prior) if not np.isnan(prior).all() else 0] = 1
    else:
        call_all = parse_criterion(points["criterion"])[0] != "specificity"
        decided = ~np.isnan(thresholds_array(points, labels)) & ~np.isnan(prior)
        called = np.where(np.broadcast_to(decided, y_true.shape), float(call_all), np.nan)
    figures, ci, _ = _evaluate(y_true, y_score, called, patients, labels, 0, 0, official=official)
    out = {"labels": {}}
    for k, label in enumerate(labels):
        entry = {"prior": None if np.isnan(prior[k]) else float(prior[k])}
        for name in classification.FIGURES:
            entry |= _with_interval(name, figures[f"labels.{name}"][k], None, 0)
        out["labels"][label] = entry
    for group in ("macro", "micro", "odir"):
        out[group] = _group(figures, ci, group)
    out |= _group(figures, ci, None)
    if grade:
        graded = ~np.isnan(y_true).any(axis=1)
        truth, call = y_true[graded].argmax(axis=1), called[graded].argmax(axis=1)
        point = grades.grade_statistic(truth, call, len(labels))(np.ones((len(truth), 1)))
        out["grade"] = {}
        for name, values in point.items():
            out["grade"] |= _with_interval(name.split(".")[1], values[0], None, 0)
    return out


def _subgroups(predictions, y_true, y_score, n_resamples, seed):
    """Macro ROC AUC by age band, sex and data set: {"age": [{"name", "rows", ..}], ..}.

    A label enters a subgroup's mean with at least `MIN_CLASS` positives and negatives there; the
    means of two subgroups may therefore stand on different labels, which are listed.
    """
    labels = [c[2:] for c in predictions.columns if c.startswith("y_")]
    out = {}
    for column, names in groupings(predictions).items():
        entries = []
        for name in sorted(names.unique(), key=group_order):
            rows = (names == name).to_numpy()
            entry = {"name": name, "rows": int(rows.sum())}
            entry["patients"] = int(predictions["patient"][rows].nunique())
            truth = y_true[rows]
            least = np.minimum((truth == 1).sum(axis=0), (truth == 0).sum(axis=0))
            used = least >= MIN_CLASS
            entry["labels"] = [label for label, use in zip(labels, used, strict=True) if use]
            entry |= {"n_labels": int(used.sum()), "roc_auc": None, "roc_auc_ci": None}
            if used.any():
                truth, score = truth[:, used], y_score[rows][:, used]
                patients = predictions["patient"][rows].to_numpy()
                figures, ci, _ = _evaluate(
                    truth,
                    score,
                    np.full(truth.shape, np.nan),
                    patients,
                    entry["labels"],
                    n_resamples,
                    seed,
                    which=("roc_auc",),
                )
                entry["roc_auc"] = float(figures["macro.roc_auc"])
                entry["roc_auc_ci"] = ci["macro.roc_auc"][0] if ci else None
            entries.append(entry)
        if entries:
            out[column] = entries
    return out
