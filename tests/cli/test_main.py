"""Mistakes of a user: one line on stderr that names the place, a status, nothing half-written."""

import json
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pandas as pd
import pytest
from report_runs import write_run
from tiny import main, make_photographs, train_flags, train_only

from fundus_diag import __version__
from fundus_diag.cli.main import COMMANDS
from fundus_diag.cli.parsing import File
from fundus_diag.utils.errors import DataError


def bomb(side=30_000):
    """A PNG of side x side pixels in a few kilobytes."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000, 9)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture
def manifest(tmp_path):
    return make_photographs(tmp_path / "photographs", patients=10)


def edit(manifest, change):
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table = change(table)
    table.to_csv(manifest, index=False)


def set_cell(row, column, value):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


def complain(words, capsys, status):
    """Runs a command that must fail; returns its complaint."""
    assert main(words) == status
    err = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("warning: ")]
    # Of the first screen of a training, and of what it does then.
    err = [x for x in err if not x.startswith(("run ", "  ", "reading photographs"))]
    assert len(err) == 1, err
    assert "Traceback" not in err[0]
    return err[0]


TABLES = {
    "a missing column": (lambda t: t.drop(columns="patient"), ["manifest.csv", "patient"]),
    "a label of 2": (set_cell(3, "A", "2"), ["line 5", "A", "2"]),
    "duplicate rows": (lambda t: pd.concat([t, t.iloc[[4]]]), ["line"]),
    "a patient in two splits": (set_cell(1, "split", "test"), ["p0"]),
    "a path out of the root": (set_cell(2, "image", "../secret.png"), ["line 4", "../secret.png"]),
    "an absolute path": (set_cell(2, "image", "/etc/passwd"), ["/etc/passwd"]),
    "no row in train": (lambda t: t[t["split"] != "train"], ["manifest.csv", "train"]),
    "no row in val": (lambda t: t[t["split"] != "val"], ["manifest.csv", "val"]),
    "a missing photograph": (set_cell(0, "image", "gone.png"), ["gone.png"]),
    "a label that nobody graded": (lambda t: t.assign(C=""), ["'C'", "train"]),
    "a row without a split": (set_cell(0, "split", ""), ["split"]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_table_is_refused_in_one_line(name, manifest, tmp_path, capsys):
    change, expected = TABLES[name]
    edit(manifest, change)
    line = complain(train_flags(manifest, tmp_path / "run"), capsys, status=1)
    assert all(part in line for part in expected), line
    assert not (tmp_path / "run").exists()


PICTURES = {
    "empty": b"",
    "text": b"this is no picture at all, it is a text",
    "huge": bomb(),
}


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_all_unreadable_photographs_are_named_before_training(manifest, tmp_path, capsys, cache):
    folder = manifest.parent
    names = sorted(x.name for x in folder.glob("*.png"))
    for name, content in zip(names, PICTURES.values(), strict=False):
        (folder / name).write_bytes(content)
    (folder / names[3]).write_bytes((folder / names[3]).read_bytes()[:150])  # truncated
    cv2.imwrite(str(folder / names[4]), np.zeros((1, 1, 3), np.uint8))
    line = complain(train_flags(manifest, tmp_path / "run", cache=cache), capsys, status=1)
    assert line.startswith("fundus-diag: 5 photographs cannot be read: ")
    assert all(name in line for name in names[:5])
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_skipped_photographs_are_left_out_and_counted(manifest, tmp_path, capsys):
    table = pd.read_csv(manifest)
    victims = [table[table["split"] == s]["image"].iloc[0] for s in ("train", "val", "test")]
    for victim in victims:
        (manifest.parent / victim).write_bytes(b"")
    run_dir = tmp_path / "run"
    assert train_only(manifest, run_dir, on_bad_image="skip", phase2_epochs=0) == 0
    assert "3 photographs cannot be read" in capsys.readouterr().err
    config = json.loads((run_dir / "config.json").read_text())
    assert sorted(image for image, _ in config["data"]["bad_images"]) == sorted(victims)
    trained = (table["split"] == "train").sum() - 1
    assert config["data"]["splits"]["train"]["rows"] == trained
    val = pd.read_csv(run_dir / "predictions_val.csv")
    assert not set(victims) & set(val["image"])
    assert main(["report", str(run_dir), "--resamples", "100", "--no-explain"]) == 0


def test_a_missing_image_root_is_named(manifest, tmp_path, capsys):
    words = train_flags(manifest, tmp_path / "run")
    words[words.index("--image-root") + 1] = str(tmp_path / "nowhere")
    assert "nowhere" in complain(words, capsys, status=1)


def test_a_folder_in_use_is_refused_without_resume_or_overwrite(manifest, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    line = complain(train_flags(manifest, run), capsys, status=2)
    assert "not empty; name a new folder" in line
    assert [x.name for x in run.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"image_size": "big"}, "--image-size"),
        ({"image_size": 8}, "--image-size 8"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"encoder": "resnet900"}, "--encoder resnet900"),
        ({"weights": "imagenet"}, "--weights imagenet"),
        ({"task": "grade"}, "--task grade"),
        ({"criterion": "luck"}, "luck"),
        (
            {"task": "multi_label", "referable_cut": 2},
            "--referable-cut: only for --task grade",
        ),
        ({"phase1_epochs": 0, "phase2_epochs": 0}, "nothing to train"),
        ({"resume": True, "overwrite": True}, "--resume and --overwrite"),
        ({"reweight": 0.5}, "--reweight 0.5"),
        ({"cutmix": 2}, "--cutmix 2.0"),
        ({"colour": "blue"}, "--colour"),
        ({"unit": "family"}, "--unit"),
    ],
)
def test_a_wrong_flag_is_named(manifest, tmp_path, capsys, flags, expected):
    line = complain(train_flags(manifest, tmp_path / "run", **flags), capsys, status=2)
    assert expected in line
    assert not (tmp_path / "run").exists()


def test_missing_flags_are_named_together(capsys):
    line = complain(["train"], capsys, status=2)
    assert all(x in line for x in ("--manifest", "--image-root", "--run-dir"))


def test_weights_that_do_not_exist_or_fit_are_named(manifest, tmp_path, capsys):
    words = train_flags(manifest, tmp_path / "run", weights=tmp_path / "gone.weights.h5")
    assert "gone.weights.h5" in complain(words, capsys, status=1)
    (tmp_path / "text.weights.h5").write_text("no weights")
    words = train_flags(manifest, tmp_path / "run", weights=tmp_path / "text.weights.h5")
    assert "text.weights.h5" in complain(words, capsys, status=1)


def test_a_label_without_positive_in_train_is_a_warning(manifest, tmp_path, capsys):
    edit(manifest, lambda t: t.assign(C="0"))
    assert train_only(manifest, tmp_path / "run", phase2_epochs=0) == 0
    err = capsys.readouterr().err
    assert "warning: " in err
    assert "'C' has no positive in split 'train'" in err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["repeat_factors"]["C"] == 1
    assert config["data"]["pos_weight"]["C"] == 1


def test_commands_on_what_is_no_run_say_so(manifest, tmp_path, capsys):
    words = ["--manifest", str(manifest), "--image-root", str(manifest.parent)]
    line = complain(
        ["predict", str(tmp_path), *words, "--out", str(tmp_path / "p.csv")], capsys, status=1
    )
    assert "a run directory?" in line
    assert "a run directory?" in complain(["report", str(tmp_path)], capsys, status=1)


def test_a_run_that_is_not_finished_is_neither_scored_nor_used(tmp_path, capsys):
    run_dir = write_run(tmp_path / "run", n_patients=30)
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**config, "finished": None}))
    assert "not finished" in complain(["report", str(run_dir)], capsys, status=1)


def test_manifest_commands_end_with_a_status(manifest, tmp_path, capsys):
    out = tmp_path / "split.csv"
    assert main(["manifest", "split", str(manifest), "--out", str(out), "--seed", "3"]) == 0
    table = pd.read_csv(out)
    assert table.groupby("patient")["split"].nunique().max() == 1
    words = ["manifest", "check", str(manifest), "--image-root", str(manifest.parent)]
    assert main(words) == 0
    table["image"] = table["image"].where(table.index != 3, "gone.png")
    table.to_csv(manifest, index=False)
    capsys.readouterr()
    assert main(words) == 1
    assert "gone.png" in capsys.readouterr().err


def test_the_program_and_its_script_have_help(capsys):
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert main([]) == 0
    assert "not for clinical use" in capsys.readouterr().out
    for command in ("train", "predict", "report", "demo", "draw"):
        assert main([command, "--help"]) == 0
        assert "--" in capsys.readouterr().out
    for command in ("build", "check", "split", "merge"):
        assert main(["manifest", command, "--help"]) == 0
    done = subprocess.run(
        [sys.executable, "train_two_phase.py", "--manifest", "gone.csv", "--image-root", ".",
         "--run-dir", "nowhere"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train_two_phase.py: gone.csv")
    assert len(done.stderr.splitlines()) == 1


def test_another_command_is_a_function_and_a_line(tmp_path, capsys, monkeypatch):

    def count(file: File, /, at_least: int = 0):
        """Count the rows of a table.

        Args:
            file: Table.
            at_least: Fewer are an error.
        """
        rows = len(file.read_text().splitlines()) - 1
        if rows < at_least:
            raise DataError(f"{file}: {rows} rows")
        print(f"{file}: {rows} rows")

    monkeypatch.setitem(COMMANDS, "count", count)
    table = tmp_path / "count.csv"
    table.write_text("image\na\nb\n")
    assert main(["count", str(table)]) == 0
    assert capsys.readouterr().out == f"{table}: 2 rows\n"
    assert main(["count", str(table), "--at-least", "3"]) == 1
    assert capsys.readouterr().err == f"fundus-diag: {table}: 2 rows\n"
    assert main(["count"]) == 2
    assert main(["--help"]) == 0
    assert "Count the rows of a table." in capsys.readouterr().out
