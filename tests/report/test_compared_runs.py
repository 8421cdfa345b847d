"""The page and tables that hold several runs against each other, recounted by other means."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score
from tiny import main, make_photographs, ready_run

from fundus_diag.metrics.calibration import threshold_of, thresholds_array
from fundus_diag.report import compared_figures
from fundus_diag.report.comparison import compare
from fundus_diag.runs.photographs import write as write_photographs
from fundus_diag.runs.run_files import read_predictions
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.runs.variants import MULTI_LABEL, Variant, _of_patients
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.plotting import STYLE

pytestmark = pytest.mark.slow

LABELS = ["A", "B"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of eyes and of patients with made-up predictions of test, and their photographs."""
    folder = tmp_path_factory.mktemp("comparison")
    manifest = make_photographs(folder / "photographs", patients=60)
    for unit in ("eye", "patient"):
        ready_run(manifest, folder / unit, unit=unit)
        assert main(["report", str(folder / unit), "--no-explain", "--resamples", "100"]) == 0
    for k in range(4):
        copy(folder, "eye", f"run{k}", seed=k, told=k / 2)
    return folder


def copy(folder, source, name, seed=0, told=1.0, edit=None):
    """A run with scores that tell what is there, more or less."""
    shutil.copytree(folder / source, folder / name)
    path = folder / name / "predictions_test.csv"
    table = pd.read_csv(path)
    rng = np.random.default_rng(seed)
    for label in LABELS:
        noise = rng.normal(size=len(table)) + told * table[f"y_{label}"].fillna(0)
        table[f"p_{label}"] = (1 / (1 + np.exp(-noise))).round(6)
    if edit is not None:
        table = edit(table)
    table.to_csv(path, index=False)
    return folder / name


def read(run, unit="eye"):
    table = read_predictions(run / "predictions_test.csv", LABELS, unit)
    points = load_operating_points(run / "thresholds.json")
    return table, thresholds_array(points, LABELS)


def by_hand(run):
    """Macro figures by scikit-learn."""
    table, thresholds = read(run)
    found = {"roc_auc": [], "average_precision": [], "f1": [], "accuracy": []}
    for label, threshold in zip(LABELS, thresholds, strict=True):
        part = table[table[f"y_{label}"].notna()]
        y, p = part[f"y_{label}"], part[f"p_{label}"]
        found["roc_auc"].append(roc_auc_score(y, p))
        found["average_precision"].append(average_precision_score(y, p))
        found["f1"].append(f1_score(y, p >= threshold))
        found["accuracy"].append(accuracy_score(y, p >= threshold))
    return {name: np.mean(values) for name, values in found.items()}


def test_figures_are_means_over_the_runs_of_a_variant_and_differences_those_of_means(folder):
    runs = [folder / f"run{k}" for k in range(4)]
    variants = [
        Variant("weak", tuple(runs[:2]), {"parameters": 1234567}),
        Variant("strong", tuple(runs[2:]), {"parameters": 5}, note="made on purpose"),
    ]
    page, figures, differences = compare(variants, "test", folder / "out", resamples=200)
    means = {}
    for name, part in (("weak", runs[:2]), ("strong", runs[2:])):
        each = pd.DataFrame([by_hand(run) for run in part])
        means[name] = each.mean()
        for figure in each:
            row = figures[(figures["variant"] == name) & (figures["figure"] == figure)].iloc[0]
            assert row["mean"] == pytest.approx(each[figure].mean())
            assert row["deviation"] == pytest.approx(each[figure].std())
            assert row["low"] < row["mean"] < row["high"]
            assert row["runs"] == 2
    for figure in means["weak"].index:
        (row,) = differences[differences["figure"] == figure].to_dict("records")
        assert (row["variant"], row["baseline"]) == ("strong", "weak")
        want = means["strong"][figure] - means["weak"][figure]
        assert row["difference"] == pytest.approx(want)
        assert row["low"] < want < row["high"]
        assert 0 < row["p"] <= 1
    text = page.read_text()
    assert "made on purpose" in text
    assert "1,234,567" in text
    assert f"{means['strong']['roc_auc']:.3f}" in text
    written = json.loads((folder / "out" / "comparison.json").read_text())
    assert written["figures"] == figures.replace({np.nan: None}).to_dict("records")
    for name in ("comparison.csv", "differences.csv", "comparison.png", "roc.png"):
        assert (folder / "out" / name).stat().st_size > 100
    other = compare(variants, "test", folder / "out", baseline="strong", resamples=200)[2]
    assert set(other["variant"]) == {"weak"}
    np.testing.assert_allclose(other["difference"], -differences["difference"])


def test_the_interval_of_a_single_run_is_that_of_its_report(folder):
    run = folder / "run3"
    assert main(["report", str(run), "--no-explain", "--resamples", "1000"]) == 0
    metrics = json.loads((run / "metrics_test.json").read_text())["macro"]
    figures = compare([Variant("one", (run,))], "test", folder / "one")[1].set_index("figure")
    for name in ("roc_auc", "average_precision", "f1", "recall", "accuracy"):
        row = figures.loc[name]
        assert [row["mean"], row["low"], row["high"]] == [metrics[name], *metrics[f"{name}_ci"]]


def test_runs_of_eyes_are_held_against_runs_of_patients_on_patients(folder):
    pairs = copy(folder, "patient", "pairs")
    figures = compare(
        [Variant("eyes", (folder / "run2",)), Variant("pairs", (pairs,))],
        *("test", folder / "mixed"),
        resamples=100,
    )[1]
    truth, _ = read(pairs, "patient")
    eyes, _ = read(folder / "run2")
    means = []
    for label in LABELS:
        known = truth[truth[f"y_{label}"].notna()]
        highest = eyes.groupby("patient")[f"p_{label}"].max()
        means.append(roc_auc_score(known[f"y_{label}"], highest[known["patient"]]))
    row = figures[(figures["variant"] == "eyes") & (figures["figure"] == "roc_auc")].iloc[0]
    assert row["mean"] == pytest.approx(np.mean(means))
    page = (folder / "mixed" / "comparison.html").read_text()
    assert "the higher score of the two eyes" in page
    assert f"{len(truth)} patients" in page


def test_what_has_rows_of_its_own_is_shown_but_not_paired(folder):
    own = copy(folder, "eye", "own", edit=lambda t: t.iloc[3:])
    variants = [
        Variant("own rows", (own,), note="made on purpose", apart=True),
        Variant("one", (folder / "run1",)),
        Variant("other", (folder / "run2",)),
    ]
    page, figures, differences = compare(variants, "test", folder / "apart", resamples=100)
    assert list(dict.fromkeys(figures["variant"])) == ["one", "other", "own rows"]
    assert set(differences["variant"]) == {"other"}
    assert set(differences["baseline"]) == {"one"}
    row = figures[(figures["variant"] == "own rows") & (figures["figure"] == "roc_auc")].iloc[0]
    assert row["mean"] == pytest.approx(by_hand(own)["roc_auc"])
    assert "<b>own rows</b>: made on purpose" in page.read_text()


def test_rows_that_stand_twice_count_twice_and_each_run_may_have_its_own(folder):
    """As val has them that is resampled on purpose: another draw with each seed."""

    def doubled(rows):
        return lambda table: pd.concat([table, table.iloc[rows]]).sort_values("image")

    one = copy(folder, "eye", "twice", seed=1, edit=doubled([0, 3, 3]))
    two = copy(folder, "eye", "thrice", seed=2, edit=doubled([5, 6]))
    variants = [Variant("plain", (folder / "run1",)), Variant("own", (one, two), apart=True)]
    _, figures, _ = compare(variants, "test", folder / "doubled", resamples=100)
    found = figures[figures["variant"] == "own"].set_index("figure")
    for name, want in pd.DataFrame([by_hand(one), by_hand(two)]).mean().items():
        assert found.loc[name, "mean"] == pytest.approx(want)
        assert found.loc[name, "runs"] == 2
    same = copy(folder, "eye", "twice_too", seed=1, edit=doubled([0, 3, 3]))
    pair = [Variant("a", (one,)), Variant("b", (same,))]
    assert (compare(pair, "test", folder / "pair", resamples=100)[2]["difference"] == 0).all()


def test_a_variant_is_held_against_the_one_it_names_and_by_seeds_where_both_have_them(folder):
    runs = [folder / f"run{k}" for k in range(4)]
    variants = [
        Variant("base", (runs[0],)),
        Variant("one", tuple(runs[:2]), seeds=(0, 1)),
        Variant("other", tuple(runs[2:]), seeds=(0, 1), against="one"),
    ]
    page, figures, differences = compare(variants, "test", folder / "against", resamples=100)
    held = differences.drop_duplicates("variant").set_index("variant")["baseline"]
    assert held.to_dict() == {"one": "base", "other": "one"}
    each = [by_hand(run)["roc_auc"] for run in runs]
    gains = np.array([each[2] - each[0], each[3] - each[1]])
    of_auc = differences[differences["figure"] == "roc_auc"].set_index("variant")
    half = 12.7062 * gains.std(ddof=1) / np.sqrt(2)  # t of one degree of freedom
    assert of_auc.loc["other", "seeds_low"] == pytest.approx(gains.mean() - half, rel=1e-4)
    assert of_auc.loc["other", "seeds_high"] == pytest.approx(gains.mean() + half, rel=1e-4)
    assert np.isnan(of_auc.loc["one", "seeds_low"])
    assert "against one" in page.read_text()


def test_the_mean_of_runs_is_a_model_of_its_own_with_thresholds_from_val(folder, capsys):
    runs = [copy(folder, "eye", f"member{k}", seed=k, told=0.8) for k in range(3)]
    tables = {"val": [], "test": []}
    for k, run in enumerate(runs):
        path = run / "predictions_val.csv"
        table = pd.read_csv(run / "predictions_test.csv").iloc[7:]
        rng = np.random.default_rng([1, k])
        for label in LABELS:
            told = table[f"y_{label}"].fillna(0) * 2 + rng.normal(size=len(table))
            table[f"p_{label}"] = (1 / (1 + np.exp(-told))).round(6)
        # The rows of a run may stand in another order.
        table = table.sample(frac=1, random_state=k)
        table.to_csv(path, index=False)
        tables["val"].append(table.set_index("image"))
        tables["test"].append(read(run)[0].set_index("image"))
    words = ["--mean", "--out", str(folder / "mean"), "--resamples", "100"]
    assert main(["report", *map(str, runs), *words]) == 0
    assert "all 3 together: macro ROC AUC " in capsys.readouterr().out
    figures = pd.read_csv(folder / "mean" / "comparison.csv")
    found = figures[figures["variant"] == "all 3 together"].set_index("figure")
    assert set(found["runs"]) == {3}
    found = found["mean"]
    areas, recalls = [], []
    for label in LABELS:
        y = {split: tables[split][0][f"y_{label}"].dropna() for split in tables}
        p = {
            split: sum(t.loc[y[split].index, f"p_{label}"] for t in tables[split]) / 3
            for split in tables
        }
        threshold = threshold_of(y["val"].to_numpy() == 1, p["val"].to_numpy(), "f1")
        areas.append(roc_auc_score(y["test"], p["test"]))
        recalls.append(((p["test"] >= threshold) & (y["test"] == 1)).sum() / y["test"].sum())
    assert found["roc_auc"] == pytest.approx(np.mean(areas))
    assert found["recall"] == pytest.approx(np.mean(recalls))
    assert "thresholds chosen for it on val" in (folder / "mean" / "comparison.html").read_text()
    assert main(["report", str(runs[0]), "--mean"]) == 2
    assert "--mean: of several runs only" in capsys.readouterr().err


def test_of_a_patient_the_higher_score_counts_and_of_health_the_lower():
    eyes = pd.DataFrame(
        {"patient": ["a", "b", "a"], "p_N": [0.9, 0.5, 0.2], "p_D": [0.1, 0.4, 0.7]}
    )
    found = _of_patients(eyes, ["N", "D"]).set_index("patient")
    assert found.loc["a"].to_dict() == {"p_N": 0.2, "p_D": 0.7}
    assert found.loc["b"].to_dict() == {"p_N": 0.5, "p_D": 0.4}


def test_the_command_compares_and_scores_what_was_not(folder, capsys):
    again = copy(folder, "eye", "again")
    (again / "predictions_test.csv").unlink()
    words = ["report", folder / "run0", folder / "run1", again, "--out", folder / "by_command"]
    assert main([str(x) for x in [*words, "--resamples", "100"]]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(folder / "by_command" / "comparison.html")
    assert printed[-4].startswith("run0: macro ROC AUC 0.")
    assert (again / "predictions_test.csv").is_file()
    page = (folder / "by_command" / "comparison.html").read_text()
    assert page.count("<td>again<") == 2  # in both tables


def test_what_cannot_be_compared_is_refused_in_a_line(folder, capsys):
    run = folder / "run0"

    def refused(*words, status=1):
        assert main([str(x) for x in ("report", *words)]) == status
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert refused(run, folder / "run1", status=2).endswith("in a folder of its own: --out DIR")
    line = refused(run, folder / "run1", "--predictions", "x.csv", "--out", "x", status=2)
    assert "--predictions: of one run" in line
    out = ("--out", folder / "refused")
    assert refused(run, folder / "run1", run, *out, status=2).endswith(f"{run}: stands twice")
    # Of other photographs: before any of the two is scored, which test is but once.
    whole, apart = (copy(folder, "eye", x) for x in ("whole", "less"))
    names = list(pd.read_csv(run / "predictions_test.csv", dtype=str)["image"])
    facts = {"split": "test", "patient": "x", "fingerprint": "0"}
    for one, images in ((whole, names), (apart, names[1:])):
        write_photographs(one, [{**facts, "image": x} for x in images])
        (one / "predictions_test.csv").unlink()
    line = refused(whole, apart, *out)
    assert f"{apart}: its test holds other photographs than that of {whole}" in line
    assert line.endswith(f"such as {names[0]}")
    assert not (whole / "predictions_test.csv").exists()
    fewer = copy(folder, "eye", "fewer", edit=lambda t: t.iloc[2:])
    line = refused(run, fewer, *out)
    assert f"{fewer}: its test holds other photographs than that of {run}, such as 0" in line
    turned = copy(folder, "eye", "turned", edit=lambda t: t.assign(y_A=1 - t["y_A"]))
    assert f"{turned}: its test has other labels in the table" in refused(run, turned, *out)
    strange = copy(folder, "eye", "strange", edit=lambda t: t.assign(patient="one"))
    assert f"{strange}: its test has other patients" in refused(run, strange, *out)
    other = copy(folder, "eye", "other")
    config = json.loads((other / "config.json").read_text())
    config["labels"] = ["A", "C"]
    (other / "config.json").write_text(json.dumps(config))
    assert f"{other}: has other labels than {run}" in refused(run, other, *out)
    assert not (folder / "refused").exists()
    with pytest.raises(UsageError, match="^baseline x: no variant; there are one$"):
        compare([Variant("one", (run,))], "test", folder / "refused", baseline="x")
    with pytest.raises(DataError, match="predictions_odd.csv: not found"):
        compare([Variant("one", (run,))], "odd", folder / "refused")


def test_grades_have_figures_of_their_own(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=60, grades=True)
    for name in ("one", "two"):
        ready_run(manifest, tmp_path / name, task="grade")
        assert main(["report", str(tmp_path / name), "--no-explain", "--resamples", "100"]) == 0
    metrics = json.loads((tmp_path / "one" / "metrics_test.json").read_text())["grade"]
    variants = [Variant(x, (tmp_path / x,)) for x in ("one", "two")]
    _, figures, differences = compare(variants, "test", tmp_path / "out", resamples=100)
    one = figures[figures["variant"] == "one"].set_index("figure")["mean"]
    for name in ("accuracy", "kappa", "f1", "precision", "recall", "roc_auc"):
        assert one[name] == pytest.approx(metrics[name])
    assert (differences["difference"] == 0).all()
    assert (differences["p"].dropna() == 1).all()
    assert differences["p"].notna().sum() >= 3  # of the others too few resamples have all grades


def test_no_title_runs_into_its_neighbours_panel(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        compared_figures, "figure_png", lambda size, draw: drawn.update(size=size, draw=draw)
    )
    panels = [(title, np.full((2, 3), 0.5)) for title in MULTI_LABEL.values()]
    compared_figures.forest_png(["by the book", "validation on resampled rows"], panels)
    with rc_context(STYLE):
        figure = Figure(figsize=drawn["size"], layout="constrained", dpi=100)
        drawn["draw"](figure)
        FigureCanvasAgg(figure).draw()
        titles = {" ".join(x.get_text().split()): x for x in figure.findobj(Text)}
        boxes = [titles[title].get_window_extent() for title, _ in panels]
    for left, right in pairwise(boxes):
        assert left.x1 + 5 < right.x0
