import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as skm
from test_classification import made_up

from fundus_diag.metrics import bootstrap, classification, curves, evaluate
from fundus_diag.metrics.calibration import apply_calibration, fit_operating_points
from fundus_diag.metrics.operating import reached


def table_of(y, p, patients, labels, **columns):
    frame = {"patient": patients} | columns
    frame |= {f"y_{x}": y[:, k] for k, x in enumerate(labels)}
    return pd.DataFrame(frame | {f"p_{x}": p[:, k] for k, x in enumerate(labels)})


def points_of(labels, thresholds):
    entries = {
        x: {"threshold": t, "slope": 1.0, "intercept": 0.0, "positives": 5, "negatives": 5}
        for x, t in zip(labels, thresholds, strict=True)
    }
    return {"split": "val", "criterion": "f1", "labels": entries}


def test_a_macro_figure_is_undefined_where_one_of_its_labels_is():
    values = np.array([[0.8, 0.6, np.nan], [0.8, np.nan, 0.1]])
    got = classification.mean_of_defined(values, np.array([True, True, False]))
    np.testing.assert_array_equal(got, [0.7, np.nan])
    assert np.isnan(classification.mean_of_defined(values, np.zeros(3, bool))).all()

    rng = np.random.default_rng(0)
    y = (rng.random((200, 2)) < 0.5).astype(float)
    y[:, 1] = np.arange(200) < 1  # one positive: a third of the resamples have none
    points = points_of("ab", [0.5, 0.5])
    train = {"positives": {"a": 1, "b": 1}, "negatives": {"a": 1, "b": 1}}
    table = table_of(y, rng.random((200, 2)), np.arange(200), "ab")
    got = evaluate.score_table(table, ["a", "b"], points, train, n_resamples=200)
    undefined = got["bootstrap"]["undefined"]
    assert undefined["macro.roc_auc"] == undefined["labels.b.roc_auc"]
    assert 40 < undefined["macro.roc_auc"] < 110
    assert got["macro"]["roc_auc_ci"] is None
    assert got["labels"]["a"]["roc_auc_ci"] is not None


def test_the_score_table_holds_macro_prior_and_subgroups_by_its_own_rules():
    y, p, _, patients = made_up(300)
    y[:, 4] = np.where(np.isnan(y[:, 4]), np.nan, 0)
    labels = list("abcde")
    points = points_of(labels, [0.45, 0.45, None, 0.45, 0.45])
    train = {"positives": dict(zip(labels, (10, 20, 30, 40, 0), strict=True))}
    train["negatives"] = dict(zip(labels, (90, 80, 70, 60, 0), strict=True))
    ages = np.where(np.arange(300) < 150, 30.0, 75.0)
    ages[:4] = 1  # a placeholder, as published tables hold it
    table = table_of(y, p, patients, labels, age=ages, sex=np.where(ages > 40, "f", "m"))
    got = evaluate.score_table(table, labels, points, train, n_resamples=120)

    aucs = [got["labels"][x]["roc_auc"] for x in labels]
    assert aucs[4] is None
    assert got["macro"]["roc_auc"] == pytest.approx(np.mean(aucs[:4]))
    assert got["macro"]["n_labels"] == 4
    assert got["labels"]["c"]["f1"] is None
    assert got["macro"]["f1_n_labels"] == 3
    assert got["odir"] == dict.fromkeys(("kappa", "f1", "auc", "final"))
    low, high = got["labels"]["a"]["roc_auc_ci"]
    assert low < aucs[0] < high
    assert "ece_ci" not in got["labels"]["a"]

    prior = got["prior_only"]["labels"]
    assert [prior[x]["prior"] for x in labels] == pytest.approx([0.1, 0.2, 0.3, 0.4, None])
    share = np.nanmean(y[:, 0])
    assert prior["a"]["roc_auc"] == 0.5
    assert prior["a"]["average_precision"] == pytest.approx(share)
    assert prior["a"]["f1"] == pytest.approx(2 * share / (1 + share))
    assert prior["e"]["brier"] is None

    names = [group["name"] for group in got["subgroups"]["age"]]
    assert names == ["under 40", "70 and over", "not given"]
    young = got["subgroups"]["age"][0]
    rows = ages == 30
    use = [k for k in range(4) if 5 <= np.nansum(y[rows, k]) <= (~np.isnan(y[rows, k])).sum() - 5]
    want = [
        skm.roc_auc_score(y[rows, k][~np.isnan(y[rows, k])], p[rows, k][~np.isnan(y[rows, k])])
        for k in use
    ]
    assert young["roc_auc"] == pytest.approx(np.mean(want))
    assert young["labels"] == [labels[k] for k in use]
    assert got["subgroups"]["age"][2]["roc_auc"] is None


def test_a_specificity_asked_for_leaves_the_prior_only_model_no_call():
    y, p, _, patients = made_up(100, 2)
    y[:, 1] = y[:, 0]
    points = points_of("ab", [0.4, 0.4]) | {"criterion": "specificity=0.9"}
    train = {"positives": {"a": 1, "b": 1}, "negatives": {"a": 9, "b": 9}}
    got = evaluate.score_table(table_of(y, p, patients, "ab"), ["a", "b"], points, train, 0)
    assert got["prior_only"]["labels"]["a"]["recall"] == 0
    assert got["prior_only"]["labels"]["a"]["specificity"] == 1
    assert "roc_auc_ci" not in got["labels"]["a"]


def test_grades_are_scored_as_grades():
    rng = np.random.default_rng(0)
    grade = rng.integers(0, 4, 200)
    labels = [f"grade_{k}" for k in range(5)]  # grade 4 never occurs
    logits = rng.normal(size=(200, 5)) - np.abs(np.arange(5) - grade[:, None])
    y = np.eye(5)[grade]
    points = fit_operating_points(y, logits, labels, task="grade")
    p = apply_calibration(logits, points, labels)
    train = {"positives": dict.fromkeys(labels, 10), "negatives": dict.fromkeys(labels, 40)}
    train["positives"]["grade_2"] = 30
    table = table_of(y, p, np.arange(200) // 2, labels)
    got = evaluate.score_table(table, labels, points, train, n_resamples=100, grade=True)
    call = p.argmax(axis=1)
    part = got["grade"]
    assert part["accuracy"] == pytest.approx((call == grade).mean())
    assert part["kappa"] == pytest.approx(skm.cohen_kappa_score(grade, call, weights="quadratic"))
    np.testing.assert_array_equal(
        part["confusion"], skm.confusion_matrix(grade, call, labels=range(5))
    )
    recall = skm.recall_score(grade, call, labels=range(4), average="macro")
    assert part["recall"] == pytest.approx(recall)
    assert part["recall_n_grades"] == 4
    aucs = [skm.roc_auc_score(grade == k, p[:, k]) for k in range(4)]
    assert part["roc_auc"] == pytest.approx(np.mean(aucs))
    assert part["kappa_ci"][0] < part["kappa"] < part["kappa_ci"][1]
    assert got["prior_only"]["grade"]["accuracy"] == pytest.approx((grade == 2).mean())
    assert got["prior_only"]["grade"]["kappa"] == pytest.approx(0, abs=1e-12)

    refer, two_up = p[:, 2:].sum(axis=1) >= points["referable"]["threshold"], grade >= 2
    part = part["referable"]
    assert part["recall"] == pytest.approx(refer[two_up].mean())
    assert part["specificity"] == pytest.approx(1 - refer[~two_up].mean())
    assert part["precision"] == pytest.approx(two_up[refer].mean())
    assert part["npv"] == pytest.approx(1 - two_up[~refer].mean())
    assert part["roc_auc"] == pytest.approx(skm.roc_auc_score(two_up, p[:, 2:].sum(axis=1)))
    assert part["recall_ci"][0] < part["recall"] < part["recall_ci"][1]
    assert (part["cut"], part["support"], part["graded"]) == (2, two_up.sum(), 200)


def test_predictive_values_where_half_are_ill_give_those_at_any_share():
    y, p, _, patients = made_up(300, 2, ungraded=0)
    y[:, 1] = y[:, 0]
    train = {"positives": {"a": 1, "b": 1}, "negatives": {"a": 9, "b": 9}}
    table = table_of(y, p, patients, "ab")
    got = evaluate.score_table(table, ["a", "b"], points_of("ab", [0.4, 0.4]), train, 400)
    entry = got["labels"]["a"]
    for share in (0.05, y[:, 0].mean(), 0.6):
        want = reached(y[:, 0], p[:, 0], 0.4, patients, 400, 0, prevalence=share)
        for name, odds in (("precision", share / (1 - share)), ("npv", (1 - share) / share)):
            half = entry[f"{name}_at_half"], *entry[f"{name}_at_half_ci"]
            value, low, high = (x * odds / (x * odds + 1 - x) for x in half)
            assert value == pytest.approx(want[name][0])
            assert [low, high] == pytest.approx(want[name][1], abs=2e-3)


def test_curves_end_where_the_figures_say():
    y, p, _, patients = made_up(300, ungraded=0)
    truth, score = y[:, 2] == 1, p[:, 2]
    x, height = curves.roc_points(truth, score)
    assert np.trapezoid(height, x) == pytest.approx(skm.roc_auc_score(truth, score), abs=1e-12)
    recall, precision = curves.precision_recall_points(truth, score)
    area = np.sum(np.diff(recall, prepend=0) * precision)
    assert area == pytest.approx(skm.average_precision_score(truth, score), abs=1e-12)
    grid, low, high = curves.roc_band(truth, score, patients)
    inside = np.interp(grid[1:-1], *curves.roc_points(truth, score))
    assert ((low[1:-1] - 0.02 <= inside) & (inside <= high[1:-1] + 0.02)).all()
    mean, share, low, high = curves.reliability_points(truth, score)
    assert ((low <= share + 1e-12) & (share <= high + 1e-12)).all()
    assert (np.diff(mean) > 0).all()
    few = np.array([True, False, False])
    assert curves.roc_band(few, np.array([0.1, 0.2, 0.3]), np.arange(3)) is None


def test_the_band_of_a_roc_curve_holds_the_middle_95_percent_of_resamples():
    """Each resample by scikit-learn on repeated rows, read off at the rates of the grid."""
    y, p, _, patients = made_up(80, 2, ungraded=0)
    truth, score = y[:, 0] == 1, np.round(p[:, 0], 1)
    truth[:20] = True
    heights = []
    weights = np.concatenate(list(bootstrap.resamples(patients, 200, seed=5)), axis=1)
    grid = np.linspace(0, 1, 101)
    for w in weights.T:
        rows = np.repeat(np.arange(80), w)
        x, height, _ = skm.roc_curve(truth[rows], score[rows], drop_intermediate=False)
        # Where the curve rises on the spot, its highest point there.
        x, last = np.unique(x[::-1], return_index=True)
        heights.append(np.interp(grid, x, height[::-1][last]))
    ordered = np.sort(heights, axis=0)
    got, low, high = curves.roc_band(truth, score, patients, seed=5)
    np.testing.assert_array_equal(got, grid)
    # Five of two hundred lie beyond each end.
    for end, below, above in ((low, 4, 5), (high, 194, 195)):
        assert (ordered[below] - 1e-12 <= end).all()
        assert (end <= ordered[above] + 1e-12).all()
    assert (high - low)[5:60].mean() > 0.1


def test_wilson_interval_of_a_bin_equals_the_roots_of_its_equation():
    truth = np.array([True] * 3 + [False] * 17)
    mean, share, low, high = curves.reliability_points(truth, np.full(20, 0.2))
    assert mean == pytest.approx([0.2])
    assert share == pytest.approx([0.15])
    z2 = 1.959963984540054**2
    roots = np.sort(np.roots([1 + z2 / 20, -(2 * 0.15 + z2 / 20), 0.15**2]))
    assert [low[0], high[0]] == pytest.approx(roots)


def test_another_figure_is_one_row_of_a_table(monkeypatch):
    def for_(c):
        called = c["tn"] + c["fn"]
        return np.divide(c["fn"], called, out=np.full(called.shape, np.nan), where=called > 0)

    monkeypatch.setitem(classification.COUNTED, "omission", for_)
    monkeypatch.setattr(classification, "FIGURES", (*classification.FIGURES, "omission"))
    rng = np.random.default_rng(0)
    y, p = (rng.random((80, 2)) < 0.4).astype(float), rng.random((80, 2))
    labels = ["a", "b"]
    table = table_of(y, p, np.arange(80).astype(str), labels)
    train = {"positives": {"a": 1, "b": 1}, "negatives": {"a": 1, "b": 1}}
    got = evaluate.score_table(table, labels, points_of(labels, [0.3, 0.6]), train, 100)
    for k, (label, threshold) in enumerate(zip(labels, (0.3, 0.6), strict=True)):
        below = p[:, k] < threshold
        assert got["labels"][label]["omission"] == pytest.approx(y[below, k].mean())
        low, high = got["labels"][label]["omission_ci"]
        assert low < got["labels"][label]["omission"] < high
    assert got["macro"]["omission"] == pytest.approx(
        np.mean([got["labels"][x]["omission"] for x in labels])
    )
