"""The same rows, maps and warnings by workers of Ray, whoever is killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import make_photographs, ready_run

from fundus_diag.cli import main
from fundus_diag.runs.predict_ray import PART
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import PARTIAL
from fundus_diag.utils.over_ray import check_engine

SIZE = 64  # px; workers know the encoders of the package alone
# The rows of 4 patients, or photographs, at a time.
BATCH = ["--batch-size", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    manifest = make_photographs(folder / "photographs")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("RAY_ADDRESS", raising=False)
        ready_run(manifest, folder / "run", encoder="se_xception_small", image_size=SIZE)
        yield folder


def words(folder, command, *more, run="run"):
    table = folder / "photographs" / "manifest.csv"
    where = ["--manifest", table, "--image-root", table.parent]
    return [str(x) for x in (command, folder / run, *where, *more)]


def started(words):
    """The command in a process of its own, which Ray's servers end with."""
    command = [sys.executable, "-m", "fundus_diag", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(found, process, seconds=180):
    """Waits for a function to find something while a process runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        here = found()
        if here:
            return here
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"nothing was found: {process.communicate()[0]}")


def descendants(pid):
    """{number: name} of the processes below one."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                text = (entry / "stat").read_text()
                number = int(entry.name)
                parents[number] = int(text.rpartition(")")[2].split()[1])
                names[number] = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
    below, rest = {pid}, True
    while rest:
        rest = {x for x, parent in parents.items() if parent in below} - below
        below |= rest
    return {x: names.get(x, "") for x in below - {pid}}


def kill_a_worker(seconds=180):
    """Kills the first worker of Ray below this process that is seen; its number."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number, name in descendants(os.getpid()).items():
            if name.startswith("ray::") and "Worker" in name:
                os.kill(number, signal.SIGKILL)
                return number
        time.sleep(0.05)
    return None


def same(path, other):
    got, want = pd.read_csv(path), pd.read_csv(other)
    numbers = want.select_dtypes("number").columns
    pd.testing.assert_frame_equal(got.drop(columns=numbers), want.drop(columns=numbers))
    np.testing.assert_allclose(got[numbers], want[numbers], atol=2e-3, rtol=0)  # distances: .001
    scores = [x for x in numbers if x.startswith("p_")]
    np.testing.assert_allclose(got[scores], want[scores], atol=1e-6, rtol=0)
    return len(want)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are not listed here")
def test_rows_are_the_same_whoever_is_killed(folder, tmp_path, capfd):
    pytest.importorskip("ray")
    local, out = tmp_path / "local.csv", tmp_path / "ray.csv"
    assert main(words(folder, "predict", "--out", local, *BATCH)) == 0
    parts = tmp_path / "ray.csv.parts"
    flags = ["--out", out, "--engine", "ray", "--workers", "2", *BATCH]

    # The driver: the parts that were done are kept, and not done again.
    process = started(words(folder, "predict", *flags))
    first = until(lambda: sorted(parts.glob(PART)), process)[0]
    process.kill()
    process.communicate()
    assert not out.exists()
    stamp = first.stat().st_mtime_ns
    kept = len(list(parts.glob(PART)))
    (parts / f"{PARTIAL}99999-000003.csv").write_text("cut of")  # as a kill may leave it
    assert main(words(folder, "predict", *flags[:-1], "2", "--resume")) == 2
    assert "was begun with other batch_size" in capfd.readouterr().err
    assert first.stat().st_mtime_ns == stamp

    # A worker, while the rest is done.
    with ThreadPoolExecutor(1) as pool:
        victim = pool.submit(kill_a_worker)
        assert main(words(folder, "predict", *flags, "--resume")) == 0
        assert victim.result() is not None
    said = capfd.readouterr().err
    assert re.search(rf"going on after {kept} of \d+ parts", said)
    assert same(out, local) == 56
    assert [x.name for x in tmp_path.iterdir() if x.name.startswith("ray.csv")] == ["ray.csv"]


@pytest.mark.slow
def test_maps_and_checks_are_the_same(folder, tmp_path, capsys):
    pytest.importorskip("ray")
    more = ["--split", "test", "--batch-size", "1"]
    for over in ("local", "ray"):
        flags = [*more, "--out", tmp_path / over, "--over", over]
        assert main(words(folder, "explain", *flags)) == 0
    table = (tmp_path / "ray" / "explanations.csv").read_text()
    assert table == (tmp_path / "local" / "explanations.csv").read_text()
    files = sorted(x.name for x in (tmp_path / "local").iterdir())
    assert sorted(x.name for x in (tmp_path / "ray").iterdir()) == files
    for name in (x for x in files if x.endswith(".npz")):
        with np.load(tmp_path / "ray" / name) as got, np.load(tmp_path / "local" / name) as want:
            for key in want.files:
                if want[key].dtype.kind == "f":
                    np.testing.assert_allclose(got[key], want[key], atol=1e-4)
                else:
                    assert (got[key] == want[key]).all()
    capsys.readouterr()
    said = []
    for engine in ("local", "ray"):
        manifest = folder / "photographs" / "manifest.csv"
        where = [str(manifest), "--image-root", str(manifest.parent), "--run", str(folder / "run")]
        assert main(["manifest", "check", *where, "--engine", engine]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


CASES = """
import os, signal, sys
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.over_ray import over_ray

def make(cores):
    def work(item):
        if item == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "refused":
            raise DataError("nothing of this kind")
        print("a note of a worker", file=sys.stderr)
        return item**2
    return work

for items, workers in (([3, 4, 5], 2), ([1, "refused"], 1), (["dies"], 1), ([1], 3)):
    try:
        print(sorted(over_ray(make, items, workers)))
    except ValueError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_cluster_is_used_and_what_its_workers_raise_is_raised_here(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "cases.py").write_text(CASES)
    ray, port = Path(sys.executable).with_name("ray"), "6477"
    given = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": f"127.0.0.1:{port}"}
    flags = ["--head", "--port", port, "--num-cpus", "2", "--include-dashboard=false"]

    def run(*words):
        done = subprocess.run(words, capture_output=True, text=True, env=given)
        assert done.returncode == 0, done.stderr  # Ray has reasons of its own, which it says there
        return done

    run(ray, "start", *flags)
    try:
        found = run(sys.executable, tmp_path / "cases.py")
    finally:
        run(ray, "stop", "--force")
    squares, refused, died, crowded = found.stdout.splitlines()
    assert squares == "[(0, 9), (1, 16), (2, 25)]"
    assert "a note of a worker" in found.stderr
    assert refused == "DataError nothing of this kind"
    assert died.startswith("DataError Ray: workers died again and again: ")
    assert "note: a worker died; it is started again" in found.stderr
    assert crowded == "UsageError --workers 3: the cluster has 2 cores"
    (nobody,) = set(run(sys.executable, tmp_path / "cases.py").stdout.splitlines())
    assert nobody.startswith(f"DataError Ray: RAY_ADDRESS=127.0.0.1:{port} cannot be reached")


def test_flags_of_the_engine_are_refused_before_the_work(folder, tmp_path, capsys, monkeypatch):
    out = ["--out", str(tmp_path / "x.csv")]
    assert main(words(folder, "predict", *out, "--workers", "2")) == 2
    assert "--workers: of --engine ray" in capsys.readouterr().err
    assert main(words(folder, "explain", *out, "--workers", "2")) == 2
    assert "--workers: of --over ray" in capsys.readouterr().err
    assert main(words(folder, "predict", *out, "--engine", "ray", "--workers", "0")) == 2
    assert "--workers 0: at least 1" in capsys.readouterr().err
    photograph = next((folder / "photographs").glob("*.png"))
    assert main(["predict", str(folder / "run"), str(photograph), "--engine", "ray"]) == 2
    assert "--engine ray: of a table" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="Ray is not installed; pip install"):
        check_engine("ray", None)
