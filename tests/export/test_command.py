"""`fundus-diag export`: what it refuses, and that nothing is lost when it fails."""

import json

import pytest
import tensorflow as tf
from exported import export, make_runs

from fundus_diag.export import export as exporting
from fundus_diag.runs import freeze
from fundus_diag.utils.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"), ("eye",))


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
        (folder / "1" / "assets.extra").mkdir(parents=True)
        (folder / "1" / "saved_model.pb").write_text(f"explain {explain}")
        drawn = {"photographs": 8, "largest_difference": 0.0}
        return {"precision": precision, "explain": explain, "drawn": drawn}

    monkeypatch.setattr(exporting, "_saved_model", write)


def test_only_an_export_is_overwritten_and_only_when_told(folder, tmp_path, refused, quick):
    out = tmp_path / "out"
    assert export(folder / "eye", out, "--no-explain") == 0
    assert "exists; --overwrite replaces it" in refused()
    other = tmp_path / "other"
    other.mkdir()
    (other / "photograph.jpg").write_bytes(b"mine")
    assert "holds something else than an export" in refused("--overwrite", out=other)
    (tmp_path / "file").write_text("mine")
    assert "not a folder" in refused("--overwrite", out=tmp_path / "file")
    (out / "1" / "left over").write_text("of the old one")
    assert export(folder / "eye", out, "--overwrite") == 0
    assert not (out / "1" / "left over").exists()
    assert (out / "1" / "saved_model.pb").read_text() == "explain True"
    assert sorted(x.name for x in tmp_path.iterdir()) == ["file", "other", "out"]
    (out / "2").mkdir()  # another version of somebody's
    assert "holds something else than an export" in refused("--overwrite")
    (tmp_path / "empty").mkdir()
    assert export(folder / "eye", tmp_path / "empty", "--overwrite") == 0
    assert export(folder / "eye", tmp_path / "new" / "folder") == 0
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert export(folder / "eye", tmp_path / "link", "--overwrite", "--no-explain") == 0
    assert (tmp_path / "empty" / "1" / "saved_model.pb").read_text() == "explain False"
    assert not list(tmp_path.glob(".*"))


def test_an_export_that_fails_leaves_the_one_before(folder, tmp_path, refused, quick, monkeypatch):
    out = tmp_path / "out"
    assert export(folder / "eye", out, "--no-explain") == 0
    before = {x: x.read_bytes() for x in out.rglob("*") if x.is_file()}

    def fail(*_):
        raise DataError("broken on the way")

    monkeypatch.setattr(exporting, "write_documents", fail)
    assert "broken on the way" in refused("--overwrite", status=1)
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
    assert line.endswith("out: cannot be written: No space left on device")
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
