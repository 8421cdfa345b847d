"""Every family of encoders, narrow, in every format that a run is exported in."""

import json

import numpy as np
import pytest
import tensorflow as tf
from exported import contents, export, run_of, serve
from small_encoders import NARROW, SIZE
from tiny import make_photographs, ready_run

from fundus_diag import explain
from fundus_diag.explain.filters import clean
from fundus_diag.export import check, graph
from fundus_diag.export.maps import cam_function
from fundus_diag.export.onnx import load_onnx
from fundus_diag.export.openvino import load_openvino
from fundus_diag.imaging.preprocess import load_picture

pytestmark = [
    # tf2onnx reads NumPy's and protobuf's old names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
WHOLE = "mae_vit_tiny"  # exported as SavedModel with all that reads photographs, the same for all
DEFAULT = {(WHOLE, "onnx")}


def cases():
    for name in NARROW:
        for format in (*["saved_model"] * (name == WHOLE), "onnx", "openvino"):
            marks = [] if (name, format) in DEFAULT else [pytest.mark.slow]
            yield pytest.param(name, format, marks=marks)


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
            for k, v in NARROW[name].items()
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
    assert export(folder / name, tmp_path / "out", "--format", format) == 0
    np.testing.assert_allclose(answer(tmp_path / "out", format, files), want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [x for x in NARROW if x != WHOLE])
def test_every_network_is_saved_with_its_maps(folder, name, tmp_path):
    own = run(folder, name)
    files = sorted((folder / "photographs").glob("*_left.png"))[:6]
    maps, _ = cam_function(own, lambda logits: graph.calibrated(own, logits))

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), name="images")])
    def explained(images):
        inside, label = (
            tf.ones(tf.shape(images)[:3], tf.bool),
            tf.ones(tf.shape(images)[0], "int32"),
        )
        given = {"inputs": images, "inside": inside, "label": label}
        return {"map": maps(*tf.nest.flatten(given))[0]}

    made = {"serve_pixels": graph.signatures(own, explain=False)["serve_pixels"], "map": explained}
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures=made)
    pictures = np.stack([load_picture(x, SIZE) for x in files])
    got = serve(tmp_path, "serve_pixels", images=pictures)["probability"]
    np.testing.assert_allclose(got, own.predict(files), atol=1e-5)
    pictures = pictures[:1]  # as in `check`: in others a ReLU is turned on or off by rounding
    inside = np.ones(pictures.shape[:3], bool)
    want = clean(explain.maps(own.model, pictures, labels=[1], inside=inside)[:, 0])
    assert want.max() > 0.5
    got = serve(tmp_path, "map", images=pictures)["map"]
    np.testing.assert_allclose(got, want, atol=check.MAPS["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cvt_13", "mae_vit_tiny"])
def test_transformers_run_in_int8(folder, name, tmp_path, monkeypatch):
    needs("openvino")
    pytest.importorskip("nncf")
    monkeypatch.setattr(check, "MAX_LOSS", 1)  # a random network's few rows change places
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
