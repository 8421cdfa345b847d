"""What an exported SavedModel answers: equal to the run, whatever is sent."""

import json
import os
import subprocess
import sys

import numpy as np
import odd_images
import pandas as pd
import pytest
import tensorflow as tf
from exported import (
    SIZE,
    contents,
    export,
    make_runs,
    photographs,
    run_of,
    serve,
    signatures,
    texts,
)
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from tensorflow.core.protobuf import saved_model_pb2
from test_decode import BAD

from fundus_diag import explain
from fundus_diag.cli import main
from fundus_diag.errors import DataError
from fundus_diag.explain.filters import clean, median
from fundus_diag.export import check, maps
from fundus_diag.preprocess import load_picture

BAD = {name: bad for name, bad in BAD.items() if "tif" not in name}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def models(folder):
    """{unit: folder of its export}."""
    for unit in ("eye", "patient", "grade"):
        assert export(folder / unit, folder / f"{unit}_model") == 0
    return {unit: folder / f"{unit}_model" for unit in ("eye", "patient", "grade")}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Photographs of every kind that the graph decodes, and their table."""
    root = tmp_path_factory.mktemp("odd")
    files = odd_images.odd_files()
    turned = Image.fromarray(odd_images.pixels())
    exif = Image.Exif()
    exif[0x0112] = 6
    files["turned.jpg"] = odd_images.save(turned, "JPEG", exif=exif)
    for name, content in files.items():
        (root / name).write_bytes(content)
    rows = [{"image": x, "patient": x, "eye": "left"} for x in files]
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    return root


ALONE = """
import json, sys
import numpy as np, tensorflow as tf
model, names, root = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
served = tf.saved_model.load(model).signatures["serving_default"]
data = [open(root + "/" + name, "rb").read() for name in names]
found = served(image_bytes=tf.constant(data))
assert not [x for x in sys.modules if x.startswith("fundus_diag")]
np.savez(sys.argv[4], probability=found["probability"], error=found["error"].numpy().astype("S"))
"""


def alone(model, root, names, out):
    """Probabilities of photographs in a process that has TensorFlow and nothing of this package."""
    words = [str(model / "1"), json.dumps(names), str(root), str(out)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *words],
        capture_output=True, text=True, check=False, cwd=out.parent, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as found:
        assert found["error"].astype(str).tolist() == [""] * len(names)
        return found["probability"]


def predicted(run, root, out):
    """(images, probabilities) that `fundus-diag predict` writes for the table in a folder."""
    words = [
        "predict",
        run,
        "--manifest",
        root / "manifest.csv",
        "--image-root",
        root,
        "--out",
        out,
    ]
    assert main([str(x) for x in words]) == 0
    table = pd.read_csv(out)
    return table["image"].tolist(), table[[c for c in table if c.startswith("p_")]].to_numpy()


def test_a_process_with_tensorflow_alone_answers_as_predict_does(folder, models, odd, tmp_path):
    names, want = predicted(folder / "eye", odd, tmp_path / "predicted.csv")
    assert len(names) == 24
    assert want.std(axis=0).min() > 1e-3
    got = alone(models["eye"], odd, names, tmp_path / "found.npz")
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_real_photographs_answer_as_predict_does(folder, models, data_dir, tmp_path):
    originals = sorted((data_dir / "odir5k" / "fullres").glob("*.jpg"))[:6]
    names = []
    for k, path in enumerate(originals):
        name = f"{k}.{('jpg', 'png', 'bmp')[k % 3]}"
        if k % 3:
            Image.open(path).save(tmp_path / name)
        else:
            (tmp_path / name).write_bytes(path.read_bytes())
        names.append(name)
    rows = [{"image": x, "patient": x, "eye": "left"} for x in names]
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    names, want = predicted(folder / "eye", tmp_path, tmp_path / "predicted.csv")
    got = serve(models["eye"], image_bytes=contents(tmp_path, names))
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert got["gradable"].all()


@pytest.mark.slow
def test_saved_model_cli_answers_as_predict_does(folder, models, odd, tmp_path):
    names, want = predicted(folder / "eye", odd, tmp_path / "predicted.csv")
    np.save(tmp_path / "in.npy", np.array(contents(odd, names)))  # ends in no zero: kept whole
    program = "from tensorflow.python.tools.saved_model_cli import main; main()"
    words = ["run", "--dir", models["eye"] / "1", "--tag_set", "serve"]
    words += ["--signature_def", "serving_default", "--outdir", tmp_path / "out"]
    words += ["--inputs", f"image_bytes={tmp_path / 'in.npy'}"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    got = np.load(tmp_path / "out" / "probability.npy")
    fine = np.load(tmp_path / "out" / "error.npy", allow_pickle=True) == b""
    assert fine.sum() >= len(names) - 3  # a BMP that ends in zeros is cut by NumPy's strings
    np.testing.assert_allclose(got[fine], want[fine], atol=1e-5)


def test_an_answer_is_the_runs_in_every_part(folder, models):
    for unit in ("eye", "grade"):
        run = run_of(folder, unit)
        files = photographs(folder)
        want = run.predict(files)
        got = serve(models[unit], image_bytes=contents("", files))
        assert set(got) == {"probability", "positive", "label", "gradable", "error"}
        np.testing.assert_allclose(got["probability"], want, atol=1e-5)
        np.testing.assert_array_equal(got["positive"], run.call(want))
        assert got["positive"].any()
        assert texts(got["label"]) == [list(run.labels)] * len(files)
        assert got["gradable"].all()
        assert texts(got["error"]) == [""] * len(files)


def test_pictures_answer_as_photographs_do(folder, models):
    files = photographs(folder)
    pictures = np.stack([load_picture(x, SIZE) for x in files])
    want = serve(models["eye"], image_bytes=contents("", files))
    got = serve(models["eye"], "serve_pixels", images=pictures)
    assert got.keys() == want.keys()
    for name, value in want.items():
        if name == "probability":
            np.testing.assert_allclose(got[name], value, atol=1e-6)
        else:
            np.testing.assert_array_equal(got[name], value)


def test_what_is_no_picture_is_said_in_its_row(folder, models):
    pictures = np.stack([load_picture(x, SIZE) for x in photographs(folder)])
    want = serve(models["eye"], "serve_pixels", images=pictures)["probability"]
    pictures[1, 3, 4, 0] = np.nan
    pictures[2, 0, 0, 0] = 255.5
    pictures[3, 0, 0, 0] = -1
    pictures[4] = 90
    got = serve(models["eye"], "serve_pixels", images=pictures)
    wrong = "not a picture: values must lie from 0 to 255"
    blank = "no field of view: nothing stands out"
    assert texts(got["error"]) == ["", wrong, wrong, wrong, blank, ""]
    assert got["gradable"].tolist() == [True, False, False, False, False, True]
    assert np.isnan(got["probability"][1:4]).all()
    assert not got["positive"][1:4].any()
    np.testing.assert_allclose(got["probability"][[0, 5]], want[[0, 5]], atol=1e-6)


def test_bad_files_are_said_in_their_rows_and_the_others_answered(folder, models):
    good = contents("", photographs(folder, count=2))
    batch = [good[0], *(content for content, _ in BAD.values()), good[1]]
    got = serve(models["eye"], image_bytes=batch)
    rows = slice(1, len(BAD) + 1)
    assert np.isnan(got["probability"][rows]).all()
    assert not got["positive"][rows].any()
    assert not got["gradable"][rows].any()
    for said, (_, reason) in zip(texts(got["error"])[rows], BAD.values(), strict=True):
        # In the graph without sizes, and without the formats that OpenCV reads for `predict`.
        expected = {
            "not an image (JPEG, PNG, BMP, TIFF)": "not an image (JPEG, PNG, BMP)",
            "1x1 pixels: smaller than 16": "smaller than 16 pixels",
            "900 megapixels, more than 100": "more than 100 megapixels",
        }.get(reason, "broken header" if reason.startswith("broken") else reason)
        assert said == expected
    want = serve(models["eye"], image_bytes=good)["probability"]
    np.testing.assert_allclose(got["probability"][[0, -1]], want, atol=1e-6)


def test_a_blank_photograph_is_not_gradable_but_answered_as_predict_does(folder, models, tmp_path):
    Image.new("RGB", (60, 50), (80, 80, 80)).save(tmp_path / "gray.png")
    got = serve(models["eye"], image_bytes=contents(tmp_path, ["gray.png"]))
    want = run_of(folder, "eye").predict([tmp_path / "gray.png"])
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert not got["gradable"][0]
    assert texts(got["error"]) == ["no field of view: nothing stands out"]


def test_no_rows_are_answered_by_no_rows(models):
    shapes = {
        "probability": (0, 2),
        "positive": (0, 2),
        "label": (0, 2),
        "gradable": (0,),
        "error": (0,),
    }
    nothing = np.zeros((0, SIZE, SIZE, 3))
    pairs = {"images": np.zeros((0, 2, SIZE, SIZE, 3)), "mask": np.zeros((0, 2))}
    for got in (
        serve(models["eye"], image_bytes=[]),
        serve(models["eye"], "serve_pixels", images=nothing),
        serve(models["patient"], left_bytes=[], right_bytes=[]),
        serve(models["patient"], "serve_pixels", **pairs),
    ):
        assert {k: v.shape for k, v in got.items()} == shapes


def test_pairs_are_answered_as_the_run_does_with_one_eye_or_two(folder, models):
    run = run_of(folder, "patient")
    left, right = photographs(folder, "left"), photographs(folder, "right")
    pairs = [(left[0], right[0]), (left[1], None), (None, right[2]), (left[3], right[3])]
    want = run.predict(pairs)
    assert np.ptp(want, axis=0).min() > 1e-3
    sent = {
        f"{eye}_bytes": [b"" if pair[k] is None else pair[k].read_bytes() for pair in pairs]
        for k, eye in enumerate(("left", "right"))
    }
    for name in ("serving_default", "serve_pair"):
        got = serve(models["patient"], name, **sent)
        np.testing.assert_allclose(got["probability"], want, atol=1e-5)
        np.testing.assert_array_equal(got["positive"], run.call(want))
        assert got["gradable"].all()
    images = np.full((4, 2, SIZE, SIZE, 3), np.nan, np.float32)  # must not reach the network
    for row, pair in enumerate(pairs):
        for k, eye in enumerate(pair):
            if eye:
                images[row, k] = load_picture(eye, SIZE)
    mask = [[1, 1], [1, 0], [0, 1], [1, 1]]
    got = serve(models["patient"], "serve_pixels", images=images, mask=mask)
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert got["gradable"].all()


def test_a_bad_eye_is_named_and_a_pair_without_eyes_is_none(folder, models):
    one, other = contents("", photographs(folder, count=2))
    got = serve(
        models["patient"],
        left_bytes=[one, b"", b"text", one, b"text", one],
        right_bytes=[other, b"", other, other[:-40], b"\xff\xd8\xff\xe0", b""],
    )
    assert texts(got["error"]) == [
        "",
        "no photograph of either eye",
        "left eye: not an image (JPEG, PNG, BMP)",
        "right eye: truncated",
        "left eye: not an image (JPEG, PNG, BMP); right eye: broken header",
        "",
    ]
    assert got["gradable"].tolist() == [True, False, False, False, False, True]
    np.testing.assert_array_equal(np.isnan(got["probability"]).all(axis=1), ~got["gradable"])
    blank = np.zeros((1, 2, SIZE, SIZE, 3))
    got = serve(models["patient"], "serve_pixels", images=blank, mask=[[0, 0]])
    assert texts(got["error"]) == ["no photograph of either eye"]


# Maps


def explained(folder, run, out, *words):
    """{NAME.npz} of `fundus-diag explain` for a run."""
    words = ["explain", folder / run, "--out", out, *words]
    assert main([str(x) for x in words]) == 0
    return {x.stem: np.load(x) for x in out.glob("*.npz")}


def placed(map, box, height, width):
    """A map laid over the box by SciPy: linear between the middles of cells, 0 outside."""
    y0, x0, y1, x1 = box
    rows = (np.arange(height) + 0.5 - y0) * map.shape[0] / (y1 - y0) - 0.5
    columns = (np.arange(width) + 0.5 - x0) * map.shape[1] / (x1 - x0) - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    return ndimage.map_coordinates(map, grid, order=1, mode="nearest")


def test_maps_are_those_of_explain_laid_over_the_photograph(folder, models, tmp_path):
    file = photographs(folder)[2]
    words = ["--images", file, "--labels", "A", "B"]
    arrays = explained(folder, "eye", tmp_path, *words)[file.stem]
    got = serve(models["eye"], "explain", image_bytes=file.read_bytes(), labels=[0, 1])
    assert got["map"].shape == (2, *arrays["size"]) == (2, 48, 56)
    assert texts(got["map_label"]) == ["A", "B"]
    assert got["map"].max() > 0.5
    for k in range(2):
        want = placed(arrays["layer_cam_fused"][k], arrays["box"], 48, 56)
        y0, x0, y1, x1 = np.clip(np.round(arrays["box"]), 0, (48, 56, 48, 56)).astype(int)
        inner = np.s_[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
        np.testing.assert_allclose(got["map"][k][inner], want[inner], atol=1e-4)
    row = serve(models["eye"], image_bytes=[file.read_bytes()])
    for name, value in row.items():
        np.testing.assert_array_equal(got[name], value[0])
    turned = serve(models["eye"], "explain", image_bytes=file.read_bytes(), labels=[1, 0])
    np.testing.assert_allclose(turned["map"][::-1], got["map"], atol=1e-6)


def test_without_labels_the_likeliest_one_is_explained(folder, models):
    for file in photographs(folder):
        data = file.read_bytes()
        got = serve(models["eye"], "explain", image_bytes=data, labels=[])
        top = int(np.argmax(run_of(folder, "eye").predict([file])))
        assert texts(got["map_label"]) == ["AB"[top]]
        want = serve(models["eye"], "explain", image_bytes=data, labels=[top])
        np.testing.assert_allclose(got["map"], want["map"], atol=1e-6)


def test_maps_of_pairs_lie_on_each_eye(folder, models):
    left, right = (photographs(folder, eye)[1] for eye in ("left", "right"))
    run = run_of(folder, "patient")
    images = np.stack([load_picture(x, SIZE) for x in (left, right)])[None]
    fused = explain.maps(run.model, images, labels=[1])[0]  # (2, 1, h, w)
    sent = {"left_bytes": left.read_bytes(), "right_bytes": right.read_bytes()}
    got = serve(models["patient"], "explain", **sent, labels=[1])
    for k, eye in enumerate(("left", "right")):
        assert got[f"map_{eye}"].shape == (1, 48, 56)
        assert got[f"map_{eye}"].max() == pytest.approx(clean(fused[k, 0]).max(), rel=0.05)
    one = serve(models["patient"], "explain", **{**sent, "right_bytes": b""}, labels=[1])
    assert one["map_left"].shape == (1, 48, 56)
    assert one["map_right"].shape == (1, 0, 0)
    assert one["gradable"]


@pytest.mark.parametrize("unit", ["eye", "patient"])
def test_what_cannot_be_explained_is_said(folder, models, unit):
    good = photographs(folder)[0].read_bytes()

    def answer(data, labels):
        sent = {"image_bytes": data} if unit == "eye" else {"left_bytes": data, "right_bytes": b""}
        return serve(models[unit], "explain", **sent, labels=labels)

    start = "" if unit == "eye" else "left eye: "
    for data, labels, error in (
        (good, [2], "labels must lie from 0 to 1"),
        (good, [0, -1], "labels must lie from 0 to 1"),
        (good, [0, 1, 0], "more than 2 labels are asked for"),
        (b"text", [0], start + "not an image (JPEG, PNG, BMP)"),
        (good[:-40], [0], start + "truncated"),
        (BAD["huge.png"][0], [0], start + "more than 100 megapixels"),
    ):
        got = answer(data, labels)
        assert got["error"].decode() == error
        assert not got["gradable"]
        assert np.isnan(got["probability"]).all()
        assert got["map_label"].shape == (0,)
        assert len(got["map" if unit == "eye" else "map_left"]) == 0
    assert texts(answer(good, [0, 1])["map_label"]) == ["A", "B"]


def test_maps_that_would_fill_the_memory_are_refused():
    def make(inputs, labels):
        rows = tf.shape(inputs)[0]
        return tf.ones((rows, 4, 4)), tf.zeros((rows, 3)), labels

    inputs, error = tf.zeros((1, 8, 8, 3)), tf.constant("")
    for count, pixels, fine in ((1, 2**28, True), (2, 2**27, True), (3, 2**27, False)):
        labels = tf.range(count)
        names = ("a", "b", "c")
        got = maps.explained(make, inputs, labels, names, error, tf.constant(pixels, tf.int64))
        assert (got["error"] == b"") == fine
        assert got["map"].shape[0] == (count if fine else 0)
    assert b"ask for fewer" in got["error"].numpy()


def test_the_median_in_the_graph_is_that_of_the_filters():
    found = np.random.default_rng(0).random((3, 17, 20)).astype("float32")
    for size in (3, 5):
        got = maps.median(tf.constant(found), size)
        np.testing.assert_array_equal(got, median(found, size))


# Beside the model


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


def test_the_requests_to_warm_up_on_can_be_read_and_are_answered(models):
    kind = prediction_log()
    for unit in ("eye", "patient"):
        path = models[unit] / "1" / "assets.extra" / "tf_serving_warmup_requests"
        seen = []
        for record in tf.data.TFRecordDataset(str(path)):
            request = kind.FromString(record.numpy()).predict_log.request
            seen.append(request.model_spec.signature_name)
            inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
            got = signatures(models[unit])[seen[-1]](**inputs)
            if seen[-1] != "serve_pixels":  # a gray square
                assert np.all(got["error"].numpy() == b"")
        assert seen == ["serving_default", "serving_default", "serve_pixels", "explain"]


def test_the_papers_say_what_the_run_is_and_hide_where_it_was(folder, models):
    run = run_of(folder, "eye")
    papers = models["eye"] / "1" / "assets.extra"
    assert (papers / "labels.txt").read_text().split() == list(run.labels)
    assert json.loads((papers / "thresholds.json").read_text()) == run.points
    config = json.loads((papers / "config.json").read_text())
    assert config["labels"] == list(run.labels)
    assert config["data"]["splits"] == run.config["data"]["splits"]
    for path in papers.iterdir():
        assert str(folder).encode() not in path.read_bytes(), path
    assert b"000_left" not in (papers / "tf_serving_warmup_requests").read_bytes()
    card = (papers / "model_card.md").read_text()
    assert "not for clinical use" in card
    assert f"{run.points['labels']['A']['threshold']:.3f}" in card
    record = json.loads((papers / "export.json").read_text())
    assert record["drawn"]["largest_difference"] < 1e-5
    assert record["drawn"]["largest_difference_of_map"] < 1e-4
    assert record["format"] == "saved_model"


def test_the_checksums_are_those_of_all_files(models):
    papers = models["eye"] / "1" / "assets.extra"
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=papers, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    files = {x for x in models["eye"].rglob("*") if x.is_file()}
    named = [line.split("  ")[1] for line in (papers / "SHA256SUMS").read_text().splitlines()]
    assert {(papers / name).resolve() for name in named} == files - {papers / "SHA256SUMS"}


def test_without_maps_the_model_is_smaller(folder, models, tmp_path):
    assert export(folder / "eye", tmp_path / "small", "--no-explain") == 0
    assert set(signatures(tmp_path / "small")) == {"serving_default", "serve_pixels"}
    sizes = [
        (x / "1" / "saved_model.pb").stat().st_size for x in (tmp_path / "small", models["eye"])
    ]
    assert sizes[0] < sizes[1]


def test_a_model_that_computes_something_else_is_refused(folder, models, monkeypatch):
    run, model = run_of(folder, "eye"), models["eye"] / "1"
    reference, clean = check._reference, check.clean

    def refusal():
        with pytest.raises(DataError) as error:
            check.check_saved_model(run, model, "float32")
        return str(error.value)

    with monkeypatch.context() as patch:
        patch.setattr(check, "_reference", lambda *args: reference(*args) + 2e-5)
        assert "differs from the run by 2e-05, more than 1e-05" in refusal()
        patch.setattr(check, "_reference", lambda *args: reference(*args) * np.nan)
        assert "differs from the run by inf" in refusal()
    monkeypatch.setattr(check, "clean", lambda maps: clean(maps) * 1.01)
    assert "differs from the run by 0.0" in refusal()


# Reduced precision


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
