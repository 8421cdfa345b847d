"""Every family of encoders, narrow where it can be, in every format that a run is exported in."""

import functools
import json

import numpy as np
import pytest
import tiny
from exported import contents, export, run_of, serve
from keras import layers
from small_encoders import OPTIONS, SIZE, WHOLE
from tiny import make_photographs, ready_run

from fundus_diag import models
from fundus_diag.export import check
from fundus_diag.export.onnx import load_onnx
from fundus_diag.export.openvino import load_openvino
from fundus_diag.imaging.preprocess import load_picture

pytestmark = [
    pytest.mark.usefixtures("plain_graphs"),
    # tf2onnx reads NumPy's and protobuf's old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
# A convolution and a transformer tell of all: what reads ONNX, and exports with maps.
SOME = ("se_xception", "mae_vit_tiny")


def cases():
    for name in OPTIONS:
        for format in ("saved_model", "onnx", "openvino"):
            if format != "saved_model" and name in WHOLE:  # convolutions as others'
                continue
            if format == "openvino" and name not in SOME:
                continue
            yield pytest.param(name, format, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_photographs(folder / "photographs")
    return folder


def run(folder, name):
    """A run of this narrow encoder, of random weights."""
    if not (folder / name).exists():
        options = [
            f"{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}"
            for k, v in OPTIONS[name].items()
        ]
        manifest = folder / "photographs" / "manifest.csv"
        ready_run(manifest, folder / name, encoder=name, image_size=SIZE, encoder_options=options)
    return run_of(folder, name)


def answer(out, format, files):
    """Probabilities of photographs by an export."""
    if format == "saved_model":
        return serve(out, image_bytes=contents("", files))["probability"]
    pictures = np.stack([load_picture(x, SIZE) for x in files])
    if format == "onnx":
        return load_onnx(out / "model.onnx")({"images": pictures})[0]
    return load_openvino(out / "model.xml", "f32")({"images": pictures})[0]


def needs(format):
    for module in {"onnx": ["tf2onnx", "onnxruntime"], "openvino": ["openvino"]}.get(format, []):
        pytest.importorskip(module)


@pytest.mark.parametrize(("name", "format"), list(cases()))
def test_every_encoder_answers_as_the_run(folder, name, format, tmp_path, monkeypatch):
    needs(format)
    monkeypatch.setattr(check, "MAX_LOSS", 1)  # a random network's few rows change places
    files = sorted((folder / "photographs").glob("*_left.png"))[:6]
    want = run(folder, name).predict(files)
    assert want.std(axis=0).min() > 1e-3
    plain = ["--no-explain"] if format == "saved_model" and name not in SOME else []
    assert export(folder / name, tmp_path / "out", "--format", format, *plain) == 0
    np.testing.assert_allclose(answer(tmp_path / "out", format, files), want, atol=1e-5)


@pytest.mark.slow
def test_an_op_with_a_gradient_of_its_own_can_be_saved(folder, tmp_path, monkeypatch):
    """As TensorFlow's swish has, of which EfficientNet V2 is full."""

    def with_swish(images):
        return layers.Activation("silu", name="swish")(tiny.tiny(images))

    monkeypatch.setitem(models.FEATURE_MAPS, "swish", with_swish)
    monkeypatch.setitem(models.CAM_LAYERS, "swish", lambda names: ("swish",))
    build = functools.partial(models.build_encoder, "swish")
    monkeypatch.setitem(models.ENCODERS, "swish", build)
    ready_run(folder / "photographs" / "manifest.csv", folder / "swish", encoder="swish")
    assert export(folder / "swish", tmp_path / "out", "--no-explain") == 0
    files = sorted((folder / "photographs").glob("*_left.png"))[:2]
    want = run_of(folder, "swish").predict(files)
    got = serve(tmp_path / "out", image_bytes=contents("", files))["probability"]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
def test_a_transformer_runs_in_int8(folder, tmp_path, monkeypatch):
    needs("openvino")
    pytest.importorskip("nncf")
    monkeypatch.setattr(check, "MAX_LOSS", 1)  # a random network's few rows change places
    name = "cvt_13"  # with convolutions in it
    run(folder, name)
    words = ["--format", "openvino", "--precision", "int8"]
    assert export(folder / name, tmp_path / "out", *words) == 0
    assert 'element_type="i8"' in (tmp_path / "out" / "model.xml").read_text()
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert 1e-5 < record["val"]["largest_difference"] < 0.3


def test_what_openvino_cannot_run_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(check.DataError, match="OpenVINO cannot run this network so: "):
        load_openvino(tmp_path / "model.xml")
