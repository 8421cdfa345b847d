"""`fundus-diag runs`: what is said of the runs below a folder."""

import csv
import io
import json
import os

import pytest
from report_runs import write_run
from tiny import main

from fundus_diag.cli.runs import table
from fundus_diag.runs.below import FIELDS, runs_below
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.processes import host, started


def finished(folder, **more):
    """A finished classifier with its weights and the scores of val and test."""
    write_run(folder, n_patients=5, task=more.pop("task", "multi_label"))
    (folder / "model.weights.h5").write_bytes(b"x")
    return changed(folder, **more)


def changed(folder, **more):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    return folder


def scored(folder, split, value):
    (folder / f"metrics_{split}.json").write_text(json.dumps({"macro": {"roc_auc": value}}))


def segmenter(folder):
    folder.mkdir(parents=True)
    config = {
        "kind": "segmenter", "encoder": "efficientnet_lite0", "network": "unet", "image_size": 512,
        "patch_size": 256, "overlap": 0.5, "soft_masks": False, "crop": "fundus",
        "classes": ["disc", "cup"], "pretrained": True, "weights": "imagenet",
        "flags": {"phase1_epochs": 1, "phase2_epochs": 4, "manifest": "/data/masked.csv"},
        "data": {"manifest": "/data/masked.csv", "drawn": True}, "finished": "x", "best_epoch": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.weights.h5").write_bytes(b"x")
    (folder / "history.csv").write_text("epoch,phase,val_dice\n1,1,0.4\n2,2,0.6\n3,2,0.5\n")
    figures = [
        {"class": name, "by": by, "dice": dice}
        for name, by, dice in (("disc", "network", 0.9), ("cup", "network", 0.7),
                               ("cup", "second observer", 0.1))
    ]  # fmt: skip
    (folder / "segments_test.json").write_text(json.dumps({"figures": figures}))


@pytest.fixture
def folder(tmp_path):
    """Runs of all kinds and states, and what is none."""
    root = tmp_path / "reports"
    scored(finished(root / "a" / "whole"), "val", 0.81)
    scored(root / "a" / "whole", "test", 0.79)
    finished(root / "a" / "unscored")
    grades = finished(root / "b" / "grades", task="grade")
    (grades / "metrics_test.json").write_text(json.dumps({"grade": {"kappa": 0.5}, "macro": {}}))
    finished(root / "b" / "words", task="multi_label")
    changed(root / "b" / "words", task="findings")
    segmenter(root / "b" / "outlines")
    pre = root / "c" / "pretrained"
    pre.mkdir(parents=True)
    flags = {"epochs": 20, "manifest": "all.csv"}
    config = {"kind": "pretraining", "encoder": "mae_vit_tiny", "image_size": 224}
    config |= {"flags": flags, "data": {}, "finished": None}
    (pre / "config.json").write_text(json.dumps(config))
    (pre / "history.csv").write_text("epoch,loss\n1,0.9\n2,0.8\n")
    running = changed(finished(root / "c" / "running"), finished=None, best_epoch=None)
    pid = os.getppid()
    lock = {"pid": pid, "host": host(), "start": started(pid), "since": "now"}
    (running / ".lock").write_text(json.dumps(lock))
    (finished(root / "d" / "cut") / "config.json").write_text('{"enco')
    (finished(root / "d" / "emptied") / "model.weights.h5").unlink()
    (finished(root / "d" / "odd") / "history.csv").write_text("a,b\n1,2\n")
    changed(finished(root / "d" / "none"), encoder=3)
    # Of no run: somebody's, and what `export` copies.
    for name, content in (("mine", {"a": 1}), ("exported", {"flags": {}, "finished": "x"})):
        (root / "e" / name).mkdir(parents=True)
        (root / "e" / name / "config.json").write_text(json.dumps(content))
    hidden = root / ".hidden"
    finished(hidden / "run")
    (root / "a" / "whole" / "checkpoint").mkdir()
    finished(root / "a" / "whole" / "checkpoint" / "inner")
    return root


def test_every_run_is_told_with_its_state_and_figures(folder):
    found = {x["run"]: x for x in runs_below(folder)}
    assert list(found) == sorted(found)
    assert set(found) == {
        "a/whole", "a/unscored", "b/grades", "b/words", "b/outlines", "c/pretrained", "c/running",
        "d/cut", "d/emptied", "d/odd", "d/none",
    }  # fmt: skip
    assert all(tuple(x) == FIELDS for x in found.values())

    def told(name, *fields):
        return tuple(found[name][x] for x in fields)

    state = ("kind", "state", "scored_on_test", "test")
    assert told("a/whole", *state) == ("classifier", "finished", True, 0.79)
    assert told("a/whole", "val", "encoder", "image_size", "data") == (
        0.81, "se_xception", 128, "odir",
    )  # fmt: skip
    assert told("a/unscored", *state) == ("classifier", "finished", False, None)
    history = list(csv.DictReader((folder / "a/unscored/history.csv").read_text().splitlines()))
    (kept,) = [x for x in history if x["epoch"] == "9"]  # its best_epoch
    assert found["a/unscored"]["val"] == float(kept["val_macro_roc_auc"])
    assert found["a/unscored"]["epochs"] == len(history)
    assert told("b/grades", *state) == ("grades", "finished", True, 0.5)
    assert told("b/words", "kind", "state") == ("findings", "finished")
    assert told("b/outlines", *state) == ("segmenter", "finished", True, pytest.approx(0.8))
    assert told("b/outlines", "val", "epochs", "of", "drawn") == (0.6, 3, 5, True)
    assert told("c/pretrained", *state) == ("pretraining", "interrupted", False, None)
    assert told("c/pretrained", "val", "epochs", "of", "data") == (0.8, 2, 20, "all")
    assert told("c/running", "state") == ("running",)
    best = max(float(x["val_macro_roc_auc"]) for x in history)
    assert found["c/running"]["val"] == best


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("d/cut", "config.json: not readable as JSON"),
        ("d/emptied", "model.weights.h5: is missing, though the run is finished"),
        ("d/odd", "history.csv: no column epoch"),
        ("d/none", "config.json: encoder: "),
    ],
)
def test_a_damaged_run_is_a_row_that_says_so(folder, name, why):
    (row,) = [x for x in runs_below(folder) if x["run"] == name]
    assert row["state"] == "damaged"
    assert f"{folder / name}" in row["problem"]
    assert why in row["problem"]


def test_the_table_has_all_runs_within_80_columns(folder, capsys):
    assert main(["runs", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    shown, _, problems = out.partition(f"\n{folder}")
    assert max(map(len, shown.splitlines())) <= 80
    for heading in ("classifier: val and test in macro ROC AUC", "grades: val and test in kappa",
                    "segmenter: val and test in Dice", "unknown"):  # fmt: skip
        assert f"{heading}\n" in shown
    (line,) = [x for x in shown.splitlines() if x.startswith("  a/whole ")]
    assert line.split()[-3:] == ["0.810", "0.790", "finished"]
    assert problems.count("\n") == 4


def test_long_names_are_folded_and_nothing_is_cut():
    row = dict.fromkeys(FIELDS) | {
        "run": "retina/lite/runs/efficientnet_lite0-s0-00381e258b38", "state": "interrupted",
        "encoder": "efficientnet_lite0", "image_size": 224, "data": "a_table_of_photographs",
        "epochs": 123, "of": 200, "val": 0.5, "test": float("nan"),
    }  # fmt: skip
    for width in (200, 80, 60, 10):
        lines = table([row], width)
        assert max(map(len, lines)) <= max(width, 70)
        columns = [lines[0].index(x) for x in ("encoder", "data", "epochs")]
        ends = [0, *columns]
        for k, text in enumerate((row["run"], "efficientnet_lite0 224", row["data"])):
            cell = [x[ends[k] : ends[k + 1]].strip() for x in lines[1:]]
            assert "".join(cell).replace(" ", "") == text.replace(" ", "")
    assert len(table([row], 200)) == 2


def test_csv_and_json_have_all_that_is_known(folder, capsys):
    assert main(["runs", str(folder), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["runs", str(folder), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [x["run"] for x in rows] == [x["run"] for x in found]
    assert found == json.loads(json.dumps(runs_below(folder)))
    (row,) = [x for x in rows if x["run"] == "b/outlines"]
    assert (row["state"], row["scored_on_test"], row["of"]) == ("finished", "True", "5")


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    for path, why in ((tmp_path, "no run in it or below it"), (tmp_path / "gone", "not a folder")):
        assert main(["runs", str(path)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"fundus-diag: {path}: {why}")
    with pytest.raises(DataError):
        runs_below(tmp_path / "config.json")


def test_a_run_itself_is_listed(folder):
    (row,) = runs_below(folder / "a" / "whole")
    assert row["run"] == "."
