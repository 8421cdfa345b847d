"""`train --task findings`: labels that are words, and other words asked of the same network."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny import make_photographs, train_only

from fundus_diag import explain
from fundus_diag.cli import main
from fundus_diag.explain.methods.registry import possible
from fundus_diag.models.layers.words import bag
from fundus_diag.runs.run import load_run
from fundus_diag.runs.words import asked
from fundus_diag.utils.errors import UsageError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Photographs whose bright spots are called exudates, dark ones drusen; a run on them."""
    folder = tmp_path_factory.mktemp("words")
    manifest = make_photographs(folder / "photographs")
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table = table.rename(columns={"A": "hard exudate", "B": "drusen"})
    table.assign(glaucoma="0").to_csv(manifest, index=False)
    flags = {"task": "findings", "without_labels": "glaucoma", "phase2_rate": 0.02}
    assert train_only(manifest, folder / "run", phase2_epochs=12, dropout=0, **flags) == 0
    return folder


@pytest.fixture(scope="module")
def run(trained):
    return load_run(trained / "run")


def pictures(run, count=4):
    size = run.config["image_size"]
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype("float32")


def test_its_run_knows_all_that_its_findings_are_called(trained, run):
    config = json.loads((trained / "run/config.json").read_text())
    assert config["labels"] == ["hard exudate", "drusen"]
    assert "硬性渗出" in config["phrases"]["hard exudate"]
    assert config["phrases"]["drusen"][0] == "drusen"
    assert config["flags"]["phase1_views"] == 0
    table = pd.read_csv(trained / "run/predictions_val.csv")
    assert {"p_hard exudate", "p_drusen"} < set(table.columns)
    history = pd.read_csv(trained / "run/history.csv")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_words_that_nobody_knows_are_said(run, capsys):
    asked(run, ["Drusen", "硬性渗出"])
    assert capsys.readouterr().err == ""
    asked(run, ["Drusen", "cotton wool spot", "cotton wolf spot", "blur"])
    assert capsys.readouterr().err.splitlines() == [
        "warning: --phrases: not learned, scored uncalibrated: cotton wool spot",
        "warning: --phrases: no finding of the vocabulary: cotton wolf spot, blur",
    ]


def test_what_is_asked_by_other_words_is_what_the_network_would_say(run):
    images = pictures(run)
    own = run.predict(images)
    same = asked(run, ["Drusen", "硬性渗出", "retinal hole"])
    assert same.labels == ("Drusen", "硬性渗出", "retinal hole")
    # Its own finding keeps calibration and threshold, also by a name of another language.
    assert same.points["labels"]["Drusen"] == run.points["labels"]["drusen"]
    assert same.points["labels"]["硬性渗出"] == run.points["labels"]["hard exudate"]
    assert np.isnan(same.thresholds[2])
    said = same.predict(images)
    np.testing.assert_allclose(said[:, 0], own[:, 1], atol=1e-6)
    np.testing.assert_allclose(said[:, 1], own[:, 0], atol=1e-6)
    head = run.model.get_layer("head_logits")
    inputs = tf.keras.Model(run.model.input, head.input)(images)
    logits = np.asarray(head.scored(inputs, bag("retinal hole")[None])[0])
    np.testing.assert_allclose(said[:, 2], 1 / (1 + np.exp(-logits[:, 0])), atol=1e-5)


def test_maps_of_words_are_what_cells_add_to_the_logit(run):
    images = pictures(run, 2)
    assert "words" in possible(run.model)
    maps = explain.maps(run.model, images, "words", labels=[1, 0], fuse=False)[:, :, 0]
    head = run.model.get_layer("head_logits")
    inputs = tf.keras.Model(run.model.input, head.input)(images)
    bags = np.stack([bag("drusen"), bag("hard exudate")])
    parts = np.asarray(head.scored(inputs, bags)[2])
    cells = parts[:, :, 1:].reshape(maps.shape)
    np.testing.assert_allclose(maps, np.maximum(cells, 0), atol=1e-5)
    assert (maps.max(axis=(-2, -1)) > 0).all()


def test_photographs_are_found_by_words(trained, tmp_path, capsys):
    photographs = str(trained / "photographs")
    words = ["--phrases", "hard exudate", "cotton wool spot", "--out", str(tmp_path), "--top", "3"]
    assert main(["retrieve", str(trained / "run"), photographs, *words]) == 0
    assert "hard exudate: " in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "retrieved.csv")
    assert len(table) == 2 * len(list((trained / "photographs").glob("*.png")))
    page = (tmp_path / "retrieved.html").read_text()
    assert page.count("<figure>") == 6
    assert "calibrated on the validation photographs" in page
    assert "are no probabilities" in page
    seen = json.loads((trained / "run/thresholds.json").read_text())["labels"]["hard exudate"]
    said = f"of which {seen['positives']} have it"
    assert (said + ": little more than a guess" in page) == (seen["positives"] < 10)
    assert said in page
    best = table[table["phrase"] == "hard exudate"].nlargest(3, "score")["image"]
    shown = [x.rsplit("/", 1)[-1].removesuffix(".png") for x in best]
    places = [page.index(f"{i + 1}. ") for i in range(3)]
    assert all(name in page for name in shown)
    assert places == sorted(places)


def test_maps_of_any_words_are_scored_against_masks(trained, tmp_path):
    first = sorted((trained / "photographs").glob("*.png"))[:2]
    masks = tmp_path / "masks" / "EX"
    masks.mkdir(parents=True)
    for path in first:
        picture = np.zeros((48, 56), np.uint8)
        picture[20:30, 20:30] = 255
        tf.io.write_file(str(masks / path.name), tf.io.encode_png(picture[..., None]))
    words = ["--phrases", "soft exudate", "--lesions", "soft exudate=EX", "--methods", "words"]
    out = ["--out", str(tmp_path / "out"), "--randomised", "0", "--steps", "4"]
    given = [str(trained / "run"), *map(str, first), "--masks", str(masks.parent), *words, *out]
    assert main(["explain-eval", *given]) == 0
    table = pd.read_csv(tmp_path / "out/faithfulness.csv")
    assert {"words", "uniform", "centred_gaussian"} <= set(table["method"])
    assert set(table["label"]) == {"soft exudate"}


def test_of_a_run_of_words_the_associations_are_of_phrases(trained, tmp_path):
    root = trained / "photographs"
    table = pd.read_csv(root / "manifest.csv", dtype=str, keep_default_na=False)
    (tmp_path / "photographs").mkdir()
    for image in table["image"]:
        (tmp_path / "photographs" / image).symlink_to(root / image)
        picture = np.zeros((48, 56), np.uint8)
        picture[10:24, 10:24] = 255
        masked = tmp_path / "photographs" / f"mask_{image}"
        tf.io.write_file(str(masked), tf.io.encode_png(picture[..., None]))
    table["mask_EX"] = "mask_" + table["image"]
    table.to_csv(tmp_path / "masked.csv", index=False)
    places = ["--manifest", tmp_path / "masked.csv", "--image-root", tmp_path / "photographs"]
    ask = ["associate", trained / "run", *places, "--out", tmp_path / "out", "--methods", "words"]
    assert main([str(x) for x in (*ask, "--regions", "hard exudate=EX")]) == 0
    found = pd.read_csv(tmp_path / "out/associations.csv")
    assert set(found["label"]) == {"hard exudate", "drusen"}
    assert len(found) == 2 * len(table)
    defined = found.dropna(subset="ratio")
    np.testing.assert_allclose(defined["ratio"], defined["share"] / defined["area"])
    assert len(defined) > len(found) / 2


def test_words_that_cannot_be_asked(trained, run, tmp_path, capsys):
    for wrong in (["drusen", "Drusen "], ["a, b"], [""], []):
        with pytest.raises(UsageError, match="--phrases"):
            asked(run, wrong)
    other = load_run_of_labels(tmp_path)
    with pytest.raises(UsageError, match="this one scores labels"):
        asked(other, ["drusen"])
    assert "words" not in possible(other.model)
    capsys.readouterr()
    places = ["--phrases", "x", "--labels", "drusen", "--out", str(tmp_path / "o")]
    photograph = str(trained / "photographs/000_left.png")
    assert main(["explain", str(trained / "run"), photograph, *places]) == 2
    assert "stand in place of --labels" in capsys.readouterr().err


def load_run_of_labels(folder):
    manifest = make_photographs(folder / "photographs", patients=20)
    assert train_only(manifest, folder / "run", phase2_epochs=0) == 0
    return load_run(folder / "run")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"unit": "patient"}, "of single eyes"),
        ({"without_labels": "C"}, "has no such label"),
        ({"without_labels": ("A", "B")}, "has no others"),
    ],
)
def test_what_no_words_are_learned_from(tmp_path, capsys, flags, said):
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    assert train_only(manifest, tmp_path / "run", task="findings", **flags) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
