"""What an exported SavedModel answers: equal to the run, whatever is sent."""

import json
import os
import subprocess
import sys

import numpy as np
import odd_images
import pandas as pd
import pytest
from bad_images import BAD
from exported import SIZE, contents, export, photographs, run_of, serve, signatures, texts
from PIL import Image

from fundus_diag.cli import main
from fundus_diag.export import graph
from fundus_diag.imaging.preprocess import load_picture

pytestmark = pytest.mark.slow

BAD = {name: bad for name, bad in BAD.items() if "tif" not in name}


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


@pytest.fixture(scope="module")
def odd_predicted(folder, odd):
    return predicted(folder / "eye", odd, odd / "predicted.csv")


def test_a_process_with_tensorflow_alone_answers_as_predict_does(
    odd_predicted, models, odd, tmp_path
):
    names, want = odd_predicted
    assert len(names) == 24
    assert want.std(axis=0).min() > 1e-3
    got = alone(models("eye"), odd, names, tmp_path / "found.npz")
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
    got = serve(models("eye"), image_bytes=contents(tmp_path, names))
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert got["gradable"].all()


def test_saved_model_cli_answers_as_predict_does(odd_predicted, models, odd, tmp_path):
    names, want = odd_predicted
    data = contents(odd, names)
    kept = [k for k, x in enumerate(data) if not x.endswith(b"\0")]  # NumPy's strings lose zeros
    assert len(kept) >= 20
    np.save(tmp_path / "in.npy", np.array([data[k] for k in kept]))
    program = "from tensorflow.python.tools.saved_model_cli import main; main()"
    words = ["run", "--dir", models("eye") / "1", "--tag_set", "serve"]
    words += ["--signature_def", "serving_default", "--outdir", tmp_path / "out"]
    words += ["--inputs", f"image_bytes={tmp_path / 'in.npy'}"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    got = np.load(tmp_path / "out" / "probability.npy")
    np.testing.assert_allclose(got, want[kept], atol=1e-5)


def test_an_answer_is_the_runs_in_every_part(folder, models):
    for unit in ("eye", "grade"):
        model, run = models(unit), run_of(folder, unit)
        files = photographs(folder)
        want = run.predict(files)
        # Of grades by pictures: their photographs, uncropped, are read in a slow test.
        pictures = np.stack([load_picture(x, SIZE, run.config["crop"]) for x in files])
        sent = {"image_bytes": contents("", files)} if unit == "eye" else {"images": pictures}
        got = serve(model, "serving_default" if unit == "eye" else "serve_pixels", **sent)
        rest = {"label", "gradable", "error", "quality_reason", "distance", "unfamiliar"}
        assert set(got) == {"probability", "positive", *rest}
        np.testing.assert_allclose(got["probability"], want, atol=1e-5)
        np.testing.assert_array_equal(got["positive"], run.call(want))
        assert 0 < got["positive"].sum() < got["positive"].size - (unit != "grade") * len(files)
        assert texts(got["label"]) == [list(run.labels)] * len(files)
        assert got["gradable"].all()
        assert texts(got["error"]) == [""] * len(files)


@pytest.mark.parametrize("unit", ["patient", "grade"])
def test_an_export_of_each_kind_answers_as_its_run(folder, models, unit, tmp_path):
    model, names = models(unit, exported=unit == "patient"), {"serving_default", "serve_pixels"}
    if unit == "patient":
        names |= {"serve_pair"}
        assert set(graph.signatures(run_of(folder, unit), explain=False)) == names
        names |= {"explain"}
    else:  # without maps
        model = tmp_path / "out"
        assert export(folder / unit, model, "--no-explain") == 0
    assert set(signatures(model)) == names
    left, right = photographs(folder, "left"), photographs(folder, "right")
    pairs = list(zip(left, right, strict=True))
    want = run_of(folder, unit).predict(pairs if unit == "patient" else left)
    sent = {"left_bytes": contents("", left), "right_bytes": contents("", right)}
    sent = sent if unit == "patient" else {"image_bytes": sent["left_bytes"]}
    got = serve(model, **sent)
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)


def test_pictures_answer_as_photographs_do(folder, models):
    files = photographs(folder)
    pictures = np.stack([load_picture(x, SIZE) for x in files])
    want = serve(models("eye"), image_bytes=contents("", files))
    got = serve(models("eye"), "serve_pixels", images=pictures)
    assert got.keys() == want.keys()
    for name, value in want.items():
        if name == "probability":
            np.testing.assert_allclose(got[name], value, atol=1e-6)
        else:
            np.testing.assert_array_equal(got[name], value)


def test_what_is_no_picture_is_said_in_its_row(folder, models):
    pictures = np.stack([load_picture(x, SIZE) for x in photographs(folder)])
    want = serve(models("eye"), "serve_pixels", images=pictures)["probability"]
    pictures[1, 3, 4, 0] = np.nan
    pictures[2, 0, 0, 0] = 255.5
    pictures[3, 0, 0, 0] = -1
    pictures[4] = 90
    got = serve(models("eye"), "serve_pixels", images=pictures)
    wrong = "not a picture: values must lie from 0 to 255"
    blank = "no field of view: nothing stands out"
    assert texts(got["error"]) == ["", wrong, wrong, wrong, blank, ""]
    assert got["gradable"].tolist() == [True, False, False, False, False, True]
    assert (got["probability"][1:4] == -1).all()
    assert not got["positive"][1:4].any()
    np.testing.assert_allclose(got["probability"][[0, 5]], want[[0, 5]], atol=1e-6)


def test_bad_files_are_said_in_their_rows_and_the_others_answered(folder, models):
    good = contents("", photographs(folder, count=2))
    batch = [good[0], *(content for content, _ in BAD.values()), good[1]]
    got = serve(models("eye"), image_bytes=batch)
    rows = slice(1, len(BAD) + 1)
    assert (got["probability"][rows] == -1).all()
    assert not got["positive"][rows].any()
    assert not got["gradable"][rows].any()
    for said, (_, reason) in zip(texts(got["error"])[rows], BAD.values(), strict=True):
        # In the graph without sizes, and without the formats that are converted for `predict`.
        expected = {
            "not an image (JPEG, PNG, BMP, TIFF, DICOM)": "not an image (JPEG, PNG, BMP)",
            "broken DICOM header": "DICOM, not JPEG, PNG or BMP",
            "1x1 pixels: smaller than 16": "smaller than 16 pixels",
            "900 megapixels, more than 100": "more than 100 megapixels",
            "broken HEIC header": "HEIC, not JPEG, PNG or BMP",
        }.get(reason, "broken header" if reason.startswith("broken") else reason)
        assert said == expected
    want = serve(models("eye"), image_bytes=good)["probability"]
    np.testing.assert_allclose(got["probability"][[0, -1]], want, atol=1e-6)


def test_a_blank_photograph_is_not_gradable_but_answered_as_predict_does(folder, models, tmp_path):
    Image.new("RGB", (60, 50), (80, 80, 80)).save(tmp_path / "gray.png")
    got = serve(models("eye"), image_bytes=contents(tmp_path, ["gray.png"]))
    want = run_of(folder, "eye").predict([tmp_path / "gray.png"])
    np.testing.assert_allclose(got["probability"], want, atol=1e-5)
    assert not got["gradable"][0]
    assert texts(got["error"]) == ["no field of view: nothing stands out"]


def test_no_rows_are_answered_by_no_rows(models):
    shapes = {
        "probability": (0, 2),
        "positive": (0, 2),
        "label": (0, 2),
        **dict.fromkeys(("gradable", "error", "quality_reason", "distance", "unfamiliar"), (0,)),
    }
    nothing = np.zeros((0, SIZE, SIZE, 3))
    for got in (
        serve(models("eye"), image_bytes=[]),
        serve(models("eye"), "serve_pixels", images=nothing),
    ):
        assert {k: v.shape for k, v in got.items()} == shapes
