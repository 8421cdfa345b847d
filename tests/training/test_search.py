"""A search: its plan, its study, what goes on, what is ended early, what comes of it."""

import os
import sqlite3
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import trainer
from tiny import main, make_photographs

from fundus_diag.cli.config_file import expanded
from fundus_diag.report import search as report_search
from fundus_diag.report.search import write_search
from fundus_diag.runs import speed
from fundus_diag.runs.run import build_model
from fundus_diag.training import search as module
from fundus_diag.training import trainings, trials
from fundus_diag.training.plan import SEARCHES, find_plan
from fundus_diag.training.search import best_configuration, open_study, search
from fundus_diag.training.search_plan import read_search
from fundus_diag.utils.errors import DataError, UsageError

optuna = pytest.importorskip("optuna")
PLAN = """
title = "little ones"
objectives = ["roc_auc", "parameters"]
trials = 5
[flags]
encoder = "efficientnet_lite0"
weights = "none"
phase1_epochs = 0
phase2_epochs = 4
[space]
dropout = { low = 0.1, high = 0.5 }
image-size = { low = 32, high = 64, step = 16 }
mixup = [0.0, 0.2]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "COMMAND", (sys.executable, trainer.__file__))
    monkeypatch.setattr(trainings, "LOOK_EVERY", 0.01)

    def costs(network):
        return {"ms": 2.5, "parameters": network["image_size"]}

    monkeypatch.setattr(module, "costs_apart", costs)
    make_photographs(tmp_path / "photographs", patients=12)
    return tmp_path


def plan_of(folder, text=PLAN, **more):
    path = folder / "search.toml"
    path.write_text(text)
    photographs = folder / "photographs"
    return read_search(path, photographs / "manifest.csv", photographs, **more)


def test_a_search_that_comes_along_can_be_read():
    plan = read_search(find_plan("efficientnet_lite", SEARCHES), "a.csv", "b")
    assert plan.trials == 30
    assert plan.objectives == ("roc_auc", "ms")
    with pytest.raises(DataError, match="^phases: no such file; .*: efficientnet_lite$"):
        find_plan("phases", SEARCHES)


def database(folder):
    return f"sqlite:///{folder / 'study.db'}"


def test_trials_are_drawn_trained_and_scored_and_a_search_goes_on(folder):
    plan = plan_of(folder, trials=3)
    study = search(plan, folder / "out", database(folder))
    assert [x.state.name for x in study.trials] == ["COMPLETE"] * 3
    study = search(plan_of(folder), folder / "out", database(folder))
    assert len(study.trials) == 5
    runs = {x.name for x in (folder / "out" / "runs").iterdir() if x.is_dir()}
    assert {x.user_attrs["run"] for x in study.trials} == runs
    for trial in study.trials:
        assert set(trial.params) == {"dropout", "image_size", "mixup"}
        assert 0.1 <= trial.params["dropout"] <= 0.5
        assert trial.params["image_size"] in (32, 48, 64)
        score, parameters = trial.values
        assert score == pytest.approx(1 - trial.params["dropout"])
        assert parameters == trial.params["image_size"]
        assert len(trial.user_attrs["curve"]) == 4
    assert len(search(plan_of(folder), folder / "out", database(folder)).trials) == 5  # enough


def test_the_page_shows_what_nothing_beats_and_the_choice_can_be_trained(folder):
    plan = plan_of(folder)
    study = search(plan, folder / "out", database(folder))
    page = write_search(plan, study, folder / "out").read_text()
    table = pd.read_csv(folder / "out" / "search.csv")
    assert list(table["roc_auc"]) == sorted(table["roc_auc"], reverse=True)
    points = table[["roc_auc", "parameters"]].to_numpy()
    beaten = [
        (
            (points[:, 0] >= a) & (points[:, 1] <= b) & ((points[:, 0] > a) | (points[:, 1] < b))
        ).any()
        for a, b in points
    ]
    np.testing.assert_array_equal(table["best"], ~np.array(beaten))
    assert "5 trials came to their end" in page
    assert page.count('<tr class="best">') == table["best"].sum()
    for name in ("pareto.png", "importance.png"):
        assert (folder / "out" / name).stat().st_size > 1000
    best = best_configuration(plan, study)
    chosen = tomllib.loads(best)
    first = table.iloc[0]
    assert (chosen["dropout"], chosen["image_size"]) == (first["dropout"], first["image_size"])
    assert (chosen["encoder"], chosen["phase2_epochs"], chosen["seed"]) == (
        "efficientnet_lite0", 4, 0,
    )  # fmt: skip
    (folder / "best.toml").write_text(best)
    words = expanded(["train", "--config", str(folder / "best.toml")])
    assert words[words.index("--image-size") + 1] == str(first["image_size"])
    last = tomllib.loads(best_configuration(plan, study, int(table.iloc[-1]["trial"])))
    assert last["dropout"] == table.iloc[-1]["dropout"]
    with pytest.raises(UsageError, match="trial 99: not one of the 5 finished ones"):
        best_configuration(plan, study, 99)


def test_a_trial_that_was_killed_goes_on_with_what_it_had_drawn(folder, monkeypatch):
    plan = plan_of(folder, trials=1)

    def killed(one, words, log, show, enough):
        one.run_dir.mkdir(parents=True)
        (one.run_dir / "history.csv").write_text("epoch,phase,val_macro_roc_auc\n1,2,0.1\n")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "waited", killed)
        patch.setattr(trials.os, "getpid", lambda: 999_999_999)  # which is gone afterwards
        with pytest.raises(KeyboardInterrupt):
            search(plan, folder / "out", database(folder))
    (left,) = open_study(plan, database(folder)).trials
    assert left.state.name == "RUNNING"
    (done,) = search(plan, folder / "out", database(folder)).trials
    assert (done.state.name, done.params) == ("COMPLETE", left.params)
    assert done.user_attrs["run"] == left.user_attrs["run"]
    calls = (folder / "out" / "calls.txt").read_text().splitlines()
    assert len(calls) == 1
    assert len(done.user_attrs["curve"]) == 4


def test_weights_and_places_of_a_plan_are_those_of_its_folder(folder):
    text = PLAN.replace('weights = "none"', 'weights = "my.weights.h5"\ncache_dir = "/pictures"')
    plan = plan_of(folder, text, trials=1)
    with pytest.raises(DataError, match="my.weights.h5: no such weights file .little ones.$"):
        search(plan, folder / "out", database(folder))
    (folder / "my.weights.h5").write_bytes(b"weights")
    study = search(plan_of(folder, text, trials=2), folder / "out", database(folder))
    chosen = tomllib.loads(best_configuration(plan, study))
    assert chosen["weights"] == str(folder / "my.weights.h5")
    assert chosen["cache_dir"] == "/pictures"


def test_an_undefined_score_is_a_failure_that_says_so(folder, monkeypatch):
    monkeypatch.setattr(module, "_reached", lambda *_: float("nan"))
    study = search(plan_of(folder, trials=1), folder / "out", database(folder))
    (trial,) = study.trials
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["reason"] == "undefined: macro ROC AUC on val, parameters"


def test_those_of_other_machines_and_of_the_living_are_left_alone(folder, capsys):
    study = open_study(plan_of(folder), database(folder))
    for owner in (["elsewhere", 999_999_999, "1"], [trials.host(), os.getpid(), ""]):
        study.ask().set_user_attr("owner", owner)
    with trials.one_left_behind(study, folder) as number:
        assert number is None
    study = search(plan_of(folder, trials=3), folder / "out", database(folder))
    assert [x.state.name for x in study.trials] == ["RUNNING", "RUNNING", "COMPLETE"]
    said = capsys.readouterr().err
    assert "trial 0: begun by process 999999999 on elsewhere, not finished\n" in said


def test_two_that_look_at_once_take_two_trials(folder):
    study = open_study(plan_of(folder), database(folder))
    for _ in range(2):
        study.ask().set_user_attr("owner", [trials.host(), 999_999_999, "1"])
    look = f"""
from pathlib import Path
import optuna
from fundus_diag.training.trials import one_left_behind
study = optuna.load_study(study_name="little ones", storage={database(folder)!r})
with one_left_behind(study, Path({str(folder)!r})) as number:
    print(number)
"""

    def elsewhere():
        return subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stdout

    with trials.one_left_behind(study, folder) as number:
        assert number == 0
        assert elsewhere() == "1\n"
    assert elsewhere() == "0\n"
    # One that was finished after the look at all.
    before = study.trials
    study.tell(0, state=optuna.trial.TrialState.FAIL)
    looks = iter([before])

    class Seen:
        user_attrs = study.user_attrs
        trials = property(lambda _: next(looks, study.trials))

    seen = Seen()
    with trials.one_left_behind(seen, folder) as number:
        assert number == 1


def test_a_trial_whose_training_outlived_its_search_is_left_to_it(folder):
    study = open_study(plan_of(folder), database(folder))
    trial = study.ask()
    trial.set_user_attr("owner", [trials.host(), 999_999_999, "1"])
    trial.set_user_attr("run", "run")
    with trials.one_left_behind(study, folder) as number:
        assert number == 0
    begun = [sys.executable, "-c", f"""
from pathlib import Path
from fundus_diag.runs.lock import locked
with locked(Path({str(folder)!r}) / "run"):
    print("held", flush=True)
    input()
"""]  # fmt: skip
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(begun, **pipes) as held:
        assert held.stdout.readline() == "held\n"
        with trials.one_left_behind(study, folder) as number:
            assert number is None
        held.communicate("\n")
    with trials.one_left_behind(study, folder) as number:
        assert number == 0


@pytest.mark.parametrize(("parameters", "state"), [(30, "PRUNED"), (70, "COMPLETE")])
def test_poor_trials_are_ended_early_where_cheaper_ones_do_better(
    folder, monkeypatch, parameters, state
):
    monkeypatch.setenv("TRAINER_EPOCH", "0.3")
    text = PLAN.replace("low = 0.1, high = 0.5", "low = 0.4, high = 0.5")
    plan = plan_of(folder, text, trials=6)
    study = open_study(plan, database(folder))
    for k in range(5):
        good = optuna.trial.create_trial(
            params={}, distributions={}, values=[0.9 + k / 100, parameters],
            user_attrs={"curve": [0.88, 0.89, 0.9, 0.9], "costs": {"parameters": parameters}},
        )  # fmt: skip
        study.add_trial(good)
    study = search(
        plan_of(folder, plan.path.read_text(), trials=6), folder / "out", database(folder)
    )
    last = study.trials[-1]  # of 32, 48 or 64 parameters
    assert last.state.name == state
    assert (len(last.user_attrs["curve"]) < 4) == (state == "PRUNED")


@pytest.mark.parametrize(("second", "looked_at"), [(4, (12, 13)), (0, range(3, 10))])
def test_no_trial_is_ended_in_phase_1_that_has_another_nor_at_its_end(folder, second, looked_at):
    study = open_study(plan_of(folder), database(folder))
    for _ in range(5):
        study.add_trial(
            optuna.trial.create_trial(
                params={},
                distributions={},
                values=[0.9, 1],
                user_attrs={"curve": [0.9] * 14, "costs": {"parameters": 1}},
            )  # fmt: skip
        )
    config = SimpleNamespace(phase1_epochs=10, phase2_epochs=second)
    poor = trials.poor(study, 99, "roc_auc", {"parameters": 1}, config)
    for done in range(1, 11 + second):
        rows = "".join(f"{e},{1 if e <= 10 else 2},0.5\n" for e in range(1, done + 1))
        (folder / "history.csv").write_text(f"epoch,phase,val_macro_roc_auc\n{rows}")
        one = SimpleNamespace(done=done, run_dir=folder)
        assert poor(one) == (done in looked_at)


def test_epochs_of_phase_2_are_held_against_epochs_of_phase_2(folder):
    study = open_study(plan_of(folder), database(folder))
    for _ in range(5):  # trials whose phase 1 was long
        study.add_trial(
            optuna.trial.create_trial(
                params={},
                distributions={},
                values=[0.9, 1],
                user_attrs={"curve": [0.5, 0.6, 0.7, 0.8], "costs": {"parameters": 1}},
            )  # fmt: skip
        )
    config = SimpleNamespace(phase1_epochs=3, phase2_epochs=4)  # of which it stopped after one
    for second, ended in ((0.59, True), (0.61, False)):
        rows = f"1,1,0.3\n2,2,0.4\n3,2,{second}\n"
        (folder / "history.csv").write_text(f"epoch,phase,val_macro_roc_auc\n{rows}")
        poor = trials.poor(study, 99, "roc_auc", {"parameters": 1}, config)
        assert poor(SimpleNamespace(done=3, run_dir=folder)) == ended
    assert trials.scores_so_far(folder, "roc_auc", 4) == [0.4, 0.61]
    assert trials.scores_so_far(folder, "roc_auc", 0) == [0.3]
    assert trials.scores_so_far(folder, "parameters", 4) == []
    rows = "1,1,0.3\n2,2,\n3,2,0.2\n4,2,0.4\n"
    (folder / "history.csv").write_text(f"epoch,phase,val_macro_roc_auc\n{rows}")
    assert trials.scores_so_far(folder, "roc_auc", 4) == [0.3, 0.3, 0.4]


def test_a_network_is_measured_once_and_one_that_is_none_fails_with_its_reason(folder, monkeypatch):
    measured = []

    def costs(network):
        measured.append(network)
        if len(measured) == 1:
            raise subprocess.CalledProcessError(1, "speed")
        return {"ms": 7.5, "parameters": 3}

    monkeypatch.setattr(module, "costs_apart", costs)
    text = PLAN.replace("image-size = { low = 32, high = 64, step = 16 }", "ema = [0.0, 1.0]")
    plan = plan_of(folder, text.replace('"parameters"]', '"ms", "parameters"]'), trials=4)
    study = search(plan, folder / "out", database(folder))
    first, *others = study.trials
    assert first.user_attrs["reason"] == "undefined: ms a picture, parameters"
    assert {tuple(x.values[1:]) for x in others} == {(7.5, 3.0)}
    assert measured[0] == measured[1]
    assert len(measured) == 2
    assert {"encoder": "efficientnet_lite0", "num_labels": 2, "unit": "eye"}.items() <= (
        measured[0].items()
    )


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_a_network_costs_is_measured_on_it(apart):
    options = ["width=0.25", "depth=0.3"]
    network = {
        "encoder": "efficientnet_lite0",
        "image_size": 32,
        "num_labels": 2,
        "unit": "patient",
    }
    network["encoder_options"] = options
    found = (speed.costs_apart if apart else speed.costs)(network)
    model = build_model(**network)
    assert found["parameters"] == sum(int(np.prod(x.shape)) for x in model.weights)
    assert 0 < found["ms"] < 1000


def test_one_that_fails_says_why_and_does_not_count(folder, capsys):
    text = PLAN.replace("mixup = [0.0, 0.2]", "label_smoothing = [0.0, 0.9]")
    plan = plan_of(folder, text, trials=4)
    study = open_study(plan, database(folder))
    for value in (0.9, 0.0, 0.9):
        study.enqueue_trial({"label_smoothing": value})
    study = search(plan, folder / "out", database(folder))
    states = [x.state.name for x in study.trials]
    assert states[:3] == ["FAIL", "COMPLETE", "FAIL"]
    assert states.count("COMPLETE") == 4 or states.count("FAIL") == 4
    for trial in study.trials:
        assert (trial.state.name == "FAIL") == (trial.params["label_smoothing"] == 0.9)
        if trial.state.name == "FAIL":
            assert trial.user_attrs["reason"] == "x.png: it is broken"
    page = write_search(plan, study, folder / "out").read_text()
    assert "x.png: it is broken" in page


def test_a_study_of_another_search_or_a_locked_one_is_left_as_it_is(folder):
    plan = plan_of(folder, trials=1)
    search(plan, folder / "out", database(folder))
    before = (folder / "study.db").read_bytes()
    table = folder / "photographs" / "manifest.csv"
    whole = table.read_text()
    for text, rows in (
        (PLAN.replace("high = 0.5", "high = 0.6"), whole),
        (PLAN, "".join(whole.splitlines(keepends=True)[:-1])),
    ):
        table.write_text(rows)
        with pytest.raises(DataError, match="study 'little ones' in it looks for something else"):
            search(plan_of(folder, text), folder / "out", database(folder))
        assert (folder / "study.db").read_bytes() == before
    table.write_text(whole)
    renamed = plan_of(
        folder, PLAN.replace('"little ones"', '"others"').replace("0.5", "0.6"), trials=1
    )
    assert len(search(renamed, folder / "out", database(folder)).trials) == 1
    lock = sqlite3.connect(folder / "study.db")
    lock.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DataError, match="study.db.*: the database cannot be used: .*locked"):
        search(plan_of(folder, trials=3), folder / "out", f"{database(folder)}?timeout=0.1")
    lock.close()
    (folder / "no.db").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="no.db: the database cannot be used: "):
        open_study(plan, f"sqlite:///{folder / 'no.db'}")
    for place, said in (
        ("mysql+nothing://me:secret@here/x", "nothing://me:..@here/x: the database cannot be used"),
        ("redis://me:secret@here", "redis://me:..@here: the database cannot be used"),
        ("postgresql+nothing://me:sec/ret@here/x", "//me:..@here/x: the database cannot be used"),
        ("mysql+nothing://here/x?password=secret&a=1", "x?password=..&a=1: the database cannot"),
        ("study.db", "study.db: the database cannot be used"),
    ):
        with pytest.raises(DataError) as caught:
            open_study(plan, place)
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "sec/ret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_of_three_objectives_the_line_is_through_what_is_drawn(folder, monkeypatch):
    axes = [("area", True), ("ms", False)]
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, (40, 2)).astype(float)
    found = report_search._unbeaten(values, axes)
    for k, (area, ms) in enumerate(values):
        beaten = any(a >= area and m <= ms and (a > area or m < ms) for a, m in values)
        assert (k in found) == (not beaten)
    drawn = {}

    def picture(numbers, points, best, axes):
        drawn["best"], drawn["values"] = list(best), points
        return (folder / "a.png").read_bytes()

    (folder / "a.png").write_bytes(b"\x89PNG".ljust(100, b"\0"))
    monkeypatch.setattr(report_search, "pareto_png", picture)
    plan = plan_of(folder, PLAN.replace('"parameters"]', '"parameters", "ms"]'), trials=1)
    study = open_study(plan, database(folder))
    for reached in ([0.9, 10, 5], [0.8, 20, 1], [0.7, 5, 9]):  # the second is best in ms alone
        study.add_trial(
            optuna.trial.create_trial(params={}, distributions={}, values=reached, user_attrs={})
        )
    write_search(plan, study, folder / "out")
    assert drawn["best"] == [0, 2]
    assert list(pd.read_csv(folder / "out" / "search.csv")["best"]) == [True] * 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dropout = {", "dropot = {", "[space]: dropot is no flag"),
        ("low = 0.1, high = 0.5", "low = 0.1, high = 5.0", "[space]: --dropout 5.0: must lie"),
        ("low = 0.1, high = 0.5", "low = 0.5, high = 0.1", "dropout: low below high"),
        ("low = 0.1, high = 0.5", "low = 0.0, high = 0.1, log = true", "dropout: low below high"),
        ("low = 0.1, high = 0.5", "low = 0.1", "dropout: a list of choices, or"),
        ("low = 0.1, high = 0.5", "low = 0.1, high = 0.5, stop = 1", "dropout: a list of choices"),
        ("step = 16", "step = 0", "image_size: step above 0"),
        ("[0.0, 0.2]", "[0.0]", "mixup: a list of choices, or"),
        ("[0.0, 0.2]", "[0.0, 0.0]", "mixup: a choice stands twice"),
        ("[0.0, 0.2]", "[0.0, [1]]", "mixup: choices are numbers"),
        ("[0.0, 0.2]", "['a', 'b']", "[space]: flag mixup: "),
        ("weights =", "dropout = 0.2\nweights =", "dropout stands in [flags] and in [space]"),
        ('"roc_auc", ', '"auc", ', "objectives ['auc', 'parameters']: of roc_auc, "),
        ('"roc_auc", ', '"parameters", ', "each once"),
        ('["roc_auc", "parameters"]', "3", "objectives: a list of"),
        ('"roc_auc", ', '"kappa", ', "objectives: kappa is of --task grade"),
        ("trials = 5", "trials = 0", "trials 0: a whole number from 1"),
        ("trials = 5", "trials = 2.5", "trials 2.5: a whole number from 1"),
        ("title =", "name =", "name: a plan has title"),
        ("[space]", "[spaces]", "spaces: a plan has title"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_before_anything_runs(folder, old, new, said):
    assert PLAN.count(old) == 1
    with pytest.raises(DataError) as caught:
        plan_of(folder, PLAN.replace(old, new))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_writes_page_and_choice(folder, capsys):
    (folder / "search.toml").write_text(PLAN.replace("parameters", "ms"))
    photographs = folder / "photographs"
    words = ["search", folder / "search.toml", "--out", folder / "out", "--trials", 2]
    words += ["--manifest", photographs / "manifest.csv", "--image-root", photographs]
    assert main([str(x) for x in words]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(folder / "out" / "search.html")
    assert "best.toml: Trial " in printed[-2]
    assert "ms a picture 2.5" in printed[0]
    assert (folder / "out" / "study.db").is_file()
    assert main([str(x) for x in [*words, "--choose", 7]]) == 2
    assert "trial 7: not one of the 2 finished ones" in capsys.readouterr().err
