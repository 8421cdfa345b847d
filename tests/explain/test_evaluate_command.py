"""`explain-eval` on runs of random weights."""

import json
from fnmatch import fnmatch
from itertools import islice

import cv2
import numpy as np
import pandas as pd
import pytest
from explained import evaluate, files
from laid import in_ellipse, placed_in_field, placed_in_picture

from fundus_diag import explain, load_run
from fundus_diag.explain import evaluate as evaluation
from fundus_diag.explain.explainer import grid_of
from fundus_diag.explain.filters import clean
from fundus_diag.explain.metrics import localization, randomization
from fundus_diag.explain.metrics.deletion import deletion_insertion
from fundus_diag.explain.settings import Settings
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.runs.contents import FILES

pytestmark = pytest.mark.usefixtures("eager")


def test_maps_are_scored_beside_two_that_know_nothing(folder, tmp_path, capsys):
    assert evaluate(folder, tmp_path, "--methods", "layer_cam", "grad_cam", "--adaptive") == 0
    summary = pd.read_csv(tmp_path / "faithfulness.csv")
    images = pd.read_csv(tmp_path / "faithfulness_images.csv")
    facts = json.loads((tmp_path / "faithfulness.json").read_text())
    manifest = pd.read_csv(folder / "photographs" / "manifest.csv")
    test = manifest[manifest["split"] == "test"]
    assert facts["photographs"] == len(test)
    assert facts["scored"] == {"A": int(test["A"].sum())}
    assert facts["without_lesion"] == {"A": int((test["A"] == 0).sum())}
    assert list(zip(summary["method"], summary["filter"], strict=True)) == [
        ("layer_cam", "none"), ("layer_cam", "median 3"), ("layer_cam", "median 3 + adaptive"),
        ("grad_cam", "none"), ("grad_cam", "median 3"), ("grad_cam", "median 3 + adaptive"),
        ("uniform", "none"), ("centred_gaussian", "none"),
    ]  # fmt: skip
    for method, name in zip(summary["method"], summary["filter"], strict=True):
        own = images[(images["method"] == method) & (images["filter"] == name)]
        line = summary[(summary["method"] == method) & (summary["filter"] == name)].iloc[0]
        assert set(own["image"]) == set(test["image"][test["A"] == 1])
        for figure in ("pointing", "energy", "overlap", "iou", "iou_best", "deletion"):
            assert line[figure] == pytest.approx(own[figure].mean(), nan_ok=True), figure
    uniform = images[images["method"] == "uniform"].iloc[0]
    mask = cv2.imread(str(folder / "masks" / "bright" / f"{uniform['image'][:-4]}_bright.png"), 0)
    field = load_photograph(folder / "photographs" / uniform["image"], 32).field
    inside = in_ellipse(field, *mask.shape)
    assert 0.5 < inside.mean() < 0.7  # a disc of 22 px in 48 x 56
    share = (mask[inside] > 0).sum() / inside.sum()
    assert uniform["energy"] == pytest.approx(share, rel=1e-3)
    stages = pd.read_csv(tmp_path / "randomised.csv")
    assert list(stages["randomised_from_head_to"].unique()) == ["head", "conv2", "conv1"]
    assert summary["randomised_correlation"][0] == pytest.approx(
        stages[stages["method"] == "layer_cam"]["correlation"].iloc[-1]
    )
    for path in tmp_path.iterdir():  # what is not known would outlive an --overwrite of the run
        assert any(fnmatch(path.name, pattern) for pattern in FILES["faithfulness"]), path
    assert cv2.imread(str(tmp_path / "deletion_insertion_A.png")).std() > 5
    assert "photographs without a lesion" in capsys.readouterr().out


def test_each_eye_and_label_is_scored_by_its_own_map_beside_the_other_eye(folder, tmp_path):
    words = ["--lesions", "A=bright", "B=bright", "--methods", "layer_cam", "--randomised", "0"]
    assert evaluate(folder, tmp_path, *words, run="patient") == 0
    run, root = load_run(folder / "patient"), folder / "photographs"
    scored = pd.read_csv(tmp_path / "faithfulness_images.csv")
    scored = scored[(scored["method"] == "layer_cam") & (scored["filter"] == "none")]
    assert set(scored["eye"]) == {"left", "right"}
    assert scored.groupby("patient")["label"].nunique().max() == 2
    for patient, rows in scored.groupby("patient"):
        names = [f"{int(patient[1:]):03d}_{eye}.png" for eye in ("left", "right")]
        seen = [load_photograph(root / x, 32) for x in names if (root / x).exists()]
        pair = np.zeros((1, 2, 32, 32, 3), np.float32)
        pair[0, : len(seen)] = [x.picture for x in seen]
        mask = np.array([[1, len(seen) - 1]], np.float32)
        grid = grid_of(run.model, "layer_cam", ("conv1_act", "conv2_act"))
        for row in rows.to_dict("records"):
            eye, k = ("left", "right").index(row["eye"]), run.labels.index(row["label"])
            own = seen[eye]
            inside = np.ones((1, 2, 32, 32), bool)
            inside[0, eye] = placed_in_picture(np.ones((2, 2)), grid, own)[1]
            map = explain.maps(run.model, pair, labels=[k], mask=mask, inside=inside)[0, eye, 0]
            laid, there = placed_in_picture(map, grid, own)

            def predict(pictures, eye=eye, k=k, pair=pair, mask=mask):
                pairs = np.repeat(pair, len(pictures), axis=0)
                pairs[:, eye] = pictures
                return run.predict(pairs, np.repeat(mask, len(pictures), axis=0))[:, k]

            curves = deletion_insertion(own.picture, laid, predict, 4, inside=there)
            assert row["deletion"] == pytest.approx(curves["deletion_area"], abs=1e-4)
            assert row["probability"] == pytest.approx(curves["deletion"][0], abs=1e-6)
            path = folder / "masks" / "bright" / f"{row['image'][:-4]}_bright.png"
            lesion, wide = cv2.imread(str(path), 0) > 0, placed_in_field(map, grid, own)
            assert row["energy"] == pytest.approx(wide[lesion].sum() / wide.sum(), rel=1e-3)


def test_masks_of_another_size_are_resized_and_counted(folder, tmp_path, capsys, monkeypatch):
    within, near = localization.within, []
    monkeypatch.setattr(
        localization, "within", lambda mask, far: near.append(far) or within(mask, far)
    )
    other = tmp_path / "masks" / "bright"
    other.mkdir(parents=True)
    for path in (folder / "masks" / "bright").glob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(other / path.name), cv2.resize(mask, None, fx=2, fy=2))
    flags = ["--masks", tmp_path / "masks", "--methods", "grad_cam", "--randomised", "0"]
    flags += ["--tolerance", "0.05"]
    assert evaluate(folder, tmp_path / "out", *map(str, flags)) == 0
    facts = json.loads((tmp_path / "out" / "faithfulness.json").read_text())
    assert facts["resized_masks"] == facts["scored"]["A"] > 0
    # Once a mask, as a share of the photograph's longer side; the peaks themselves come without.
    assert [x for x in near if x] == [0.05 * 56] * facts["scored"]["A"]
    assert "resized by nearest neighbour" in capsys.readouterr().out


def test_what_is_called_unfiltered_is_and_what_is_called_filtered_is_not():
    maps = np.random.default_rng(0).random((1, 20, 20)).astype("float32")
    found = {"fused": {"layer_cam": {"": maps}}, "grids": {"layer_cam": None}}
    rows = islice(evaluation._variants(found, "", 0, Settings(adaptive=True)), 3)
    got = {row[1]: row[2] for row in rows}
    np.testing.assert_array_equal(got["none"], maps[0])
    np.testing.assert_array_equal(got["median 3"], clean(maps[0], 3))
    np.testing.assert_array_equal(got["median 3 + adaptive"], clean(maps[0], 3, adaptive=True))
    assert (got["none"] != got["median 3"]).any()


def test_wrong_masks_and_lesions_are_one_line(folder, tmp_path, capsys):
    for words, status, text in (
        (["--masks", tmp_path / "none"], 1, "the folder of masks is not a folder"),
        (["--lesions", "A=nothing"], 1, "no folder nothing in it"),
        (["--lesions", "X=bright"], 2, "the run has A, B"),
        (["--lesions", "A=../bright"], 2, "LABEL=NAME"),
        (["--lesions", "A"], 2, "LABEL=NAME"),
        (["--tolerance", "2"], 2, "--tolerance 2"),
    ):
        assert evaluate(folder, tmp_path / "out", *map(str, words)) == status, words
        assert text in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_sanity_check_leaves_the_weights_as_they_were_and_tells_who_ignores_them(folder):
    run = load_run(folder / "eye")
    before = [w.copy() for w in run.model.get_weights()]
    images = np.stack([load_photograph(p, 32)[0] for p in files(folder, 4)])
    draws = {
        "maps": lambda: explain.maps(run.model, images, labels=[0])[:, 0],
        "edges": lambda: np.abs(np.gradient(images.mean(axis=-1), axis=1)),  # knows no network
        "one weight": lambda: (
            run.model.get_layer("conv1").get_weights()[0][None, :, :, 0, 0].copy()
        ),
    }
    stages = dict(randomization.cascade(run.model, images, draws))
    for got, want in zip(run.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    assert list(stages) == ["head", "conv2", "conv1"]
    assert all(len(found["maps"]) == 4 for found in stages.values())
    np.testing.assert_allclose(stages["conv1"]["edges"], 1)
    assert np.isfinite(stages["conv1"]["maps"]).all()
    assert stages["conv1"]["maps"].mean() < 0.8
    assert stages["conv2"]["one weight"] == pytest.approx(1)  # from the top down: not yet
    assert stages["conv1"]["one weight"] < 0.9


def test_masks_of_photographs_of_other_splits_are_known(folder, tmp_path, monkeypatch):
    """A mask of one that is not scored must not count for another of a shorter name."""
    find, known = evaluation.find_masks, []
    monkeypatch.setattr(evaluation, "find_masks", lambda *x: known.extend(x[2]) or find(*x))
    assert evaluate(folder, tmp_path, "--methods", "layer_cam", "--randomised", "0") == 0
    table = pd.read_csv(folder / "photographs" / "manifest.csv")
    assert set(table["image"]) <= set(known)
    assert set(pd.read_csv(tmp_path / "faithfulness_images.csv")["image"]) <= set(
        table.loc[table["split"] == "test", "image"]
    )


def test_a_patient_with_one_eye_stands_in_the_sanity_check(folder):
    run, root = load_run(folder / "patient"), folder / "photographs"
    pictures = [load_photograph(x, 32).picture for x in sorted(root.glob("*.png"))[:3]]
    inside = np.ones((32, 32), bool)
    both = {"left": pictures[0], "right": pictures[1]}
    drawn = [(both, dict.fromkeys(both, inside)), ({"left": pictures[2]}, {"left": inside})]
    layers = {"layer_cam": ("conv1_act", "conv2_act")}
    found = evaluation._randomised(run, drawn, ["A", "B"], layers, Settings(), 0)
    assert set(found["maps"]) == {3}  # the eye that is not there has none
    assert found["correlation"].notna().all()
