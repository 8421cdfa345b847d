"""Which photographs a page shows: the surest hits, the worst errors."""

import numpy as np

HITS = 2  # per label
ERRORS = 1  # per label, of each kind


def picks(table, label, called):
    """[(label, kind, row)] of one label: surest hits, lowest missed positive, highest false alarm.

    Args:
        table: `run_files.read_predictions`.
        label: its name.
        called: (N,) bool, `Run.call`.
    """
    y, p = table[f"y_{label}"].to_numpy(), table[f"p_{label}"].to_numpy()
    order = np.argsort(-p, kind="stable")
    y, called = y[order], called[order]
    hits = order[(y == 1) & called][:HITS]
    missed = order[(y == 1) & ~called][::-1][:ERRORS]
    alarms = order[(y == 0) & called][:ERRORS]
    named = (("hit", hits), ("missed", missed), ("false alarm", alarms))
    return [(label, kind, int(row)) for kind, rows in named for row in rows]


MAX_ERRORS = 16


def worst_errors(predictions, labels, metrics, grade):
    """The most confident errors: a list of dicts `label, kind, probability, pictures, ..`.

    Per label the missed positive of the lowest probability and the false alarm of the highest;
    of grades the calls furthest from the truth, the surest first.
    """
    found = []
    p = predictions[[f"p_{label}" for label in labels]].to_numpy("float64")
    y = predictions[[f"y_{label}" for label in labels]].to_numpy("float64")
    if grade:
        graded = np.flatnonzero(~np.isnan(y).any(axis=1))
        truth, call = y[graded].argmax(axis=1), p[graded].argmax(axis=1)
        sure = p[graded, call]
        order = np.lexsort((-sure, -np.abs(truth - call)))
        for k in [k for k in order if truth[k] != call[k]][:MAX_ERRORS]:
            kind = f"grade {truth[k]} called {call[k]}"
            found.append((f"grade_{call[k]}", kind, graded[k], sure[k], None))
    for k, label in enumerate(() if grade else labels):
        threshold = metrics["labels"][label]["threshold"]
        if threshold is None:
            continue
        missed = np.flatnonzero((y[:, k] == 1) & (p[:, k] < threshold))
        alarms = np.flatnonzero((y[:, k] == 0) & (p[:, k] >= threshold))
        if missed.size:
            row = missed[np.argmin(p[missed, k])]
            found.append((label, "missed", row, p[row, k], threshold))
        if alarms.size:
            row = alarms[np.argmax(p[alarms, k])]
            found.append((label, "false alarm", row, p[row, k], threshold))
    errors = []
    for label, kind, row, probability, threshold in found[:MAX_ERRORS]:
        record = predictions.iloc[row]
        names = [record[c] for c in ("image", "image_left", "image_right") if c in predictions]
        entry = {"label": label, "kind": kind, "probability": float(probability)}
        truth = [x for x, v in zip(labels, y[row], strict=True) if v == 1]
        entry |= {"threshold": threshold, "patient": record["patient"], "truth": truth}
        errors.append(entry | {"images": [name for name in names if name], "pictures": []})
    return errors
