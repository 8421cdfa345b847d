"""Which hits and errors the pages show, against a search through all rows."""

import numpy as np
import pandas as pd
import pytest

from fundus_diag.report.selection import picks, worst_errors

LABELS = ["D", "G", "C"]
GRADES = ["grade_0", "grade_1", "grade_2"]


def predictions(labels, grade, rows=60, seed=0):
    rng = np.random.default_rng(seed)
    p = np.round(rng.random((rows, len(labels))), 2)  # some are equal
    y = (rng.random(p.shape) < 0.4).astype(float)
    if grade:
        p /= p.sum(axis=1, keepdims=True)
        y = np.eye(len(labels))[rng.integers(0, len(labels), rows)]
        y[::9] = np.nan
    else:
        y[rng.random(p.shape) < 0.1] = np.nan
    names = {"image": [f"{k}.jpg" for k in range(rows)], "patient": [str(k) for k in range(rows)]}
    columns = {f"y_{x}": y[:, k] for k, x in enumerate(labels)}
    columns |= {f"p_{x}": p[:, k] for k, x in enumerate(labels)}
    return pd.DataFrame(names | columns), y, p


def metrics_of(labels, thresholds):
    return {"labels": {x: {"threshold": t} for x, t in zip(labels, thresholds, strict=True)}}


def test_of_labels_both_pages_show_the_same_errors_and_none_without_a_threshold():
    table, y, p = predictions(LABELS, grade=False)
    limits = [0.45, 0.6, None]
    want = []
    for k, (label, limit) in enumerate(zip(LABELS[:2], limits[:2], strict=True)):
        rows = range(len(table))
        hits = [r for r in rows if y[r, k] == 1 and p[r, k] >= limit]
        missed = [r for r in rows if y[r, k] == 1 and p[r, k] < limit]
        alarms = [r for r in rows if y[r, k] == 0 and p[r, k] >= limit]
        hits.sort(key=lambda r, k=k: -p[r, k])
        want += [(label, "hit", r) for r in hits[:2]]
        want.append((label, "missed", min(missed, key=lambda r, k=k: p[r, k])))
        want.append((label, "false alarm", max(alarms, key=lambda r, k=k: p[r, k])))
    thresholds = np.array(limits, float)
    assert picks(table, LABELS, thresholds, grade=False) == want
    errors = worst_errors(table, LABELS, metrics_of(LABELS, limits), grade=False)
    assert [(e["label"], e["kind"], int(e["patient"])) for e in errors] == [
        x for x in want if x[1] != "hit"
    ]
    for e in errors:
        assert e["probability"] == p[int(e["patient"]), LABELS.index(e["label"])]
        assert e["threshold"] == limits[LABELS.index(e["label"])]
        assert e["images"] == [f"{e['patient']}.jpg"]


def test_of_grades_an_error_is_a_wrong_call_and_the_surest_comes_first():
    table, y, p = predictions(GRADES, grade=True)
    none = np.full(3, np.nan)
    wrong = [r for r in range(len(table)) if not np.isnan(y[r, 0]) and y[r, p[r].argmax()] == 0]
    wrong.sort(key=lambda r: -p[r].max())
    assert len(wrong) > 16
    errors = worst_errors(table, GRADES, metrics_of(GRADES, [None] * 3), grade=True)
    assert [int(e["patient"]) for e in errors] == wrong[:16]
    for e, r in zip(errors, wrong, strict=False):
        assert e["kind"] == f"grade {y[r].argmax()} called {p[r].argmax()}"
        assert e["label"] == f"grade_{p[r].argmax()}"
        assert e["probability"] == p[r].max()
        assert e["truth"] == [f"grade_{y[r].argmax()}"]
    found = picks(table, GRADES, none, grade=True)
    for k, grade in enumerate(GRADES):
        own = {kind: row for label, kind, row in found if label == grade and kind != "hit"}
        assert own["missed"] == next(r for r in wrong if y[r, k] == 1)
        assert own["false alarm"] == next(r for r in wrong if p[r].argmax() == k)
        hits = [row for label, kind, row in found if (label, kind) == (grade, "hit")]
        right = [r for r in range(len(table)) if y[r, k] == 1 and p[r].argmax() == k]
        assert hits == sorted(right, key=lambda r: -p[r].max())[:2]


def test_a_grade_without_a_column_is_not_the_one_that_was_given():
    table, y, p = predictions(GRADES, grade=True)
    table["y_grade_2"] = np.nan
    shown = worst_errors(table, GRADES, metrics_of(GRADES, [None] * 3), grade=True)
    assert len(shown) > 2
    for e in shown:
        row = int(e["patient"])
        given = int(np.flatnonzero(y[row, :2] == 1)[0])  # grade_2 is in no such row
        assert e["kind"] == f"grade {given} called {p[row].argmax()}"


@pytest.mark.parametrize("grade", [False, True])
def test_where_all_is_right_there_is_no_error(grade):
    labels = GRADES if grade else LABELS
    table, y, _ = predictions(labels, grade=True)
    table[[f"p_{x}" for x in labels]] = np.nan_to_num(y)
    assert worst_errors(table, labels, metrics_of(labels, [0.5] * 3), grade) == []
    kinds = {kind for _, kind, _ in picks(table, labels, np.full(3, 0.5), grade)}
    assert kinds == {"hit"}
