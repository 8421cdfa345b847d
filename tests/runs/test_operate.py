"""Operating points after training: chosen anew on stored predictions, or on a clinic's own."""

import json

import numpy as np
import pandas as pd
import pytest
from report_runs import write_run
from tiny import main, make_photographs, ready_run

from fundus_diag import load_run
from fundus_diag.data.manifest import read_manifest
from fundus_diag.metrics.thresholds import choose_threshold
from fundus_diag.runs import recalibrate as module


def call(*words):
    return main([str(x) for x in words])


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", n_patients=120)


def points_of(run):
    return json.loads((run / "thresholds.json").read_text())


def test_thresholds_are_chosen_on_the_stored_validation(run, capsys):
    before = points_of(run)
    label = next(x for x, e in before["labels"].items() if e["threshold"] is not None)
    words = ["operate", run, "--criterion", "sensitivity=0.9", "--label", label]
    assert call(*words, "--resamples", 100) == 0
    out = capsys.readouterr().out
    after, val = points_of(run), pd.read_csv(run / "predictions_val.csv")
    graded = val[f"y_{label}"].notna()
    y, p = val.loc[graded, f"y_{label}"].to_numpy(), val.loc[graded, f"p_{label}"].to_numpy()
    want = choose_threshold(y, p, "sensitivity", 0.9)
    assert after["labels"][label]["threshold"] == want
    assert after["labels"][label]["criterion"] == "sensitivity=0.9"
    assert (p[y == 1] >= want).mean() >= 0.9
    for other in set(before["labels"]) - {label}:
        assert after["labels"][other] == before["labels"][other]
    assert {x: after["labels"][label][x] for x in ("slope", "intercept")} == {
        x: before["labels"][label][x] for x in ("slope", "intercept")
    }
    assert json.loads((run / "thresholds_1.json").read_text()) == before
    assert f"{(p[y == 1] >= want).mean():.2f} (" in out
    assert "fundus-diag report" in out
    assert call("operate", run, "--criterion", "f1", "--resamples", 100) == 0
    assert json.loads((run / "thresholds_2.json").read_text()) == after
    assert points_of(run)["criterion"] == "f1"
    assert all("criterion" not in x for x in points_of(run)["labels"].values())
    assert call("report", run, "--no-explain", "--resamples", 100) == 0


def test_without_a_criterion_choices_are_shown_and_nothing_changes(run, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    label = list(points_of(run)["labels"])[0]
    words = ["--label", label, "--prevalence", f"{label}=.05", "--resamples", 100]
    assert call("operate", run, *words) == 0
    out = capsys.readouterr().out
    for text in ("f1, now", "sensitivity=0.9", "specificity=0.95", "at 0.05", "flatters"):
        assert text in out
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_of_grades_the_threshold_of_those_who_are_referred_is_chosen(tmp_path, capsys):
    run = write_run(tmp_path / "grades", task="grade")
    before, val = points_of(run), pd.read_csv(run / "predictions_val.csv")
    words = ["--criterion", "specificity=0.9", "--referable-cut", 3, "--resamples", 100]
    assert call("operate", run, *words) == 0
    out, after = capsys.readouterr().out, points_of(run)
    p = val["p_grade_3"] + val["p_grade_4"]
    ill = (val["y_grade_3"] + val["y_grade_4"]).to_numpy() == 1
    point = after["referable"]
    assert (point["cut"], point["criterion"]) == (3, "specificity=0.9")
    assert point["threshold"] == choose_threshold(ill, p.to_numpy(), "specificity", 0.9)
    assert (p[~ill] < point["threshold"]).mean() >= 0.9
    assert f"referable ({ill.sum()} of {len(ill)})" in out
    assert {**after, "referable": 0} == {**before, "referable": 0}
    assert call("operate", run, "--label", "grade_1") == 2
    assert "--label grade_1: the run has referable" in capsys.readouterr().err
    assert call("operate", run, "--referable-cut", 9) == 2
    assert "--referable-cut 9: a grade from 1 to 4" in capsys.readouterr().err
    assert call("operate", write_run(tmp_path / "other"), "--referable-cut", 2) == 2
    assert "--referable-cut: only for --task grade" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--criterion", "youden"], 2, "is none of f1, sensitivity=S, specificity=S"),
        (["--label", "Z"], 2, "--label Z: the run has"),
        (["--prevalence", "0.05"], 2, "LABEL=SHARE is asked for"),
        (["--prevalence", "{label}=5"], 2, "between 0 and 1"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(run, capsys, words, status, message):
    label = list(points_of(run)["labels"])[0]
    assert call("operate", run, *(x.format(label=label) for x in words)) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    (run / "predictions_val.csv").unlink()
    assert call("operate", run, "--criterion", "f1") == 1
    assert "predictions_val.csv: not found" in capsys.readouterr().err
    assert not (run / "thresholds_1.json").exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    manifest = make_photographs(folder / "photographs", patients=10)
    ready_run(manifest, folder / "run")
    make_photographs(folder / "local", patients=80, seed=5)
    return folder


@pytest.mark.slow
def test_a_clinic_fits_what_its_own_photographs_can_tell(folder, tmp_path, capsys, monkeypatch):
    table = pd.read_csv(folder / "local" / "manifest.csv")
    table["patient"] = "clinic-" + table["patient"]
    table.loc[table["B"] == 1, "B"] = np.where(np.arange((table["B"] == 1).sum()) < 20, 1, np.nan)
    table.to_csv(folder / "local" / "few.csv", index=False)
    words = ["--manifest", folder / "local" / "few.csv", "--image-root", folder / "local"]
    out = tmp_path / "new"
    assert call("recalibrate", folder / "run", *words, "--out", out) == 0
    said = capsys.readouterr().out
    before, after = points_of(folder / "run"), points_of(out)
    assert after["labels"]["B"] == before["labels"]["B"]
    assert "label B: 20 positives and " in said
    assert "fewer than 30 of one: left as it was" in said
    assert after["labels"]["A"]["positives"] == int((table["A"] == 1).sum())
    old, new = load_run(folder / "run"), load_run(out)
    files = [folder / "local" / name for name in table["image"]]
    y = table["A"].to_numpy()
    logit = np.log(old.predict(files)[:, 0] / (1 - old.predict(files)[:, 0]))
    p = new.predict(files)[:, 0]
    assert p.mean() == pytest.approx(y.mean(), abs=1e-6)  # an intercept by maximum likelihood
    assert np.corrcoef(np.log(p / (1 - p)), logit)[0, 1] > 0.9999  # the network is the same
    for a, b in zip(old.model.get_weights(), new.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kept = pd.read_csv(out / "predictions_local.csv")
    np.testing.assert_allclose(kept["p_A"], p, atol=1e-6)
    record = json.loads((out / "config.json").read_text())["recalibrated"]
    assert record["labels"] == ["A"]
    assert record["rows"] == len(table)
    assert str(folder) not in json.dumps(record)
    assert call("predict", out, folder / "local", "--out", tmp_path / "a.csv", "--no-page") == 0
    assert call("operate", out, "--criterion", "sensitivity=0.9", "--resamples", 100) == 0


def test_the_comparison_is_on_patients_that_the_fit_has_not_seen(folder, tmp_path, monkeypatch):
    seen = []
    real = module.calibration.fit_operating_points
    monkeypatch.setattr(
        module.calibration,
        "fit_operating_points",
        lambda y, *rest, **more: seen.append(len(y)) or real(y, *rest, **more),
    )
    compared, compare = [], module._compare

    def noted(run, trial, y, logits, patients, *rest):
        compared.append(patients)
        return compare(run, trial, y, logits, patients, *rest)

    monkeypatch.setattr(module, "_compare", noted)
    run = load_run(folder / "run")
    manifest = folder / "local" / "manifest.csv"
    module.recalibrate(run, manifest, manifest.parent, tmp_path / "new")
    table = read_manifest(manifest).table
    other = table[~table["patient"].isin(set(compared[0]))]
    assert seen == [len(other), len(table)]
    assert 0.4 < len(set(compared[0])) / table["patient"].nunique() < 0.6


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (lambda t: t.head(40), 1, "no label has 30 positives and as many negatives"),
        (lambda t: t.drop(columns=["A", "B"]), 1, "no label has 30"),
    ],
)
def test_a_table_that_cannot_be_fitted_to_leaves_nothing(
    folder, tmp_path, capsys, change, status, message
):
    path = folder / "local" / "other.csv"
    change(pd.read_csv(folder / "local" / "manifest.csv")).to_csv(path, index=False)
    words = ["--manifest", path, "--image-root", folder / "local", "--out", tmp_path / "new"]
    assert call("recalibrate", folder / "run", *words) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "x").touch()
    assert call("recalibrate", folder / "run", *words) == 2
    assert "is there already; name a new folder" in capsys.readouterr().err
