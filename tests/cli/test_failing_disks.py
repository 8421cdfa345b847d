"""Whatever step of writing fails, or is the last one before a kill: one line, and whole files."""

import errno
import resource
import shutil

import numpy as np
import pytest
from failing import check_every_step, failing, sampled
from report_runs import write_run
from tiny import main, make_photographs, ready_run, train_only

from fundus_diag import load_run
from fundus_diag.models import build_encoder
from fundus_diag.models.weights import h5
from fundus_diag.utils.errors import DataError

pytestmark = pytest.mark.usefixtures("eager")
MOST = pytest.mark.parametrize(
    "most", [2, pytest.param(12, marks=pytest.mark.slow)], ids=["some", "many"]
)
MANY = pytest.mark.parametrize("most", [pytest.param(12, marks=pytest.mark.slow)], ids=["many"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failing")
    manifest = make_photographs(folder / "photographs", patients=10)
    ready_run(manifest, folder / "run")
    return folder


@pytest.fixture
def opened(folder, monkeypatch):
    """The run, opened once for all tries."""
    run = load_run(folder / "run")
    monkeypatch.setattr("fundus_diag.runs.run.load_run", lambda *_: run)


def words(*parts):
    return [str(x) for x in parts]


@MANY
@pytest.mark.usefixtures("opened")
def test_predict(folder, tmp_path, capsys, most):
    root, out = folder / "photographs", tmp_path / "out"
    out.mkdir()
    (out / "p.csv").write_text("the last good one")
    table = ["--manifest", root / "manifest.csv", "--image-root", root, "--split", "test"]
    command = words("predict", folder / "run", *table, "--out", out / "p.csv")
    check_every_step(lambda: main(command), out, capsys, most)


@MANY
@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("kind", ["csv", "json", "xlsx"])
def test_answers(folder, tmp_path, capsys, most, kind):
    out, photographs = tmp_path / "out", tmp_path / "in"
    for path in (out, photographs):
        path.mkdir()
    for name in ("000_left.png", "001_left.png"):
        (photographs / name).write_bytes((folder / "photographs" / name).read_bytes())
    for name in (f"a.{kind}", "a_full.csv", "a.html"):
        (out / name).write_text("the last good one")
    command = words("predict", folder / "run", photographs, "--out", out / f"a.{kind}")
    changing = ("a.xlsx",) if kind == "xlsx" else ()  # Excel's files hold the time
    check_every_step(lambda: main(command), out, capsys, min(most, 8), changing)


@MANY
@pytest.mark.usefixtures("opened")
def test_explain(folder, tmp_path, capsys, most):
    out = tmp_path / "out"
    out.mkdir()
    (out / "explanations.csv").write_text("the last good one")
    picture = folder / "photographs" / "000_left.png"
    command = words("explain", folder / "run", "--images", picture, "--out", out)
    check_every_step(lambda: main(command), out, capsys, most)


@MANY
@pytest.mark.usefixtures("undrawn")
def test_report(tmp_path, capsys, monkeypatch, most):
    """Into a folder of its own; looks at test, which the page counts, are counted as one."""
    once = {"times": 1, "first": "today"}
    monkeypatch.setattr("fundus_diag.report.report.count_scoring", lambda *_: once)
    run, out = write_run(tmp_path / "run", n_patients=30), tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("the last good one")
    command = words("report", run, "--out", out, "--resamples", 100)
    check_every_step(lambda: main(command), out, capsys, min(most, 8))


@MOST
@pytest.mark.parametrize(
    "what", [pytest.param("check", marks=pytest.mark.slow), "sample", "split", "merge", "guess"]
)
def test_commands_over_tables(folder, tmp_path, capsys, most, what):
    root, out = folder / "photographs", tmp_path / "out"
    table = root / "manifest.csv"
    out.mkdir()
    written = {"check": "c.html", "guess": "m.toml"}.get(what, "t.csv")
    if what != "guess":  # which writes over nothing
        (out / written).write_text("the last good one")
    command = {
        "check": [table, "--image-root", root, "--page", out / written],
        "sample": [table, "--per-label", 2, "--out", out / written],
        "split": [table, "--out", out / written],
        "merge": [table, "--out", out / written],
        "guess": [table, "--root", root, "--out", out / written],
    }[what]
    again = words("manifest", what, *command)

    def run():
        if what == "guess":
            (out / written).unlink(missing_ok=True)
        return main(again)

    check_every_step(run, out, capsys, min(most, 8))


@MOST
def test_operate(tmp_path, capsys, most):
    run = write_run(tmp_path / "out" / "run", n_patients=30)
    command = words("operate", run, "--criterion", "f1", "--resamples", 100)

    def once():
        for path in run.glob("thresholds_*.json"):
            path.unlink()
        return main(command)

    check_every_step(once, tmp_path / "out", capsys, min(most, 8))


@MANY
@pytest.mark.usefixtures("opened")
def test_recalibrate(folder, tmp_path, capsys, most):
    manifest, out = make_photographs(tmp_path / "local", patients=80, seed=5), tmp_path / "out"
    out.mkdir()
    place = ["--manifest", manifest, "--image-root", manifest.parent]
    command = words("recalibrate", folder / "run", *place, "--out", out / "new")

    def once():
        shutil.rmtree(out / "new", ignore_errors=True)
        return main(command)

    check_every_step(once, out, capsys, min(most, 3))


@MOST
def test_manifest_build(tmp_path, capsys, most):
    root, out = tmp_path / "root", tmp_path / "out"
    for name in ("normal", "cataract"):
        make_photographs(root / name, patients=3)
        (root / name / "manifest.csv").unlink()
    out.mkdir()
    (out / "m.csv").write_text("the last good one")
    command = words("manifest", "build", "folders", "--root", root, "--out", out / "m.csv")
    check_every_step(lambda: main(command), out, capsys, most)


@pytest.mark.slow
def test_export(folder, tmp_path, capsys):
    command = words("export", folder / "run", "--out", tmp_path / "out" / "model")
    command += ["--no-explain", "--overwrite"]
    before = tmp_path / "out" / "model" / "1"  # so all of them replace one
    before.mkdir(parents=True)
    (before / "saved_model.pb").touch()
    with failing(tmp_path / "out") as disk:
        assert main(command) == 0
    for at in sampled(disk.count, 3):
        with failing(tmp_path / "out", at):
            assert main(command) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert [x.name for x in (tmp_path / "out").iterdir()] == ["model"]
        assert (tmp_path / "out" / "model" / "1" / "saved_model.pb").is_file()


@pytest.mark.parametrize("at", [1, 6, pytest.param(12, marks=pytest.mark.slow)])
def test_train(folder, tmp_path, capsys, at):
    """A new run on a disk that fails: nothing half-written is taken for a state later."""
    manifest, run = folder / "photographs" / "manifest.csv", tmp_path / "runs" / "run"
    (tmp_path / "runs").mkdir()
    flags = {"phase2_epochs": 0, "cache": "disk"}
    with failing(tmp_path / "runs", at):
        assert train_only(manifest, run, **flags) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    said = said.splitlines()[-1]
    assert "No space left on device" in said or "no room for the cache" in said
    assert not list((tmp_path / "runs").rglob("*.partial*"))
    assert not list((tmp_path / "runs").rglob(".lock*"))
    if at == 12:
        assert train_only(manifest, run, **flags, resume=True) == 0


@pytest.mark.slow
def test_train_again(folder, tmp_path, capsys):
    manifest, out = folder / "photographs" / "manifest.csv", tmp_path / "runs"
    assert train_only(manifest, out / "run", phase2_epochs=1, deterministic=True) == 0
    flags = {"phase2_epochs": 1, "deterministic": True, "overwrite": True}
    changing = ("config.json", "history.csv", "log.txt", ".npz", "model.weights.h5", ".v2")
    check_every_step(lambda: train_only(manifest, out / "run", **flags), out, capsys, 3, changing)


def test_room_for_weights_is_asked_for_before_hdf5_writes(tmp_path, monkeypatch):
    """HDF5 ends the process, now or later, where a file that it holds cannot be written."""
    encoder = build_encoder("tiny", 32)
    path, written = tmp_path / "a.weights.h5", []
    path.write_text("the last good one")
    monkeypatch.setattr(type(encoder), "save_weights", lambda *args: written.append(args))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=r"a\.weights\.h5: cannot be written: File too large"):
            h5.save(encoder, path, {"source": "here"}, np.arange(9, dtype=np.uint64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert written == []
    assert path.read_text() == "the last good one"
    assert not list(tmp_path.glob(".partial*"))


def test_a_full_disk_is_said_before_the_run_is_opened(folder, tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("fundus_diag.runs.run.load_run", lambda *args: opened.append(args))
    root = folder / "photographs"
    table = ["--manifest", root / "manifest.csv", "--image-root", root]
    command = words("predict", folder / "run", *table, "--out", tmp_path / "p.csv")
    with failing(tmp_path, 1, errno.EROFS):
        assert main(command) == 1
    line = capsys.readouterr().err.strip()
    assert line == f"fundus-diag: {tmp_path / 'p.csv'}: cannot be written: Read-only file system"
    assert main(words("predict", folder / "run", *table, "--out", tmp_path)) == 2
    assert "a folder; name a file to write" in capsys.readouterr().err
    assert opened == []
