"""The runs of a plan: begun, gone on with, used again, and lost one at a time."""

import dataclasses
import shutil
import sys
import time

import pandas as pd
import pytest
import trainer
from tiny import make_photographs

from fundus_diag.cli.parsing import parse
from fundus_diag.cli.train import train
from fundus_diag.data.manifest import read_manifest
from fundus_diag.runs import photographs
from fundus_diag.training import trainings
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.plan import read_plan
from fundus_diag.training.trainings import Training, run_all
from fundus_diag.training.watch import duration, time_left
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.flags import words_of

PLAN = """
seeds = [0, 1]
[flags]
encoder = "efficientnet_lite0"
weights = "none"
image_size = 32
phase1_epochs = 0
phase2_epochs = 3
[variants.one]
[variants.other]
image_size = 48
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "COMMAND", (sys.executable, trainer.__file__))
    monkeypatch.setattr(trainings, "LOOK_EVERY", 0.02)
    make_photographs(tmp_path / "photographs", patients=20)
    return tmp_path


def found(folder, text=PLAN, **more):
    path = folder / "plan.toml"
    path.write_text(text)
    photographs = folder / "photographs"
    plan = read_plan(path, photographs / "manifest.csv", photographs, **more)
    return trainings.trainings(plan, folder / "out")


def run(folder, text=PLAN, split="val", **more):
    """{(variant, seed): training} of a plan that was run."""
    every = found(folder, text, **more)
    run_all(every, split)
    return {(x.name, x.config.seed): x for x in every}


def calls(folder):
    """What was started since the last look."""
    path = folder / "out" / "calls.txt"
    lines = [x.split() for x in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return [(word, name) for word, name, _ in lines]


def test_each_run_is_trained_and_scored_once_whatever_is_asked_again(folder, capsys):
    first = run(folder)
    assert [x for x, _ in first] == ["one", "other", "one", "other"]  # seed by seed
    assert {x.state for x in first.values()} == {"done"}
    assert {x.done for x in first.values()} == {3}
    names = [x.run_dir.name for x in first.values()]
    assert len(set(names)) == 4
    assert all(x.startswith("efficientnet_lite0-s") for x in names)
    want = [(word, name) for name in names for word in ("train", "report")]
    assert calls(folder) == want
    err = capsys.readouterr().err
    assert "one, seed 0: done" in err
    assert "(4 of 4 runs)" in err
    again = run(folder)
    assert {x.state for x in again.values()} == {"reused"}
    assert calls(folder) == []
    assert {x.state for x in run(folder, split="test").values()} == {"done"}
    assert calls(folder) == [("report", name) for name in names]  # scored, not trained


def test_runs_of_other_photographs_of_the_same_names_are_not_used(folder):
    done = next(iter(run(folder).values()))
    here = folder / "photographs"
    table = read_manifest(here / "manifest.csv", need_split=True).table
    photographs.write(done.run_dir, photographs.take(table, here, ("train", "val", "test")))
    moved = here.rename(folder / "moved")
    plan = read_plan(folder / "plan.toml", moved / "manifest.csv", moved)
    again = trainings.trainings(plan, folder / "out")
    run_all(again, "val")
    assert {x.state for x in again} == {"reused"}
    one = moved / table["image"][3]
    shutil.copyfile(moved / table["image"][4], one)
    again = trainings.trainings(plan, folder / "out")
    with pytest.raises(DataError, match=f"photographs have changed .*: {table['image'][3]}"):
        run_all(again, "val")


def test_what_decides_a_run_is_in_its_name_and_what_does_not_is_not(folder):
    first = [x.run_dir for x in found(folder)]
    same = [
        PLAN.replace("[flags]", '[flags]\ncache = "disk"'),
        PLAN.replace("variants.one", "variants.renamed"),
        PLAN.replace("seeds", 'title = "x"\nseeds'),
    ]
    for text in same:
        assert [x.run_dir for x in found(folder, text)] == first
    changed = PLAN.replace("[flags]", "[flags]\ndropout = 0.1")
    assert not set(first) & {x.run_dir for x in found(folder, changed)}
    one_more = PLAN.replace("[variants.other]", "[variants.other]\nmixup = 0.1")
    other = [x.run_dir for x in found(folder, one_more)]
    assert (other[0], other[2]) == (first[0], first[2])
    assert other[1] != first[1]
    table = folder / "photographs" / "manifest.csv"
    table.write_text(table.read_text().replace("female", ""))
    assert not set(first) & {x.run_dir for x in found(folder)}
    with_weights = PLAN.replace('weights = "none"', 'weights = "a.weights.h5"')
    with pytest.raises(DataError, match="a.weights.h5: no such weights file .variant one.$"):
        found(folder, with_weights)
    (folder / "a.weights.h5").write_bytes(b"one")
    before = [x.run_dir for x in found(folder, with_weights)]
    (folder / "a.weights.h5").write_bytes(b"two")
    assert not set(before) & {x.run_dir for x in found(folder, with_weights)}


def test_one_that_fails_does_not_lose_the_rest_and_is_tried_again(folder, capsys):
    text = PLAN.replace("[variants.other]", "[variants.other]\nlabel_smoothing = 0.9")
    done = run(folder, text)
    assert [x.state for x in done.values()] == ["done", "failed", "done", "failed"]
    assert done["other", 0].reason == "x.png: it is broken"
    assert "other, seed 1: failed: x.png: it is broken (" in capsys.readouterr().err
    assert done["other", 0].log.read_text().startswith("reading photographs")
    calls(folder)
    run(folder, text)
    assert [word for word, _ in calls(folder)] == ["train", "train"]  # those two


def test_one_that_was_killed_goes_on(folder):
    text = PLAN.replace("[variants.other]", "[variants.other]\nlabel_smoothing = 0.5")
    killed = run(folder, text, seeds=[0])
    assert killed["other", 0].state == "failed"
    assert killed["other", 0].done == 1
    (again,) = [x for x in found(folder, text, seeds=[0]) if x.name == "other"]
    trainings.look(again)
    assert (again.state, again.done) == ("waiting", 1)
    done = run(folder, text, seeds=[0])
    assert done["other", 0].state == "done"
    assert (done["other", 0].done_before, done["other", 0].done) == (1, 3)


def test_pretraining_comes_first_and_what_needs_it_falls_with_it(folder):
    text = PLAN.replace("[variants.other]", "[variants.other]\nweights = 'pretrained'")
    pretrain = '[pretrain]\nencoder = "mae_vit_tiny"\nepochs = 2\nwarmup_epochs = 1\n'
    done = run(folder, text + pretrain, seeds=[0])
    assert [x.name for x in done.values()] == ["pretrain", "one", "other"]
    assert {x.state for x in done.values()} == {"done"}
    weights = done["other", 0].config.weights
    assert weights == str(done["pretrain", 0].run_dir / "encoder.weights.h5")
    assert [word for word, _ in calls(folder)] == ["pretrain", "train", "report", "train", "report"]
    more = run(folder, text + pretrain.replace("epochs = 2", "epochs = 3"), seeds=[0])
    assert more["other", 0].run_dir != done["other", 0].run_dir
    assert more["one", 0].run_dir == done["one", 0].run_dir
    every = found(folder, text + pretrain.replace("epochs = 2", "epochs = 4"), seeds=[0])
    every[0].config = dataclasses.replace(every[0].config, rate=0.9)
    every[0].config.run_dir.parent.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainings, "COMMAND", (sys.executable, "-c", "import sys; sys.exit(3)"))
        run_all(every, "val")
    assert [x.state for x in every] == ["failed", "reused", "failed"]
    assert (every[0].reason, every[2].reason) == ("status 3", "its pretraining failed")


def test_a_share_of_the_training_patients_is_drawn_by_seed_and_the_rest_stays(folder):
    text = PLAN.replace("[variants.other]", "[variants.other]\ntrain_share = 0.3")
    every = [x for x in found(folder, text) if x.name == "other"]
    assert not (folder / "out").exists()  # looked at, not run
    for one in every:
        one.table()
    whole = pd.read_csv(folder / "photographs" / "manifest.csv")
    tables = [pd.read_csv(x.config.manifest) for x in every]
    for table in tables:
        patients = table.loc[table["split"] == "train", "patient"].unique()
        assert len(patients) == 3  # of 10
        kept = whole[(whole["split"] != "train") | whole["patient"].isin(patients)]
        assert list(table["image"]) == list(kept["image"])
    assert list(tables[0]["image"]) != list(tables[1]["image"])


def test_eyes_split_on_purpose_are_patients_of_their_own(folder):
    text = PLAN.replace("[variants.other]", "[variants.other]\nsplit_eyes_on_purpose = true")
    one, other = found(folder, text, seeds=[0])
    other.table()
    whole = pd.read_csv(one.config.manifest)
    table = pd.read_csv(other.config.manifest)
    assert list(table["patient"]) == list(table["image"])
    assert (table["split"].value_counts() - whole["split"].value_counts()).abs().max() <= 1
    person = table["image"].str.split("_").str[0]
    apart = table.groupby(person)["split"].nunique()
    assert (apart > 1).any()  # the mistake is made
    assert one.config.manifest == folder / "photographs" / "manifest.csv"


def test_a_configuration_is_said_in_words_that_give_it_again(tmp_path):
    config = TrainConfig(
        *(tmp_path / "a b.csv", tmp_path, tmp_path / "run"),
        encoder="cvt_13",
        encoder_options=("depths=1,1,4", "heads=1,3,6"),
        augment=False,
        deterministic=True,
        phase2_rate=3e-5,
        unfreeze_from="stage2",
        mixup=0.0,
        resume=True,
    )
    args, kwargs = parse(train, words_of(config), "x train")
    assert config in [*args, *kwargs.values()]


def test_time_left_is_told_by_the_epochs_of_the_same_variant():
    config = TrainConfig("a", "b", "c")

    def one(name, **more):
        return Training(name, config, 10, **more)

    waiting = [one("slow"), one("fast")]
    assert time_left(waiting) is None
    slow = one("slow", state="running", done=5, done_before=3, seconds=40.0, started=0.0)
    fast = one("fast", state="done", done=10, seconds=10.0, started=0.0)
    reused = one("third", state="reused", done=10)
    left = time_left([slow, fast, reused, *waiting])
    assert left == pytest.approx(5 * 20 + 10 * 20 + 10 * 1)
    unknown = time_left([slow, fast, one("third")])
    assert unknown == pytest.approx(5 * 20 + 10 * 50 / 12)


def test_time_left_does_not_take_epochs_of_the_head_for_those_of_everything():
    config = TrainConfig("a", "b", "c")

    def one(name, **more):
        return Training(name, config, 35, first=30, **more)

    begun = one("a", state="running", done=30, seconds=70.0, head=60.0, started=0.0)
    assert time_left([begun, one("a")]) is None  # 30 epochs in a minute say nothing of the 5
    begun = one("a", state="running", done=32, seconds=260.0, head=60.0, started=0.0)
    assert time_left([begun, one("a")]) == pytest.approx(3 * 100 + 60 + 5 * 100)
    on_its_way = one("b", state="running", done=7, seconds=20.0, head=20.0, started=0.0)
    assert time_left([begun, on_its_way]) == pytest.approx(3 * 100 + 40 + 5 * 100)
    gone_on = one("a", state="running", done=33, done_before=32, seconds=90.0, started=0.0)
    assert time_left([gone_on, one("a")]) is None  # of phase 1 nothing is known
    alone = Training("head alone", config, 30, first=30)
    assert time_left([begun, alone]) == pytest.approx(3 * 100 + 60)


TWO_PHASES = """
import pathlib, sys, time
run, history = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]) / "history.csv"
for row, file in (("epoch", "begun"), ("1", "phase_1_seen"), ("2", "phase_2_seen")):
    with history.open("a") as out:
        out.write(row + chr(10))
    while not (run / file).exists():
        time.sleep(0.01)
"""


def test_the_seconds_of_phase_1_are_those_until_its_last_epoch_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "COMMAND", (sys.executable, "-c", TWO_PHASES))
    monkeypatch.setattr(trainings, "LOOK_EVERY", 0.01)
    one = Training("a", TrainConfig("a", "b", tmp_path), 2, first=1, started=time.monotonic())
    looks = []

    def show(one):
        looks.append((one.done, one.seconds, one.head))
        name = ("begun", "phase_1_seen", "phase_2_seen")[one.done]
        (tmp_path / name).touch()

    with (tmp_path / "log").open("wb") as log:
        assert trainings.waited(one, [str(tmp_path)], log, show) == 0
    before = [seconds for done, seconds, _ in looks if done < 1]
    assert one.head == before[-1] > 0
    assert [head for done, _, head in looks if done] == [one.head] * sum(x[0] > 0 for x in looks)
    assert one.seconds > one.head


def test_durations():
    said = [duration(x) for x in (40, 89.9, 700, 3600 * 1.5, 11100)]
    assert said == ["40 s", "90 s", "12 min", "1 h 30 min", "3 h 05 min"]
