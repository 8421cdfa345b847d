"""A run that is killed and started again ends as one that never was."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import killed_in_a_write, make_photographs, train_flags, train_only

from fundus_diag.training import checkpoint
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import atomic

TINY = Path(tiny.__file__)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Photographs, and a run on them that is done."""
    folder = tmp_path_factory.mktemp("finished")
    manifest = make_photographs(folder / "photographs", patients=20)
    assert train_only(manifest, folder / "run", phase2_epochs=0) == 0
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """(the table, the run) of a copy that may be spoiled."""
    folder = shutil.copytree(finished, tmp_path / "copy")
    return folder / "photographs" / "manifest.csv", folder / "run"


def start(words, program=(str(TINY),)):
    return subprocess.Popen([sys.executable, *program, *words], stderr=subprocess.PIPE, text=True)


def epochs_done(run_dir):
    history = run_dir / "history.csv"
    return max(0, history.read_text().count("\n") - 1) if history.exists() else 0


@pytest.mark.slow
def test_kills_leave_no_trace_in_the_history(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=20)
    flags = {
        "phase1_epochs": 4,
        "phase2_epochs": 10,
        "patience": 0,
        "deterministic": True,
        "reweight": 3.0,
        "mixup": 0.2,
        "ema": 1.0,
        "cache": "disk",
        "cache_dir": tmp_path / "cache",
        "resume": True,
    }
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(train_flags(manifest, whole, **flags))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err

    words = train_flags(manifest, killed, **flags)
    # A kill in phase 1; then, below, one in phase 2 inside a write.
    process = start(words)
    while epochs_done(killed) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "finished before it could be killed"
    before = epochs_done(killed)
    process = start(words, ("-c", killed_in_a_write(TINY, 5)))
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    left = list((killed / "checkpoint").glob(".partial-*"))
    assert left, "the kill did not hit a write"
    assert 0 < before <= epochs_done(killed) < 14

    process = start(words)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "going on after epoch" in err
    for name in ("history.csv", "predictions_val.csv", "thresholds.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert list((killed / "checkpoint").glob(".partial-*")) == []


def test_a_run_goes_on_only_with_the_flags_and_the_table_it_was_started_with(copied, capsys):
    manifest, run_dir = copied
    assert train_only(manifest, run_dir, phase2_epochs=0, resume=True, seed=5) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "--seed" in err
    assert "(0, not 5)" in err
    manifest.write_text(manifest.read_text().replace(",male", ",female"))
    assert train_only(manifest, run_dir, phase2_epochs=0, resume=True) == 1
    assert "has changed since" in capsys.readouterr().err
    manifest.unlink()
    assert train_only(manifest, run_dir, phase2_epochs=0, resume=True) == 1


def test_a_finished_run_is_left_alone_by_resume(copied, capsys):
    manifest, run_dir = copied
    before = (run_dir / "model.weights.h5").stat().st_mtime_ns
    assert train_only(manifest, run_dir, phase2_epochs=0, resume=True) == 0
    assert (run_dir / "model.weights.h5").stat().st_mtime_ns == before
    assert "finished" in capsys.readouterr().err


def test_overwrite_replaces_a_run_and_nothing_else(copied, tmp_path, capsys):
    manifest, run_dir = copied
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    flags = {"phase2_epochs": 0, "overwrite": True}
    assert train_only(manifest, other, **flags) == 2
    assert (other / "thesis.txt").read_text() == "mine"
    assert "something else than a run" in capsys.readouterr().err
    (run_dir / "report.html").write_text("old")
    assert train_only(manifest, run_dir, **flags) == 0
    assert not (run_dir / "report.html").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [x.name for x in tmp_path.iterdir()] == ["a.txt"]


def test_a_state_is_read_back_as_it_was_written_and_older_ones_go(tmp_path):
    arrays = {"model": [np.arange(6.0).reshape(2, 3), np.array(3, np.int64)] * 6}
    checkpoint.save_arrays(tmp_path, "best-00001.npz", {"model": []})
    (tmp_path / "mine.txt").write_text("not of a run")
    checkpoint.save_state(tmp_path, 1, {"model": []}, {"a": 1}, keep=["best-00001.npz"])
    checkpoint.save_state(tmp_path, 2, arrays, {"a": [2]}, keep=["best-00001.npz"])
    left = {x.name for x in tmp_path.iterdir()}
    assert left == {"best-00001.npz", "epoch-00002.npz", "mine.txt"}
    got, facts = checkpoint.load_state(tmp_path)
    assert facts == {"a": [2]}
    for a, b in zip(got["model"], arrays["model"], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_damaged_checkpoint_is_named(tmp_path):
    checkpoint.save_state(tmp_path, 1, {"model": [np.zeros(100)]}, {})
    path = tmp_path / "epoch-00001.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"epoch-00001\.npz: damaged checkpoint"):
        checkpoint.load_state(tmp_path)


def test_a_checkpoint_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "epoch-00001.npz", facts=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="damaged checkpoint"):
        checkpoint.load_state(tmp_path)
