"""What an epoch is judged by, on `val` alone."""

import numpy as np
from scipy import special

from fundus_diag.metrics import classification, grades
from fundus_diag.metrics.thresholds import choose_threshold

# The column of history.csv that chooses the epoch, by the value of --select.
JUDGES = {
    "composite": "val_composite",
    "average_precision": "val_macro_average_precision",
    "roc_auc": "val_macro_roc_auc",
}
# What people call them.
JUDGED = {
    "val_composite": "composite score",
    "val_macro_average_precision": "average precision",
    "val_macro_roc_auc": "ROC AUC",
}


def epoch_scores(y_true, logits, labels, task="multi_label"):
    """Validation figures of one epoch.

    Labels are called at the threshold of their best F1 in this epoch: a threshold fixed at .5
    would judge the class weights, not the ranking, and the run will be used at such thresholds
    anyway. Grades are called by the largest logit.

    Args:
        y_true: (N, L) of 1, 0, NaN.
        logits: (N, L).
        labels: L names.
        task: "multi_label" or "grade".

    Returns:
        dict of floats for `history.csv`, NaN where undefined: val_macro_f1, val_macro_recall,
        val_accuracy (mean over labels of the share of right calls), val_composite (the mean of
        these three; for grades the mean of accuracy and quadratic kappa), val_macro_roc_auc,
        val_macro_average_precision, and val_f1_<label> and val_roc_auc_<label>; for grades
        val_kappa in place of the figures per label. Recall at the threshold of the best F1 is
        highest where nothing is learned and everything is called: alone it says nothing.
    """
    y_true, logits = np.asarray(y_true, float), np.asarray(logits, float)
    if task == "grade":
        probability = special.softmax(logits, axis=1)
        called = classification.call_grade(logits)
    else:
        probability = special.expit(logits)
        called = classification.call(probability, _best_thresholds(y_true, probability))
    wanted = ("roc_auc", "average_precision", "f1", "recall", "accuracy")
    once = np.ones((len(y_true), 1), "int32")
    figures = classification.statistic(y_true, probability, called, wanted)(once)
    per_label = {name: figures[f"labels.{name}"][0] for name in wanted}
    row = {
        "val_macro_f1": _mean(per_label["f1"]),
        "val_macro_recall": _mean(per_label["recall"]),
        "val_accuracy": _mean(per_label["accuracy"]),
    }
    if task == "grade":
        graded = grades.grade_statistic(
            y_true.argmax(axis=1), called.argmax(axis=1), y_true.shape[1]
        )(once)
        row["val_accuracy"] = float(graded["grade.accuracy"][0])
        row["val_kappa"] = float(graded["grade.kappa"][0])
    judged = (row["val_accuracy"], row["val_kappa"]) if task == "grade" else tuple(row.values())
    row["val_composite"] = float(np.mean(judged))
    row["val_macro_roc_auc"] = _mean(per_label["roc_auc"])
    row["val_macro_average_precision"] = _mean(per_label["average_precision"])
    if task == "grade":
        return row
    for k, label in enumerate(labels):
        row[f"val_f1_{label}"] = float(per_label["f1"][k])
        row[f"val_roc_auc_{label}"] = float(per_label["roc_auc"][k])
    return row


def confusion_at_zero(y_true, logits):
    """(L, 2, 2) counts [[tn, fp], [fn, tp]] of calls at logit 0, the loss's own decision."""
    return classification.confusion(y_true, (np.asarray(logits) >= 0).astype(float))


def improves(value, best):
    """Whether a score is better than the best so far; an undefined one never is."""
    return best is None or value > best or (np.isnan(best) and not np.isnan(value))


def stopped(history, phase, patience, judge):
    """Whether a phase has gone `patience` epochs without bettering its own best `judge`."""
    values = [row[judge] for row in history if row["phase"] == phase]
    values = [-np.inf if np.isnan(v) else v for v in values]
    return bool(patience and values) and len(values) - 1 - int(np.argmax(values)) >= patience


def _best_thresholds(y_true, probability):
    thresholds = np.full(y_true.shape[1], np.nan)
    for k in range(y_true.shape[1]):
        graded = ~np.isnan(y_true[:, k])
        truth = y_true[graded, k] == 1
        if 0 < truth.sum() < len(truth):
            thresholds[k] = choose_threshold(truth, probability[graded, k])
    return thresholds


def _mean(values):
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
