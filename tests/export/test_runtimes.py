"""ONNX and OpenVINO: the same answers as the run's, from pictures."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from exported import SIZE, UNITS, export, make_runs, photographs, run_of

from fundus_diag.export import check
from fundus_diag.export import openvino as openvino_export
from fundus_diag.export.openvino import load_openvino
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.utils.mixed_precision import cpu_has_bfloat16

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")
pytestmark = [
    # tf2onnx reads NumPy's and protobuf's old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SOME = ["eye", *(pytest.param(x, marks=pytest.mark.slow) for x in UNITS[1:])]


def pictures(folder, unit):
    """({name: array} of six rows, (N, L) of the run on them)."""
    run = run_of(folder, unit)
    if unit != "patient":
        files = photographs(folder)
        pictures = np.stack([load_picture(x, SIZE, run.config["crop"]) for x in files])
        return {"images": pictures}, run.predict(files)
    pairs = list(zip(photographs(folder), photographs(folder, "right"), strict=True))
    mask = np.ones((len(pairs), 2), np.float32)
    mask[2, 1] = 0
    images = np.stack([[load_picture(x, SIZE) for x in pair] for pair in pairs])
    return {"images": images, "mask": mask}, run.predict(images, mask)


@pytest.mark.parametrize("unit", SOME)
def test_onnx_answers_as_the_run(folder, unit, tmp_path):
    make_runs(folder, (unit,))
    out = tmp_path / "onnx"
    assert export(folder / unit, out, "--format", "onnx") == 0
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    inputs, want = pictures(folder, unit)
    assert sorted(x.name for x in session.get_inputs()) == sorted(inputs)
    for rows in (6, 1):
        some = {name: value[:rows] for name, value in inputs.items()}
        probability, positive = session.run(["probability", "positive"], some)
        np.testing.assert_allclose(probability, want[:rows], atol=1e-5)
        np.testing.assert_array_equal(positive, run_of(folder, unit).call(want[:rows]))
    assert want.std(axis=0).max() > 1e-3
    assert run_of(folder, unit).call(want).any()
    facts = {x.key: x.value for x in onnx.load(out / "model.onnx").metadata_props}
    assert facts["labels"].split(",") == list(run_of(folder, unit).labels)
    record = json.loads((out / "export.json").read_text())
    assert record["drawn"]["largest_difference"] < 1e-4
    files = {"labels.txt", "thresholds.json", "config.json", "model_card.md", "SHA256SUMS"}
    assert {x.name for x in out.iterdir()} == files | {"model.onnx", "export.json"}


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_openvino_answers_as_the_run(folder, unit, tmp_path):
    pytest.importorskip("openvino")
    make_runs(folder, (unit,))
    out = tmp_path / "openvino"
    assert export(folder / unit, out, "--format", "openvino") == 0
    inputs, want = pictures(folder, unit)
    answer = load_openvino(out / "model.xml", "f32")
    for rows in (6, 1):
        some = {name: value[:rows] for name, value in inputs.items()}
        probability, positive = answer(some)
        np.testing.assert_allclose(probability, want[:rows], atol=1e-4)
        np.testing.assert_array_equal(positive, run_of(folder, unit).call(want[:rows]))
    import openvino

    model = openvino.Core().read_model(out / "model.xml")
    labels = model.get_rt_info(["fundus_diag", "labels"]).astype(str)
    assert labels == ",".join(run_of(folder, unit).labels)
    record = json.loads((out / "export.json").read_text())
    assert record["drawn"]["largest_difference"] < 1e-4


QUIET = """
import sys
from fundus_diag.export.openvino import _openvino
assert "openvino_telemetry" not in sys.modules
_openvino()
from openvino.tools.ovc import telemetry_utils
assert telemetry_utils.tm.__name__.endswith("telemetry_stub")
from nncf.telemetry.wrapper import NNCFTelemetryStub, telemetry
assert isinstance(telemetry, NNCFTelemetryStub)
"""


@pytest.mark.slow
def test_openvino_reports_to_nobody():
    pytest.importorskip("nncf")
    done = subprocess.run(
        [sys.executable, "-c", QUIET], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_int8_is_fitted_on_training_rows_and_its_cost_is_told(
    folder, tmp_path, capsys, monkeypatch
):
    pytest.importorskip("nncf")
    seen = []
    load = openvino_export.load_inputs

    def watched(table, *args, **kwargs):
        seen.append(set(table.table["split"]))
        return load(table, *args, **kwargs)

    monkeypatch.setattr(openvino_export, "load_inputs", watched)
    monkeypatch.setattr(check, "MAX_LOSS", 1)  # a random network's few rows change places
    out = tmp_path / "int8"
    assert export(folder / "eye", out, "--format", "openvino", "--precision", "int8") == 0
    assert seen == [{"train"}]
    text = (out / "model.xml").read_text()
    assert 'element_type="i8"' in text
    assert "FakeQuantize" in text
    assert 0 <= json.loads((out / "export.json").read_text())["val"]["changed"] < 0.5
    record = json.loads((out / "export.json").read_text())
    table = pd.read_csv(folder / "photographs" / "manifest.csv")
    assert record["val"]["rows"] == (table["split"] == "val").sum()
    assert 1e-5 < record["val"]["largest_difference"] < 0.2
    assert "(loss " in capsys.readouterr().out


@pytest.mark.slow
def test_without_the_photographs_int8_is_refused_and_others_say_what_was_not_measured(
    folder, tmp_path, capsys
):
    pytest.importorskip("nncf")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.weights.h5", "thresholds.json"):
        (run / name).symlink_to(folder / "eye" / name)
    config = json.loads((folder / "eye" / "config.json").read_text())
    for change, reason in (
        ({"image_root": str(tmp_path / "gone")}, "the folder of its photographs is not here"),
        ({"manifest": str(tmp_path / "gone.csv")}, "its table is not here"),
        ({"sha256": "0"}, "its table has changed since"),
    ):
        data = {**config["data"], **change}
        (run / "config.json").write_text(json.dumps({**config, "data": data}))
        words = ["--format", "openvino", "--precision", "int8"]
        assert export(run, tmp_path / "out", *words) == 1
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"int8 is fitted on its training photographs: {reason}" in line
        assert not (tmp_path / "out").exists()
    if cpu_has_bfloat16():
        assert export(run, tmp_path / "half", "--precision", "bfloat16", "--no-explain") == 0
        printed = capsys.readouterr().out
        assert "loss of ROC AUC not measured: its table has changed since" in printed
        for path in (tmp_path / "half").rglob("*"):  # no place of this machine goes along
            assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path
