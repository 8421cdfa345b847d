"""The methods of transformers through both commands."""

import functools
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from attentive import NEW
from explained import evaluate, files, rows_of, spots
from laid import placed_in_field
from tiny import make_photographs, ready_run

from fundus_diag import explain, load_run, models
from fundus_diag.cli import main
from fundus_diag.explain import explainer
from fundus_diag.explain.laying import reached
from fundus_diag.imaging.inside import picture_field
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.models import mae_vit
from fundus_diag.models.geometry import stretched


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs, the masks of their spots, and a run of a tiny ViT over eyes."""
    folder = tmp_path_factory.mktemp("attention")
    manifest = make_photographs(folder / "photographs")
    options = {"width": 24, "depth": 2, "heads": 3, "patch": 8}
    with pytest.MonkeyPatch.context() as patch:
        tiny = functools.partial(mae_vit.feature_map, **options)
        patch.setitem(models.FEATURE_MAPS, "tiny_vit", tiny)
        patch.setitem(models.CAM_LAYERS, "tiny_vit", mae_vit.cam_layers)
        patch.setitem(models.HEADS, "tiny_vit", mae_vit.HEAD)
        encoder = functools.partial(models.build_encoder, "tiny_vit")
        patch.setitem(models.ENCODERS, "tiny_vit", encoder)
        ready_run(manifest, folder / "eye", encoder="tiny_vit")
        spots(manifest, folder / "masks")
        yield folder


def run_explain(folder, *words, run="eye"):
    return main([str(w) for w in ("explain", folder / run, *words)])


@pytest.mark.slow
@pytest.mark.traced
def test_the_command_shows_all_methods_side_by_side(folder, tmp_path, capsys):
    words = ["--methods", "attention-rollout", "Chefer", "ViT-CX", "LayerCAM", "grad-cam"]
    words += ["--images", *files(folder, 2), "--labels", "A", "B"]
    assert run_explain(folder, *words, "--out", tmp_path / "plain") == 0
    assert "2 explained, 20 maps" in capsys.readouterr().out
    run = load_run(folder / "eye")
    path = files(folder, 1)[0]
    arrays = np.load(tmp_path / "plain" / f"{path.stem}.npz")
    loaded = load_photograph(path, 32)
    picture, inside = loaded.picture[None], picture_field(loaded)[None]
    for method in NEW:
        want = explain.maps(run.model, picture, method, [0, 1], fuse=False)[0]
        np.testing.assert_allclose(arrays[method], want, atol=1e-4 * want.max())
        fused = explain.maps(run.model, picture, method, [0, 1], inside=inside)[0]
        there = reached(inside, stretched((4, 4), 32)).numpy()  # patches of 8 px
        assert there.all()  # so large are these cells
        np.testing.assert_allclose(arrays[f"{method}_fused"], fused * there, atol=1e-3)
    assert list(arrays["rollout_layers"]) == []
    assert list(arrays["vit_cx_layers"]) == ["blocks.1.norm1"]
    table = rows_of(tmp_path / "plain" / "explanations.csv")
    assert set(table["method"]) == {*NEW, "layer_cam", "grad_cam"}
    for name in (f"{path.stem}.png", f"{path.stem}_methods.png"):
        page = cv2.imread(str(tmp_path / "plain" / name))
        assert page.shape[1] > 500, name
        assert page.std() > 10, name
    words = ["--head-fusion", "max", "--discard-ratio", "0.5", "--aug-smooth", "--labels", "A", "B"]
    words += ["--images", path, "--methods", "rollout", "--out", tmp_path / "other"]
    assert run_explain(folder, *words) == 0
    other = np.load(tmp_path / "other" / f"{path.stem}.npz")
    options = {"head_fusion": "max", "discard_ratio": 0.5, "aug_smooth": True, "fuse": False}
    want = explain.maps(run.model, picture, "rollout", [0, 1], **options)[0]
    np.testing.assert_allclose(other["rollout"], want, rtol=1e-3)
    assert np.abs(want - arrays["rollout"]).max() > 1e-2 * want.max()


@pytest.mark.slow
@pytest.mark.traced
def test_the_command_explains_pairs(folder, tmp_path):
    ready_run(folder / "photographs" / "manifest.csv", folder / "patient", "patient", "tiny_vit")
    words = ["--manifest", folder / "photographs" / "manifest.csv", "--methods", *NEW]
    words += ["--image-root", folder / "photographs", "--split", "val", "--out", tmp_path]
    assert run_explain(folder, *words, run="patient") == 0
    both, one = np.load(tmp_path / "p5.npz"), np.load(tmp_path / "p27.npz")
    for method in NEW:
        assert both[f"{method}_left"].shape[1:] == (1, 4, 4)
        assert both[f"{method}_right"].shape == both[f"{method}_left"].shape
        assert (both[f"{method}_right"] != both[f"{method}_left"]).any()
        assert f"{method}_right" not in one


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--discard-ratio", "1"], 2, "--discard-ratio 1.0: must lie from 0 to below 1"),
        (["--discard-ratio", "-0.1"], 2, "--discard-ratio -0.1: must lie from 0"),
        (["--discard-ratio", "nan"], 2, "--discard-ratio nan: must lie from 0"),
        (["--head-fusion", "sum"], 2, "sum"),
        (["--layers", "blocks.1.norm1"], 2, "--layers: rollout takes none"),
        (["--eigen-smooth"], 2, "--eigen-smooth: only for"),
    ],
)
def test_a_wrong_flag_is_one_line(folder, tmp_path, capsys, words, status, text):
    flags = ["--images", *files(folder, 1), "--out", tmp_path / "o", "--methods", "rollout"]
    assert run_explain(folder, *flags, *words) == status
    error = capsys.readouterr().err.strip()
    assert text in error
    assert "Traceback" not in error
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.traced
def test_maps_are_scored_by_the_measures_of_all_maps(folder, tmp_path, monkeypatch):
    options, maps = {"head_fusion": "min", "discard_ratio": 0.3}, explain.maps
    seen = []
    monkeypatch.setattr(
        explainer, "maps", lambda *args, **given: seen.append(given) or maps(*args, **given)
    )
    words = ["--methods", *NEW, "--head-fusion", "min", "--discard-ratio", "0.3"]
    assert evaluate(folder, tmp_path, *words) == 0
    summary = pd.read_csv(tmp_path / "faithfulness.csv")
    assert list(summary["method"].unique()) == [*NEW, "uniform", "centred_gaussian"]
    assert summary["overlap"].notna().all()
    own = summary[summary["method"].isin(["rollout", "chefer"])]
    for figure in ("pointing", "energy", "iou", "deletion", "insertion"):
        assert own[figure].notna().all(), figure
    stages = pd.read_csv(tmp_path / "randomised.csv")
    below = ["head", "blocks.1", "blocks.0", "embed"]
    assert list(stages["randomised_from_head_to"].unique()) == below
    rollout = stages[stages["method"] == "rollout"].set_index("randomised_from_head_to")
    assert rollout["correlation"]["head"] == pytest.approx(1)
    assert rollout["correlation"]["embed"] < 0.9
    facts = json.loads((tmp_path / "faithfulness.json").read_text())
    assert facts["layers"] == {"rollout": [], "chefer": [], "vit_cx": ["blocks.1.norm1"]}
    assert (facts["head_fusion"], facts["discard_ratio"]) == ("min", 0.3)
    images = pd.read_csv(tmp_path / "faithfulness_images.csv")
    first = images[(images["method"] == "rollout") & (images["filter"] == "none")].iloc[0]
    run, path = load_run(folder / "eye"), folder / "photographs" / first["image"]
    loaded = load_photograph(path, 32)
    assert seen  # by the sanity check, as the maps that it is about
    assert all(given.items() >= options.items() for given in seen)
    map = explain.maps(run.model, loaded.picture[None], "rollout", [0], **options)[0, 0]
    mask = cv2.imread(str(folder / "masks" / "bright" / f"{path.stem}_bright.png"), 0) > 0
    wide = placed_in_field(map, stretched((4, 4), 32), loaded)
    assert first["energy"] == pytest.approx(wide[mask].sum() / wide.sum(), rel=1e-4)
