"""`--resume` needs --run-dir alone: what is not said again is as it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import main

from fundus_diag.cli.resume import resumed
from fundus_diag.runs.same_flags import check_same
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.utils.errors import DataError, UsageError


def started(tmp_path, kind, **flags):
    """A run's config.json with these flags, and its folder."""
    part = {"rows": 1, "patients": 1, "positives": {}, "negatives": {}, "ungraded": {}}
    facts = {
        "encoder": "se_xception_small", "image_size": 64, "unit": "eye", "task": "multi_label",
        "weights": "none", "seed": 7, "crop": "none", "labels": ["A"], "pretrained": False,
        "versions": {}, "data": {"sha256": "1", "splits": {"train": part}}, "finished": None,
    }  # fmt: skip
    facts |= {} if kind == "train" else {"kind": "pretraining"}
    given = {"manifest": "/data/m.csv", "image_root": "/data", "run_dir": "/old/run"}
    facts["flags"] = given | {"resume": False, "overwrite": True, "cache_dir": None} | flags
    (tmp_path / "config.json").write_text(json.dumps(facts))
    return str(tmp_path)


def test_a_run_goes_on_by_its_folder_alone(tmp_path):
    folder = started(tmp_path, "train", dropout=1, encoder_options=["a=1"], mixup=None)
    for words in (["--run-dir", folder], [f"--run-dir={folder}"], ["--run_dir", folder]):
        found = resumed(["train", "--resume", *words])["train"]["config"]
        assert isinstance(found, TrainConfig)
        assert (str(found.manifest), str(found.run_dir)) == ("/data/m.csv", folder)
        assert (found.encoder, found.image_size, found.seed) == ("se_xception_small", 64, 7)
        assert (found.dropout, found.encoder_options, found.mixup) == (1, ("a=1",), None)
        assert found.augment is True  # an older run does not say it
    assert resumed(["train", "--run-dir", folder]) == {}
    assert resumed(["report", "--resume", "--run-dir", folder]) == {}
    assert resumed([]) == {}
    folder = started(tmp_path, "pretrain", splits=["train", "val"], epochs=5)
    found = resumed(["pretrain", "--resume", "--run-dir", folder])["pretrain"]["config"]
    assert isinstance(found, PretrainConfig)
    assert (found.splits, found.epochs, str(found.image_root)) == (("train", "val"), 5, "/data")


def test_a_switch_that_is_not_given_is_as_in_the_run(tmp_path, monkeypatch, capsys):
    from fundus_diag.cli import train as module

    seen = []
    monkeypatch.setattr(module, "import_tensorflow", lambda *backends: None)
    monkeypatch.setattr(module, "check_start", lambda config: None)

    def train_run(config, hosts, dry_run):
        seen.append(config)
        raise UsageError("enough")

    monkeypatch.setattr("fundus_diag.training.train.train", train_run)
    switches = {"augment": False, "deterministic": True}
    folder = started(tmp_path, "train", dropout=0.1, **switches)
    for words in ([], ["--no-augment"], ["--deterministic"], ["--dropout", "0.1"]):
        assert main(["train", "--run-dir", folder, "--resume", *words]) == 2
        assert (seen[-1].dropout, seen[-1].seed) == (0.1, 7)
        assert (seen[-1].augment, seen[-1].deterministic) == (False, True)
        assert (seen[-1].resume, seen[-1].overwrite) == (True, False)
        assert "enough" in capsys.readouterr().err
    folder = started(tmp_path, "train", augment=True, deterministic=False)
    words = ["--no-augment", "--deterministic"]
    count = len(seen)
    assert main(["train", "--run-dir", folder, "--resume", *words]) == 2
    said = capsys.readouterr().err
    assert "--no-augment (not given then)" in said
    assert "--deterministic (not given then)" in said
    assert len(seen) == count


PROGRAM = """
import sys
from fundus_diag.cli import main
status = main(sys.argv[1:])
print(status, *sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


def test_all_flags_that_differ_are_named_at_once_without_tensorflow(tmp_path):
    """And which of them are of a phase that is over."""
    folder = started(tmp_path, "train", phase1_epochs=2, phase1_rate=1e-3, phase2_rate=1e-4)
    given = ["--seed", "8", "--phase1-rate", ".1", "--phase1-epochs", "3", "--phase2-rate", ".2"]
    words = ["train", "--run-dir", folder, "--resume", *given]

    def said():
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "2"
        (line,) = done.stderr.splitlines()
        return line

    line = said()
    assert line.startswith(f"fundus-diag: the run in {folder} was started with other flags: ")
    for part in ("--seed (7, not 8)", "--phase1-rate (0.001, not 0.1)", "--phase1-epochs (2, not 3",
                 "--phase2-rate (0.0001, not 0.2)"):  # fmt: skip
        assert part in line
    (tmp_path / "history.csv").write_text("epoch,phase,loss\n1,1,.5\n2,1,.5\n")
    line = said()
    assert "--phase1-rate (0.001, not 0.1; phase 1 is finished)" in line
    assert "--phase2-rate (0.0001, not 0.2)" in line
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"finished": "2026-01-01"}))
    assert "is finished, and was started with other flags: " in said()


@pytest.mark.parametrize(
    ("history", "over"),
    [
        (None, False),
        ("epoch,phase\n1,1\n", False),
        ("epoch,phase\n1,1\n2,1\n", True),
        ("epoch,phase\n1,2\n", True),
        ("epoch\n1\n", False),
        ("\x00", False),
        ("", False),
    ],
)
def test_whether_phase_1_is_finished_is_told_by_the_history(tmp_path, history, over):
    folder = Path(started(tmp_path, "train", phase1_epochs=2, phase1_rate=1e-3))
    if history is not None:
        (folder / "history.csv").write_text(history)
    before = json.loads((folder / "config.json").read_text())
    given = TrainConfig("m", "r", folder, phase1_rate=0.5)
    with pytest.raises(UsageError) as caught:
        check_same(given, before)
    assert ("phase 1 is finished" in str(caught.value)) == over


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dropout": "much"}, "config.json: flag dropout: input should be a valid number"),
        ({"encoder_options": "x"}, "flag encoder_options: "),
        ({"encoder_options": [3]}, "flag encoder_options.0: "),
        ({"augment": 1}, "flag augment: "),
        ({"grade_head": "x"}, "flag grade_head: "),
        ({"manifest": 3}, "flag manifest: "),
    ],
)
def test_flags_of_a_run_that_nobody_could_have_given_are_refused(tmp_path, flags, message):
    folder = started(tmp_path, "train", **flags)
    with pytest.raises(DataError, match=message):
        resumed(["train", "--run-dir", folder, "--resume"])


def test_a_folder_without_a_run_is_said_only_where_no_table_is_named(tmp_path):
    words = ["train", "--run-dir", str(tmp_path), "--resume"]
    assert resumed([*words, "--manifest", "m.csv"]) == {}
    with pytest.raises(UsageError, match="no run to go on with"):
        resumed(words)
