"""`fundus-diag export`: what it refuses, and that nothing is lost when it fails."""

import json

import pytest
import tensorflow as tf
from exported import export

from fundus_diag.export import export as exporting
from fundus_diag.runs import freeze
from fundus_diag.utils.errors import DataError


@pytest.fixture
def refused(folder, tmp_path, capsys):
    """Exports what must be refused; returns the one line, and sees that nothing was written."""

    def run(*words, source=None, out=None, status=2):
        before = sorted(tmp_path.rglob("*"))
        assert export(source or folder / "eye", out or tmp_path / "out", *words) == status
        assert sorted(tmp_path.rglob("*")) == before
        lines = [x for x in capsys.readouterr().err.splitlines() if "fundus-diag: " in x]
        assert len(lines) == 1
        assert "Traceback" not in lines[0]
        return lines[0]

    return run


def test_a_run_that_is_not_finished_is_refused(folder, tmp_path, refused):
    config = json.loads((folder / "eye" / "config.json").read_text())
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({**config, "finished": None}))
    assert "config.json: the run is not finished" in refused(source=run, status=1)
    assert "not found; is" in refused(source=tmp_path / "nothing", status=1)


def test_what_a_format_cannot_do_is_said(refused):
    assert "onnx has float32" in refused("--format", "onnx", "--precision", "int8")
    assert "saved_model has float32, auto, bfloat16" in refused("--precision", "int8")
    assert "openvino has float32, int8" in refused("--format", "openvino", "--precision", "auto")
    assert "onnx has no maps" in refused("--format", "onnx", "--no-explain")
    assert "onnx has no versions" in refused("--format", "onnx", "--version", "2")
    for version in ("0", "-3", str(2**63)):
        assert f"--version {version}: must be in [1, {2**63 - 1}]" in refused("--version", version)


@pytest.mark.parametrize(
    ("words", "gone", "message"),
    [
        (["--format", "onnx"], ["tf2onnx", "onnxruntime"],
         "--format onnx: tf2onnx and onnxruntime not installed; pip install '.[onnx]' in the"),
        (["--format", "openvino"], ["openvino"],
         "--format openvino: openvino not installed; pip install '.[openvino]' in the clone"),
        (["--format", "openvino", "--precision", "int8"], ["nncf"],
         "--format openvino --precision int8: nncf not installed"),
    ],
)  # fmt: skip
def test_what_is_not_installed_is_named(refused, monkeypatch, words, gone, message):
    find = exporting.importlib.util.find_spec
    monkeypatch.setattr(
        exporting.importlib.util, "find_spec", lambda x: None if x in gone else find(x) or True
    )
    assert message in refused(*words)


@pytest.fixture
def quick(monkeypatch):
    """Stands for the writing and checking of a SavedModel: a file that says which it is."""

    def write(run, folder, precision, explain):
        (folder / "assets.extra").mkdir()
        (folder / "saved_model.pb").write_text(f"explain {explain}")
        drawn = {"photographs": 8, "largest_difference": 0.0}
        return {"precision": precision, "explain": explain, "drawn": drawn}

    monkeypatch.setattr(exporting, "_saved_model", write)


def kept(out):
    """{version: what the stand-in wrote} of an export."""
    return {x.name: (x / "saved_model.pb").read_text() for x in out.iterdir()}


def test_an_export_is_the_next_version_and_the_others_stay(folder, tmp_path, quick, capsys):
    out, run = tmp_path / "new" / "out", folder / "eye"
    assert export(run, out) == 0
    assert f"{out}/1: saved_model in float32" in capsys.readouterr().out
    assert export(run, out, "--no-explain") == 0
    assert kept(out) == {"1": "explain True", "2": "explain False"}
    record = json.loads((out / "2" / "assets.extra" / "export.json").read_text())
    assert record["model_version"] == 2
    assert export(run, out, "--version", "11") == 0
    assert export(run, out) == 0
    assert sorted(kept(out)) == ["1", "11", "12", "2"]
    assert export(run, out, "--version", "7") == 0
    (out / ".DS_Store").write_text("hidden")
    (out / "012").mkdir()  # the number of another name
    (out / "012").rmdir()
    (out / "0013").mkdir()
    assert export(run, out) == 0
    assert (out / "14" / "saved_model.pb").exists()


def test_a_version_appears_whole(folder, tmp_path, quick, monkeypatch):
    """What a server that looks at the folder sees meanwhile: numbers are versions to it."""
    seen = []

    def look(beside, whole, *_):
        seen.append([x.name for x in out.iterdir() if x.name.lstrip("+-").isdigit()])
        assert whole.parent == out  # one file system: renaming is at once

    out = tmp_path / "out"
    monkeypatch.setattr(exporting, "write_documents", look)
    for _ in range(2):
        assert export(folder / "eye", out) == 0
    assert seen == [[], ["1"]]
    assert sorted(x.name for x in out.iterdir()) == ["1", "2"]


def test_only_an_export_is_overwritten_and_only_when_told(folder, tmp_path, refused, quick):
    out, run = tmp_path / "out", folder / "eye"
    assert export(run, out, "--no-explain", "--overwrite") == 0
    assert export(run, out, "--no-explain") == 0
    assert "exists; --overwrite replaces it" in refused("--version", "1")
    (out / "2" / "variables").mkdir()
    (out / "2" / "variables" / "left over").write_text("of the old one")
    assert export(run, out, "--overwrite") == 0
    assert kept(out) == {"1": "explain False", "2": "explain True"}
    assert not (out / "2" / "variables").exists()
    assert export(run, out, "--overwrite", "--version", "1") == 0
    assert kept(out) == {"1": "explain True", "2": "explain True"}
    (out / "1" / "photograph.jpg").write_bytes(b"mine")
    assert "something else than an export" in refused("--overwrite", "--version", "1")
    other = tmp_path / "other"
    other.mkdir()
    (other / "photograph.jpg").write_bytes(b"mine")
    for words in ([], ["--overwrite"], ["--version", "3"]):
        assert "something else than versions of an export" in refused(*words, out=other)
    assert "not overwritten" in refused("--overwrite", "--format", "onnx", out=out)
    (tmp_path / "file").write_text("mine")
    assert "not a folder" in refused("--overwrite", out=tmp_path / "file")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert export(run, tmp_path / "link", "--overwrite", "--no-explain") == 0
    assert kept(tmp_path / "empty") == {"1": "explain False"}
    assert not list(tmp_path.rglob(".*"))


def test_an_export_that_fails_leaves_the_one_before(folder, tmp_path, refused, quick, monkeypatch):
    out = tmp_path / "out"
    assert export(folder / "eye", out, "--no-explain") == 0
    before = {x: x.read_bytes() for x in out.rglob("*") if x.is_file()}

    def fail(*_):
        raise DataError("broken on the way")

    monkeypatch.setattr(exporting, "write_documents", fail)
    for words in (["--overwrite"], [], ["--version", "5"]):
        assert "broken on the way" in refused(*words, status=1)
    assert "broken on the way" in refused(out=tmp_path / "new" / "folder", status=1)
    assert {x: x.read_bytes() for x in out.rglob("*") if x.is_file()} == before


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device\nand much more"),
    ],
)
def test_a_folder_that_cannot_be_written_is_said(folder, tmp_path, capsys, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(exporting, "write_saved_model", full)
    assert export(folder / "eye", tmp_path / "out") == 1
    line = capsys.readouterr().err.strip()
    assert line.endswith("out/1: cannot be written: No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_a_saved_model_cannot_hold_are_refused(refused, monkeypatch):
    monkeypatch.setattr("keras.Model.count_params", lambda model: 303_000_000)
    line = refused()
    assert "2.3 GiB of weights, more than 2: use --no-explain" in line
    monkeypatch.setattr("keras.Model.count_params", lambda model: 632_000_000)
    assert "use --precision bfloat16, onnx or openvino" in refused("--no-explain")


def test_bfloat16_is_refused_where_the_processor_has_none(refused, monkeypatch):
    monkeypatch.setattr(freeze, "cpu_has_bfloat16", lambda: False)
    assert "--precision bfloat16: this processor has none" in refused("--precision", "bfloat16")
    assert freeze.frozen_precision("auto") == "float32"
    monkeypatch.setattr(freeze, "cpu_has_bfloat16", lambda: True)
    assert freeze.frozen_precision("auto") == "bfloat16"
    monkeypatch.setattr(freeze, "has_gpu", lambda: True)
    assert freeze.frozen_precision("auto") == "float32"
