"""Macro means: what a label counts that is never called."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as skm
from test_classification import made_up
from test_evaluate import points_of, table_of

from fundus_diag.metrics import evaluate


def graded(call, grade, n_grades=5):
    """Figures of calls of grades, by `score_table`."""
    labels = [f"grade_{k}" for k in range(n_grades)]
    y, p = np.eye(n_grades)[grade], np.eye(n_grades)[call]
    points = {**points_of(labels, [None] * n_grades), "criterion": "argmax", "temperature": 1.0}
    counts = y.sum(axis=0).astype(int)
    train = {
        "positives": dict(zip(labels, counts.tolist(), strict=True)),
        "negatives": dict(zip(labels, (len(y) - counts).tolist(), strict=True)),
    }
    table = table_of(y, p, np.arange(len(y)), labels)
    return evaluate.score_table(table, labels, points, train, 0, grade=True)


def test_one_answer_for_all_is_worth_its_share_over_the_number_of_grades():
    """RetinaMNIST's test: 174, 46, 92, 68, 20 of 400; always grade 0 has macro precision .087."""
    grade = np.repeat(np.arange(5), [174, 46, 92, 68, 20])
    got = graded(np.zeros(400, int), grade)
    for part in (got["macro"], got["grade"], got["prior_only"]["macro"]):
        assert part["precision"] == pytest.approx(0.435 / 5)
    assert got["macro"]["mcc"] == 0
    assert got["grade"]["precision_n_grades"] == got["grade"]["recall_n_grades"] == 5
    assert got["labels"]["grade_4"]["precision"] is None  # of the grade itself it stays undefined
    assert got["labels"]["grade_4"]["mcc"] is None


def test_never_saying_a_grade_does_not_pay():
    grade = np.repeat(np.arange(4), 10)
    never = np.where(grade == 3, 2, grade)
    once, wrongly = never.copy(), never.copy()
    once[-1], wrongly[0] = 3, 3
    none, right, wrong = (graded(x, grade, 4)["macro"] for x in (never, once, wrongly))
    assert none["precision"] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    for figure in ("precision", "mcc"):
        assert right[figure] > none[figure] >= wrong[figure] - 1e-9
        # Saying it once, wrongly, costs what one wrong answer does, no more.
        assert wrong[figure] == pytest.approx(none[figure], abs=0.06)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_macro_figures_equal_scikit_learns_over_the_grades_that_occur(seed):
    rng = np.random.default_rng(seed)
    grade, call = rng.integers(0, rng.integers(2, 6), 12), rng.integers(0, rng.integers(1, 6), 12)
    got, occur = graded(call, grade)["macro"], np.unique(grade)
    options = {"labels": occur, "average": "macro", "zero_division": 0}
    want = skm.precision_recall_fscore_support(grade, call, **options)
    for figure, value in zip(("precision", "recall", "f1"), want[:3], strict=True):
        assert got[figure] == pytest.approx(value), figure
        assert got[f"{figure}_n_labels"] == len(occur)
    if len(occur) > 1:
        mcc = [skm.matthews_corrcoef(grade == k, call == k) for k in occur]
        assert got["mcc"] == pytest.approx(np.mean(mcc))


def test_a_label_without_a_threshold_enters_no_macro_mean_and_one_out_of_reach_does():
    y, p, _, patients = made_up(100, 4, ungraded=0)
    points = points_of("abcd", [0.4, None, 0.999, 0.4])  # d has no positive
    train = {"positives": dict.fromkeys("abcd", 1), "negatives": dict.fromkeys("abcd", 1)}
    got = evaluate.score_table(table_of(y, p, patients, "abcd"), list("abcd"), points, train, 0)
    assert got["labels"]["c"]["precision"] is None
    assert got["labels"]["d"]["precision"] == 0
    assert got["macro"]["precision"] == pytest.approx(got["labels"]["a"]["precision"] / 2)
    assert got["macro"]["precision_n_labels"] == got["macro"]["recall_n_labels"] == 2


def test_resamples_without_a_call_count_as_the_figure_does():
    """A label called in one row of sixty: a third of the resamples do without it."""
    y = np.tile([[1.0, 1.0], [0.0, 0.0]], (30, 1))
    p = np.full((60, 2), 0.2)
    p[::2, 0] = p[0, 1] = 0.9
    points = points_of("ab", [0.5, 0.5])
    train = {"positives": {"a": 1, "b": 1}, "negatives": {"a": 1, "b": 1}}
    got = evaluate.score_table(table_of(y, p, np.arange(60), "ab"), ["a", "b"], points, train, 200)
    assert got["labels"]["b"]["precision_ci"] is None
    assert got["macro"]["precision_ci"] == [0.5, 1.0]
    assert "macro.precision" not in got["bootstrap"]["undefined"]
