"""Training where Keras runs on JAX: the same losses, on one host or two, whoever dies."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import tiny
from tiny import train_only

from fundus_diag.cli import main
from fundus_diag.training import loop
from fundus_diag.training.jax_hosts import NOISE, Hosts
from fundus_diag.utils.errors import UsageError

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: pip install '.[jax]'"
)
# Dropout and augmentation are drawn: nothing but the order of sums may differ.
FLAGS = {"phase1_epochs": 1, "phase2_epochs": 1, "batch_size": 8, "patience": 0, "mixup": 0.2}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return tiny.make_photographs(tmp_path_factory.mktemp("jax") / "photographs")


def on_jax(manifest, run_dir, *more, **flags):
    """A training in a process of its own, in a group that can be killed as a machine."""
    words = tiny.train_flags(manifest, run_dir, **flags)
    given = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    # What one process compiles, for half of its time, the next ones take as it is.
    given |= {"JAX_COMPILATION_CACHE_DIR": str(manifest.parent.parent / "compiled")}
    given |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(
        [sys.executable, tiny.__file__, *words, *map(str, more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=given,
        start_new_session=True,
    )


def ended(process, seconds=240):
    """(exit status, what it said); none may outlive the test."""
    try:
        said, _ = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


def history(run_dir):
    return pd.read_csv(run_dir / "history.csv")


class Stopped(Exception):
    pass


@needs_jax
@pytest.mark.slow
def test_a_run_goes_on_with_the_same_losses_on_either_backend(photographs, tmp_path, monkeypatch):
    run = loop._run_epoch

    def first_alone(fitting, learner, phase, pace):
        if fitting.state["history"]:
            raise Stopped
        run(fitting, learner, phase, pace)

    flags = {**FLAGS, "dropout": 0}  # its masks are each backend's own
    begun = tmp_path / "begun"
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_run_epoch", first_alone)
        with pytest.raises(Stopped):
            train_only(photographs, begun, **flags)
    for name in ("jax", "tensorflow"):
        shutil.copytree(begun, tmp_path / name)
    process = on_jax(photographs, tmp_path / "jax", "--resume", **flags)
    assert train_only(photographs, tmp_path / "tensorflow", resume=True, **flags) == 0
    status, said = ended(process)
    assert status == 0, said
    got, want = history(tmp_path / "jax"), history(tmp_path / "tensorflow")
    assert len(want) == 2
    for column in ("loss", "val_loss", "learning_rate"):
        assert got[column].tolist() == pytest.approx(want[column].tolist(), abs=1e-4)
    table = pd.read_csv(tmp_path / "jax" / "predictions_val.csv")
    other = pd.read_csv(tmp_path / "tensorflow" / "predictions_val.csv")
    for column in ("p_A", "p_B"):
        assert table[column].tolist() == pytest.approx(other[column].tolist(), abs=1e-3)
    # What JAX has trained is a run like any other.
    files = sorted(map(str, photographs.parent.glob("*.png")))[:2]
    out = ["--out", str(tmp_path / "answers.csv")]
    assert main(["predict", str(tmp_path / "jax"), *files, *out]) == 0


@needs_jax
@pytest.mark.slow
def test_two_hosts_are_one_and_go_on_after_a_death(photographs, tmp_path):
    flags = {**FLAGS, "phase1_epochs": 0, "phase2_epochs": 2}
    alone = on_jax(photographs, tmp_path / "alone", **flags)
    status, said = ended(alone)
    assert status == 0, said

    def both(*more, port):
        where = ["--hosts", 2, "--coordinator", f"127.0.0.1:{port}", *more]
        run = tmp_path / "together"
        return [on_jax(photographs, run, "--host-index", k, *where, **flags) for k in range(2)]

    first, second = both(port=6481)
    checkpoint = tmp_path / "together" / "checkpoint"
    end = time.monotonic() + 200
    while not list(checkpoint.glob("epoch-00001.npz")):
        assert time.monotonic() < end
        assert first.poll() is None, ended(first)
        time.sleep(0.02)
    os.killpg(second.pid, signal.SIGKILL)
    status, said = ended(first)
    assert status == 1, said
    (line,) = (x for x in said.splitlines() if x.startswith("fundus-diag: "))
    assert "another host is gone" in line
    assert "--resume" in line
    assert "Traceback" not in said
    ended(second)

    first, second = both("--resume", port=6482)
    for process in (first, second):
        status, said = ended(process)
        assert status == 0, said
    got, want = history(tmp_path / "together"), history(tmp_path / "alone")
    assert len(got) == 2
    for column in ("loss", "val_loss", "val_macro_roc_auc"):
        assert got[column].tolist() == pytest.approx(want[column].tolist(), abs=1e-5)


@needs_jax
@pytest.mark.slow
def test_hosts_that_were_told_different_things_do_not_begin(photographs, tmp_path):
    other = tmp_path / "other" / "manifest.csv"
    shutil.copytree(photographs.parent, other.parent)
    other.write_text(other.read_text().replace(",male,", ",female,", 1))
    where = ["--hosts", 2, "--coordinator", "127.0.0.1:6483", "--host-index"]
    run = tmp_path / "run"
    started = [
        on_jax(table, run, *where, k, **FLAGS) for k, table in enumerate((photographs, other))
    ]
    for process in started:
        status, said = ended(process)
        assert status == 2
        assert "--hosts: the manifest of host 1 is not that of host 0" in said
    assert not run.exists()


def test_flags_of_hosts_are_refused_before_anything_is_read(monkeypatch):
    with pytest.raises(UsageError, match="--hosts: needs KERAS_BACKEND=jax"):
        Hosts(2, 0, "a:1").check()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    Hosts(2, 1, "a:1").check()
    for hosts, what in (
        (Hosts(0), "--hosts 0: at least 1"),
        (Hosts(2, 2, "a:1"), "--host-index 2: from 0 to 1"),
        (Hosts(2, 0), "--hosts: needs --coordinator"),
        (Hosts(1, 0, "a:1"), "--coordinator: of several --hosts"),
        (Hosts(2, 0, "a"), "--coordinator a: not ADDRESS:PORT"),
        (Hosts(2, 0, "a:99999"), "--coordinator a:99999: not ADDRESS:PORT"),
    ):
        with pytest.raises(UsageError, match=what):
            hosts.check()


def test_lines_of_cpp_are_left_out():
    for line in ("F1127 17:12:59.1 12 client.h:80] Terminating", "    @ 0x7f00 f()", "", "RPC: /x"):
        assert NOISE.match(line)
    for line in ("epoch 1 of 3, phase 1, 2 s: loss 0.1", "fundus-diag: --run-dir x: holds a run"):
        assert not NOISE.match(line)
