"""Which photographs the pages show: the surest hits, the surest errors; by one rule for all."""

import numpy as np

from fundus_diag.metrics.classification import call_grade

SHOWN = {"hit": 2, "missed": 1, "false alarm": 1}  # of explanations, per label
MAX_ERRORS = 16  # of the report


def ranked(table, labels, thresholds, grade):
    """Rows that were called rightly and wrongly, the surest first; per label one dict.

    How sure a call is: the higher the probability of what was said. Of a label that is called at
    its threshold, "no" is surer the lower its probability; of grades the probability of the grade
    called counts, also where another one was missed.

    Args:
        table: `run_files.read_predictions`.
        labels: names, in the order of the run.
        thresholds: (L,), NaN where there is none: there nothing is said, rightly or wrongly.
        grade: whether the labels are exclusive grades, called by the largest probability.

    Returns:
        List of {"hit", "missed", "false alarm"}: numbers of rows. Of equally sure ones the order
        is that of the table; rows that do not grade a label are in none of its lists.
    """
    p = table[[f"p_{label}" for label in labels]].to_numpy("float64")
    y = table[[f"y_{label}" for label in labels]].to_numpy("float64")
    if grade:
        called, decided = call_grade(p) == 1, np.ones(len(labels), bool)
        sure = np.repeat(p.max(axis=1, keepdims=True), len(labels), axis=1)
    else:
        called, decided = p >= thresholds, ~np.isnan(thresholds)
        sure = np.where(called, p, -p)
    found = []
    for k in range(len(labels)):
        order = np.argsort(-sure[:, k], kind="stable") if decided[k] else np.zeros(0, int)
        truth, call = y[order, k], called[order, k]
        found.append(
            {
                "hit": order[(truth == 1) & call],
                "missed": order[(truth == 1) & ~call],
                "false alarm": order[(truth == 0) & call],
            }
        )
    return found


def picks(table, labels, thresholds, grade):
    """[(label, kind, row)] of the page of explanations: per label so many as `SHOWN` says."""
    return [
        (label, kind, int(row))
        for label, rows in zip(labels, ranked(table, labels, thresholds, grade), strict=True)
        for kind, count in SHOWN.items()
        for row in rows[kind][:count]
    ]


def worst_errors(predictions, labels, metrics, grade):
    """The surest errors: a list of dicts `label, kind, probability, pictures, ..`.

    Per label the missed positive of the lowest probability and the false alarm of the highest; of
    grades the wrong calls, the surest first.
    """
    p = predictions[[f"p_{label}" for label in labels]].to_numpy("float64")
    y = predictions[[f"y_{label}" for label in labels]].to_numpy("float64")
    thresholds = [metrics["labels"][label]["threshold"] for label in labels]
    found = ranked(predictions, labels, np.array(thresholds, "float64"), grade)
    errors = []
    if grade:  # each is missed in one grade and a false alarm in another, and shown once
        rows = np.sort(np.concatenate([one["missed"] for one in found]))
        for row in rows[np.argsort(-p[rows].max(axis=1), kind="stable")]:
            truth, call = np.nanargmax(y[row]), p[row].argmax()
            errors.append((f"grade_{call}", f"grade {truth} called {call}", row, call, None))
    else:
        for k, label in enumerate(labels):
            for kind in ("missed", "false alarm"):
                for row in found[k][kind][:1]:
                    errors.append((label, kind, row, k, thresholds[k]))
    entries = []
    for label, kind, row, k, threshold in errors[:MAX_ERRORS]:
        record = predictions.iloc[row]
        names = [record[c] for c in ("image", "image_left", "image_right") if c in predictions]
        entry = {"label": label, "kind": kind, "probability": float(p[row, k])}
        truth = [x for x, v in zip(labels, y[row], strict=True) if v == 1]
        entry |= {"threshold": threshold, "patient": record["patient"], "truth": truth}
        entries.append(entry | {"images": [name for name in names if name], "pictures": []})
    return entries
