"""How far photographs are from those of a run, and where that is said."""

import io
import json
import zipfile

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exported import make_runs, table_of_two
from sklearn.covariance import LedoitWolf

from fundus_diag import load_run
from fundus_diag.cli import main
from fundus_diag.data.inputs import load_table
from fundus_diag.export.graph import signatures
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.runs.familiarity import asking, fit_familiarity, said, with_limit
from fundus_diag.utils.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs, a photograph that they have seen, and one of noise."""
    folder = make_runs(tmp_path_factory.mktemp("familiarity"), ("eye", "patient"))
    fine = sorted((folder / "photographs").glob("*.png"))[0]
    picture = cv2.imread(str(fine))
    cv2.imwrite(str(folder / "7_left.png"), picture)
    noise = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    cv2.imwrite(str(folder / "7_right.png"), noise)
    return folder


def pictures_of(folder):
    return np.stack([load_picture(folder / f"7_{eye}.png", 40) for eye in ("left", "right")])


def test_distances_are_those_of_pooled_features_in_terms_of_the_limit(folder):
    run = load_run(folder / "eye")
    manifest = folder / "photographs" / "manifest.csv"
    pictures, rows = load_table(manifest, manifest.parent, run.config, "val", cache="ram")
    pooled = keras.Model(run.model.input, run.model.get_layer("head_pool").output)
    seen = pooled.predict(pictures.array[rows.pictures].astype("float32"), verbose=0)
    others = pooled.predict(pictures_of(folder), verbose=0)
    known = LedoitWolf().fit(seen.astype(np.float64))
    limit = np.quantile(np.sqrt(known.mahalanobis(seen)), 0.99)
    want = np.sqrt(known.mahalanobis(others)) / limit
    logits, distance = asking(run.model, run.familiar)(pictures_of(folder))
    np.testing.assert_allclose(distance, want, rtol=1e-3)
    assert distance[0] < 1 < distance[1]
    np.testing.assert_allclose(logits, run.model.predict(pictures_of(folder), verbose=0), rtol=1e-5)
    fast = asking(run.model, run.familiar, "auto")(pictures_of(folder))
    np.testing.assert_allclose(fast[1], want, rtol=0.05)


def test_of_two_eyes_the_farther_one_counts_and_a_missing_one_does_not(folder):
    run = load_run(folder / "patient")
    seen, noise = pictures_of(folder)
    images = np.stack([[seen, noise], [noise, seen], [seen, noise], [seen, seen]])
    mask = np.array([[1, 1], [1, 1], [1, 0], [1, 1]], np.float32)
    _, distance = asking(run.model, run.familiar)({"images": images, "mask": mask})
    assert distance[0] == pytest.approx(distance[1], rel=1e-4)
    assert distance[2] == pytest.approx(distance[3], rel=1e-4)
    assert distance[2] < distance[0]
    # Single eyes are what a run over pairs learns from, too.
    manifest = folder / "photographs" / "manifest.csv"
    pictures, rows = load_table(manifest, manifest.parent, run.config, "val", cache="ram")
    assert fit_familiarity(run.model, pictures, rows)["mean"].shape == run.familiar["mean"].shape


def test_the_limit_is_what_all_but_a_hundredth_keep():
    fitted = {"mean": 0, "basis": 0, "spread": np.float32([2, 3]), "rest": np.float32(0.5)}
    scaled, distances = with_limit(fitted, np.arange(101.0))
    assert distances.tolist() == (np.arange(101.0) / 99).tolist()
    assert scaled["spread"].tolist() == [2 * 99**2, 3 * 99**2]
    assert scaled["rest"] == 0.5 * 99**2
    assert np.isfinite(with_limit(fitted, np.zeros(3))[1]).all()


def test_words_are_for_what_is_beyond_the_limit():
    assert said(None) == said(1.0) == said(float("nan")) == ""
    assert said(1.84).startswith("1.8 times as far")
    assert said(1e9).startswith("more than 100 times")


def test_answers_say_what_is_unfamiliar_and_are_given_all_the_same(folder, tmp_path):
    files = [str(folder / f"7_{eye}.png") for eye in ("left", "right")]
    out = tmp_path / "answers.csv"
    assert main(["predict", str(folder / "eye"), *files, "--out", str(out)]) == 0
    rows = pd.read_csv(out, keep_default_na=False)
    assert rows.groupby("eye")["unfamiliar"].first().to_dict() == {"left": "no", "right": "yes"}
    assert (rows["probability"] != "").all()
    full = pd.read_csv(tmp_path / "answers_full.csv")
    assert full["unfamiliar"].tolist() == ["no", "yes"]
    assert full["distance"][0] < 1 < full["distance"][1]
    page = (tmp_path / "answers.html").read_text("utf-8")
    assert page.count("<b>Unfamiliar photograph:</b>") == 1


def test_tables_of_predictions_say_it_and_the_report_counts_it(folder, tmp_path):
    where = table_of_two(tmp_path / "t.csv", folder)
    out = tmp_path / "p.csv"
    assert main(["predict", str(folder / "eye"), *where, "--out", str(out)]) == 0
    assert pd.read_csv(out)["unfamiliar"].tolist() == [0, 1]
    words = ["report", str(folder / "eye"), "--predictions", str(out), "--out", str(tmp_path / "r")]
    assert main(words) == 0
    metrics = json.loads((tmp_path / "r" / "metrics_test.json").read_text())
    assert metrics["familiarity"] == {"rows": 2, "unfamiliar": 1}
    assert "unfamiliar, and scored" in (tmp_path / "r" / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_the_exported_graph_says_the_same(folder):
    left, right = ((folder / f"7_{eye}.png").read_bytes() for eye in ("left", "right"))
    run = load_run(folder / "eye")
    _, want = asking(run.model, run.familiar)(pictures_of(folder))
    eye = signatures(run)
    found = eye["serving_default"](tf.constant([left, right, b"text"]))
    np.testing.assert_allclose(found["distance"], [*want, -1], rtol=1e-4)
    assert found["unfamiliar"].numpy().tolist() == [False, True, False]
    found = eye["serve_pixels"](tf.constant(pictures_of(folder)))
    np.testing.assert_allclose(found["distance"], want, rtol=1e-4)
    pair = signatures(load_run(folder / "patient"), explain=False)["serve_pair"]
    found = pair(tf.constant([left, left, b""]), tf.constant([right, b"", b""]))
    assert found["unfamiliar"].numpy().tolist() == [True, False, False]
    assert found["distance"].numpy()[2] == -1


def npz(arrays, compressed=False):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def lying(arrays):
    """An archive whose array says that it is far larger than what follows."""
    head = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(head, shape)
    file = io.BytesIO(npz({x: a for x, a in arrays.items() if x != "mean"}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("mean.npy", head.getvalue())
    return file.getvalue()


def marked(arrays, at, value):
    """An archive with another byte in the entry of its first array."""
    content = bytearray(npz(arrays))
    content[content.index(b"PK\x01\x02") + at] = value
    return bytes(content)


DAMAGES = {
    "of another version": lambda arrays: marked(arrays, 6, 99),
    "encrypted": lambda arrays: marked(arrays, 8, 1),
    "patched": lambda arrays: marked(arrays, 8, 32),
    "empty": lambda arrays: b"",
    "text": lambda arrays: b"not an archive",
    "cut": lambda arrays: npz(arrays)[:-200],
    "compressed": lambda arrays: npz(arrays, compressed=True),
    "an array less": lambda arrays: npz({x: a for x, a in arrays.items() if x != "rest"}),
    "an array more": lambda arrays: npz({**arrays, "more": np.zeros(2, np.float32)}),
    "of another network": lambda arrays: npz({**arrays, "mean": arrays["mean"][:-1]}),
    "no number": lambda arrays: npz({**arrays, "mean": np.full_like(arrays["mean"], np.nan)}),
    "of no spread": lambda arrays: npz({**arrays, "spread": 0 * arrays["spread"]}),
    "doubles": lambda arrays: npz({**arrays, "rest": np.float64(1)}),
    "objects": lambda arrays: npz({**arrays, "rest": np.array(None)}),
    "lying": lying,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_file_that_is_not_of_the_run_is_refused(damage, folder, tmp_path):
    path = folder / "eye" / "familiarity.npz"
    good = path.read_bytes()
    with np.load(path) as saved:
        arrays = {name: saved[name] for name in saved.files}
    try:
        path.write_bytes(damage(arrays))
        with pytest.raises(DataError, match=r"familiarity\.npz: .") as caught:
            load_run(folder / "eye")
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(good)


def test_a_run_without_the_file_knows_nothing_and_answers(folder, tmp_path):
    path = folder / "eye" / "familiarity.npz"
    good = path.read_bytes()
    try:
        path.unlink()
        assert load_run(folder / "eye").familiar is None
        out = tmp_path / "answers.csv"
        words = ["predict", str(folder / "eye"), str(folder / "7_left.png"), "--out", str(out)]
        assert main(words) == 0
        assert set(pd.read_csv(out, keep_default_na=False)["unfamiliar"]) == {""}
        assert (
            "distance"
            not in signatures(load_run(folder / "eye"), explain=False)["serving_default"]
            .get_concrete_function()
            .structured_outputs
        )
    finally:
        path.write_bytes(good)
