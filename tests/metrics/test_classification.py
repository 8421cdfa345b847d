import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as skm

from fundus_diag.metrics import bootstrap, classification, grades

LABELS = list("NDGCAHMO")


def made_up(n=240, n_labels=5, seed=0, ungraded=0.1):
    """Predictions with ties, gaps, a label of one class and patients of one to three rows."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, n_labels)) < np.linspace(0.1, 0.6, n_labels)).astype(float)
    p = np.round(np.clip(0.7 * rng.random((n, n_labels)) + 0.25 * y, 0, 1), 2)
    y[rng.random(y.shape) < ungraded] = np.nan
    y[:, -1] = np.where(np.isnan(y[:, -1]), np.nan, 0)
    patients = np.sort(rng.integers(0, n // 2, n)).astype(str)
    return y, p, classification.call(p, np.full(n_labels, 0.45)), patients


def by_sklearn(truth, score, called):
    """Every figure of one label over rows that are repeated, not weighted."""
    if not 0 < truth.sum() < truth.size:
        return None
    place = np.minimum((score * 15).astype(int), 14)
    gaps = [abs((score - truth)[place == b].sum()) for b in range(15)]
    tn, fp, _, _ = skm.confusion_matrix(truth, called, labels=[0, 1]).ravel()
    options = {"zero_division": np.nan}
    one_call = called.min() == called.max()
    return {
        "roc_auc": skm.roc_auc_score(truth, score),
        "average_precision": skm.average_precision_score(truth, score),
        "accuracy": skm.accuracy_score(truth, called),
        "precision": skm.precision_score(truth, called, **options),
        "recall": skm.recall_score(truth, called, **options),
        "f1": skm.f1_score(truth, called, **options),
        "specificity": skm.recall_score(truth, called, pos_label=0, **options),
        "false_positive_rate": fp / (fp + tn),
        "mcc": np.nan if one_call else skm.matthews_corrcoef(truth, called),
        "brier": np.mean((score - truth) ** 2),
        "ece": sum(gaps) / truth.size,
        "npv": skm.precision_score(truth, called, pos_label=0, **options),
    }


def test_every_figure_in_every_resample_equals_scikit_learn_on_the_repeated_rows():
    y, p, called, patients = made_up()
    statistic = classification.statistic(y, p, called, official=True)
    ours = bootstrap.distribution(statistic, patients, 12, seed=3, width=5)
    weights = np.concatenate(list(bootstrap.resamples(patients, 12, seed=3)), axis=1)
    assert {"roc_auc", "mcc", "ece"} <= set(classification.FIGURES)
    compared = 0
    for k, w in enumerate(weights.T):
        rows = np.repeat(np.arange(len(y)), w)
        truth, score, call = y[rows], p[rows], called[rows]
        graded = ~np.isnan(truth)
        for label in range(4):
            use = graded[:, label]
            want = by_sklearn(truth[use, label], score[use, label], call[use, label])
            for name in classification.FIGURES:
                got = ours[f"labels.{name}"][k, label]
                assert got == pytest.approx(want[name], abs=1e-9, nan_ok=True), name
                compared += 1
        want = by_sklearn(truth[graded], score[graded], call[graded])
        for name in set(classification.FIGURES) - {"ece"}:
            assert ours[f"micro.{name}"][k] == pytest.approx(want[name], abs=1e-9)
        whole = graded.all(axis=1)
        exact = (truth == call)[whole].all(axis=1).mean()
        assert ours["exact_match"][k] == pytest.approx(exact, abs=1e-9)
        wrong = (truth != call)[graded].mean()
        assert ours["hamming"][k] == pytest.approx(wrong, abs=1e-9)
        flat, above = truth[graded], score[graded] > 0.5
        kappa, f1 = skm.cohen_kappa_score(flat, above), skm.f1_score(flat, above, average="micro")
        auc = skm.roc_auc_score(flat, score[graded])
        want = {"kappa": kappa, "f1": f1, "auc": auc, "final": (kappa + f1 + auc) / 3}
        for name, value in want.items():
            assert ours[f"odir.{name}"][k] == pytest.approx(value, abs=1e-9), name
    assert compared == 12 * 4 * len(classification.FIGURES)


def test_areas_equal_a_count_of_pairs_and_a_sum_over_thresholds():
    y, p, called, _ = made_up(ungraded=0.3)
    got = classification.statistic(y, p, called)(np.ones((len(y), 1)))
    for k in range(4):
        use = ~np.isnan(y[:, k])
        truth, score = y[use, k] == 1, p[use, k]
        pairs = np.sign(score[truth][:, None] - score[~truth])
        assert got["labels.roc_auc"][0, k] == pytest.approx((1 + pairs).mean() / 2, abs=1e-12)
        area, last = 0, 0
        for t in sorted(set(score), reverse=True):
            recall = (score[truth] >= t).mean()
            area += (recall - last) * truth[score >= t].mean()
            last = recall
        assert got["labels.average_precision"][0, k] == pytest.approx(area, abs=1e-12)


def test_figures_of_a_table_counted_by_hand():
    y = np.array([[1, 1, 1, 0, 0, 0, 0, 0, np.nan]]).T
    p = np.array([[0.9, 0.8, 0.1, 0.7, 0.2, 0.2, 0.2, 0.2, 0.9]]).T
    got = classification.statistic(y, p, classification.call(p, [0.5]))(np.ones((9, 1)))
    got = {name[7:]: v[0, 0] for name, v in got.items() if name.startswith("labels.")}
    want = {"accuracy": 6 / 8, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3}
    want |= {"specificity": 4 / 5, "false_positive_rate": 1 / 5, "npv": 4 / 5}
    want |= {"mcc": (2 * 4 - 1 * 1) / np.sqrt(3 * 3 * 5 * 5), "roc_auc": 10 / 15}
    want |= {"brier": (0.01 + 0.04 + 0.81 + 0.49 + 4 * 0.04) / 8}
    want |= {"ece": (0.1 + 0.2 + 0.9 + 0.7 + 0.8) / 8, "average_precision": (1 + 1 + 3 / 8) / 3}
    assert got == pytest.approx(want)


def test_what_is_undefined_is_nan_and_never_a_number():
    y = np.array([[1, 0, np.nan, 1], [1, 0, np.nan, 0], [1, 0, np.nan, 1.0]])
    p = np.array([[0.2, 0.3, 0.4, 0.2]] * 3)
    called = classification.call(p, [0.5, 0.5, 0.5, np.nan])
    got = classification.statistic(y, p, called)(np.ones((3, 1)))
    figures = {name: got[f"labels.{name}"][0] for name in classification.FIGURES}
    assert np.isnan(figures["roc_auc"][:3]).all()
    assert figures["roc_auc"][3] == 0.5
    assert figures["recall"][0] == 0
    for name in ("recall", "f1", "precision", "mcc"):
        assert np.isnan(figures[name][1]), name
    for name in classification.FIGURES:
        assert np.isnan(figures[name][2]), name
    for name in set(classification.COUNTED) - {"brier", "ece"}:
        assert np.isnan(figures[name][3]), name


@pytest.mark.parametrize("broken", [2.0, -1.0])
def test_values_that_are_no_labels_are_refused(broken):
    with pytest.raises(ValueError, match="y_true may hold only 0, 1 and NaN"):
        classification.statistic([[broken]], [[0.5]], [[1.0]])


def test_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"got \(3, 2\), \(3, 1\), \(3, 1\)"):
        classification.statistic(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros((3, 1)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30))
def test_order_of_rows_does_not_matter_and_areas_turn_round_with_the_scores(seed, n):
    rng = np.random.default_rng(seed)
    y = rng.choice([0, 1, np.nan], (n, 3), p=[0.5, 0.4, 0.1])
    p = rng.integers(0, 6, (n, 3)) / 5
    called, one = classification.call(p, np.full(3, 0.5)), np.ones((n, 1))
    order = rng.permutation(n)
    got = classification.statistic(y, p, called, official=True)(one)
    again = classification.statistic(y[order], p[order], called[order], official=True)(one)
    for name, values in got.items():
        np.testing.assert_allclose(again[name], values, atol=1e-12)
    turned = classification.statistic(1 - y, 1 - p, 1 - called)(one)
    for name in ("roc_auc", "accuracy", "mcc", "brier"):
        np.testing.assert_allclose(turned[f"labels.{name}"], got[f"labels.{name}"], atol=1e-12)
    np.testing.assert_allclose(turned["labels.specificity"], got["labels.recall"], atol=1e-12)


def test_a_weight_is_a_repeated_row():
    y, p, called, _ = made_up(60)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    rows = np.repeat(np.arange(60), weights)
    weighted = classification.statistic(y, p, called, official=True)(weights[:, None])
    repeated = classification.statistic(y[rows], p[rows], called[rows], official=True)(
        np.ones((len(rows), 1))
    )
    for name, values in repeated.items():
        np.testing.assert_allclose(weighted[name], values, atol=1e-12)


def test_quadratic_kappa_and_accuracy_of_grades_equal_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 300)
    called = np.clip(truth + rng.integers(-1, 3, 300), 0, 4)
    weights = rng.integers(0, 3, (300, 6))
    got = grades.grade_statistic(truth, called, 5)(weights)
    for k, w in enumerate(weights.T):
        rows = np.repeat(np.arange(300), w)
        kappa = skm.cohen_kappa_score(truth[rows], called[rows], weights="quadratic")
        assert got["grade.kappa"][k] == pytest.approx(kappa, abs=1e-12)
        assert got["grade.accuracy"][k] == pytest.approx((truth == called)[rows].mean())
    constant = grades.grade_statistic(np.zeros(4, int), np.zeros(4, int), 5)(np.ones((4, 1)))
    assert np.isnan(constant["grade.kappa"][0])


def test_scores_equal_to_the_priors_get_the_known_odir_figures(data_dir):
    table = pd.read_excel(data_dir / "odir5k" / "ODIR-5K_Training_Annotations.xlsx")
    y = table[LABELS].to_numpy(float)
    p = np.broadcast_to(y.mean(axis=0), y.shape)
    got = classification.statistic(y, p, classification.call(p, np.full(8, 0.5)), official=True)(
        np.ones((len(y), 1))
    )
    want = {"kappa": 0, "f1": 0.853, "auc": 0.757, "final": 0.537}
    assert {k: got[f"odir.{k}"][0] for k in want} == pytest.approx(want, abs=0.001)
