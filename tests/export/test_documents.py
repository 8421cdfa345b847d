"""What lies beside an exported model, how it is checked, and reduced precision."""

import dataclasses
import functools
import json
import subprocess
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exported import contents, export, run_of, serve, signatures
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from sklearn.metrics import roc_auc_score
from tensorflow.core.protobuf import saved_model_pb2

from fundus_diag.export import check
from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.mixed_precision import cpu_has_bfloat16

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_graphs")]


@pytest.fixture
def model(models):
    """Folder of the export of the run over eyes."""
    return models("eye")


@functools.cache
def prediction_log():
    """TensorFlow Serving's message, from its public definition, for TensorFlow's own protobuf."""
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto", package="tensorflow.serving", syntax="proto3",
        dependency=["tensorflow/core/framework/tensor.proto"],
    )  # fmt: skip
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, fields, parent=file.message_type):
        made = parent.add(name=name)
        for number, (label, kind) in fields.items():
            repeated = label.endswith("*")
            made.field.add(
                name=label.rstrip("*"), number=number,
                label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
                type=kinds.TYPE_STRING if kind == "string" else kinds.TYPE_MESSAGE,
                type_name=None if kind == "string" else kind,
            )  # fmt: skip
        return made

    here = ".tensorflow.serving."
    message("ModelSpec", {1: ("name", "string"), 3: ("signature_name", "string")})
    request = message(
        "PredictRequest",
        {
            1: ("model_spec", here + "ModelSpec"),
            2: ("inputs*", here + "PredictRequest.InputsEntry"),
        },
    )
    entry = {1: ("key", "string"), 2: ("value", ".tensorflow.TensorProto")}
    message("InputsEntry", entry, request.nested_type).options.map_entry = True
    message("PredictLog", {1: ("request", here + "PredictRequest")})
    message("PredictionLog", {6: ("predict_log", here + "PredictLog")})
    pool = descriptor_pool.Default()
    pool.Add(file)
    found = pool.FindMessageTypeByName("tensorflow.serving.PredictionLog")
    return message_factory.GetMessageClass(found)


def warmed_up(model, kind):
    """Sends a model its requests to warm up on; the names of their signatures."""
    path = model / "1" / "assets.extra" / "tf_serving_warmup_requests"
    seen = []
    for record in tf.data.TFRecordDataset(str(path)):
        request = kind.FromString(record.numpy()).predict_log.request
        seen.append(request.model_spec.signature_name)
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        rows = {x.shape[0] for x in inputs.values()}  # with a batch axis, of one size
        got = signatures(model)[seen[-1]](**inputs)
        assert {x.shape[0] for x in got.values()} == rows
        if seen[-1] != "serve_pixels":  # a gray square
            assert np.all(got["error"].numpy() == b"")
    return seen


def test_the_requests_to_warm_up_on_can_be_read_and_are_answered(model):
    named = ["serving_default", "serving_default", "serve_pixels", "explain"]
    assert warmed_up(model, prediction_log()) == named


def test_the_requests_to_warm_up_on_of_pairs_are_answered(models):
    named = ["serving_default", "serving_default", "serve_pixels", "explain"]
    assert warmed_up(models("patient", exported=True), prediction_log()) == named


def test_the_papers_say_what_the_run_is_and_hide_where_it_was(folder, model):
    run = run_of(folder, "eye")
    papers = model / "1" / "assets.extra"
    assert (papers / "labels.txt").read_text().split() == list(run.labels)
    assert json.loads((papers / "thresholds.json").read_text()) == run.points
    config = json.loads((papers / "config.json").read_text())
    assert config["labels"] == list(run.labels)
    assert config["flags"]["manifest"] == "manifest.csv"
    assert config["data"]["splits"] == run.config["data"]["splits"]
    for path in (model / "1").rglob("*"):
        content = b"" if path.is_dir() else path.read_bytes()
        assert str(folder).encode() not in content, path
        assert b"somebody.png" not in content, path
    card = (papers / "model_card.md").read_text()
    assert "not for clinical use" in card
    assert "| A macular degeneration | 0.510 | 10 |" in card
    assert "| B | none: never called | " in card
    record = json.loads((papers / "export.json").read_text())
    assert record["drawn"]["largest_difference"] < 1e-5
    assert record["drawn"]["largest_difference_of_map"] < 1e-4
    assert record["format"] == "saved_model"


def test_the_checksums_are_those_of_all_files(model):
    papers = model / "1" / "assets.extra"
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=papers, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    files = {x for x in (model / "1").rglob("*") if x.is_file()}
    named = [line.split("  ")[1] for line in (papers / "SHA256SUMS").read_text().splitlines()]
    assert {(papers / name).resolve() for name in named} == files - {papers / "SHA256SUMS"}


def test_the_model_holds_weights_and_nothing_of_the_training(folder, model):
    """Once for the answers and once for the maps, beside tables of decoding and of cells."""
    saved = saved_model_pb2.SavedModel.FromString((model / "1" / "saved_model.pb").read_bytes())
    nodes = [n for f in saved.meta_graphs[0].graph_def.library.function for n in f.node_def]
    held = [n.attr["value"].tensor.ByteSize() for n in nodes if n.op == "Const"]
    weights = 4 * run_of(folder, "eye").model.count_params()
    assert 2 * weights < sum(held) < 2 * weights + 110_000
    assert not any(n.op == "VarHandleOp" for n in nodes)
    variables = tf.train.list_variables(str(model / "1" / "variables" / "variables"))
    assert [name for name, _ in variables] == ["_CHECKPOINTABLE_OBJECT_GRAPH"]


def test_a_model_that_computes_something_else_is_refused(folder, model, monkeypatch):
    run, clean = run_of(folder, "eye"), check.clean
    loaded = namedtuple("Loaded", "signatures")(signatures(model))
    monkeypatch.setattr(tf.saved_model, "load", lambda folder: loaded)
    files, inputs = check._samples(run)
    monkeypatch.setattr(check, "_samples", lambda run: (files, inputs))
    exact = apply_calibration(run.model(tf.constant(inputs["images"])), run.points, run.labels)

    def refusal(run=run):
        with pytest.raises(DataError) as error:
            check.check_saved_model(run, model, "float32")
        return str(error.value)

    for reference, difference in ((exact + 2e-5, "2e-05"), (exact * np.nan, "inf")):
        monkeypatch.setattr(check, "_reference", lambda *_, x=reference: x)
        assert f"a probability differs by {difference}, more than 1e-05" in refusal()
    monkeypatch.setattr(check, "_reference", lambda *_: exact)
    points = json.loads(json.dumps(run.points))
    points["labels"]["B"]["threshold"] = 0.0
    other = dataclasses.replace(run, points=points)
    assert "calls other labels than its probabilities" in refusal(other)
    for wrong in (lambda x: x * 1.1, lambda x: np.roll(x, 1, axis=-1)):
        monkeypatch.setattr(check, "clean", lambda maps, x=wrong: x(clean(maps)))
        assert "a map differs by 0." in refusal()


def test_a_cell_of_a_map_may_be_off_by_more_than_the_others(folder, model, monkeypatch):
    """Rounding turns a ReLU on, and the gradient there jumps."""
    run, clean = run_of(folder, "eye"), check.clean

    def jump(maps):
        maps = np.array(clean(maps))
        maps[:, maps.shape[1] // 2, maps.shape[2] // 2] += 0.3
        return maps

    monkeypatch.setattr(check, "clean", jump)
    _, record = check.check_saved_model(run, model / "1", "float32")
    assert record["largest_difference_of_map"] == pytest.approx(0.3, abs=1e-3)


def test_a_loss_on_val_that_is_too_large_is_refused(folder):
    run = run_of(folder, "eye")

    def blind(inputs):
        return [np.full((len(inputs["images"]), 2), 0.5)] * 2

    with pytest.raises(DataError, match="loses .* of the macro ROC AUC on val"):
        check.measured_on_val(turned_to_the_truth(run), blind)
    with pytest.raises(DataError, match="an answer on val differs by inf"):
        check.measured_on_val(run, lambda inputs: [x * np.nan for x in blind(inputs)])


def turned_to_the_truth(run):
    """The run with slopes of the sign that gives its random network an AUC above .5 on val."""
    found = check.measured_on_val(run, lambda inputs: [check._reference(run, inputs)] * 2)
    assert found["loss"] == 0
    sign = 1 if found["roc_auc"] > 0.5 else -1
    points = json.loads(json.dumps(run.points))
    for entry in points["labels"].values():
        entry["slope"] *= sign
    return dataclasses.replace(run, points=points)


# Reduced precision


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this processor has no bfloat16")
def test_bfloat16_is_in_the_graph_and_its_cost_is_measured(folder, tmp_path, capsys):
    out = tmp_path / "half"
    assert export(folder / "eye", out, "--precision", "bfloat16") == 0
    printed = capsys.readouterr().out
    graph = saved_model_pb2.SavedModel.FromString((out / "1" / "saved_model.pb").read_bytes())
    nodes = [n for f in graph.meta_graphs[0].graph_def.library.function for n in f.node_def]
    kinds = {n.attr["T"].type for n in nodes if n.op == "Conv2D"}
    assert tf.bfloat16.as_datatype_enum in kinds
    run = run_of(folder, "eye")
    record = json.loads((out / "1" / "assets.extra" / "export.json").read_text())
    table = pd.read_csv(folder / "photographs" / "manifest.csv")
    table = table[table["split"] == "val"]
    files = [folder / "photographs" / x for x in table["image"]]
    want = run.predict(files)
    got = serve(out, image_bytes=contents("", files))["probability"]
    assert 0 < np.abs(got - want).max() < 0.05
    val = record["val"]
    assert val["rows"] == len(files)
    assert val["largest_difference"] == pytest.approx(np.abs(got - want).max(), rel=0.05)

    def macro(scores):
        areas = []
        for k, label in enumerate(run.labels):
            graded = table[label].notna().to_numpy()
            areas.append(roc_auc_score(table[label][graded], scores[graded, k]))
        return np.mean(areas)

    assert val["roc_auc_float32"] == pytest.approx(macro(want), abs=1e-6)
    assert val["roc_auc"] == pytest.approx(macro(got), abs=0.02)
    assert val["loss"] == pytest.approx(val["roc_auc_float32"] - val["roc_auc"])
    assert f"(loss {val['loss']:+.4f})" in printed
