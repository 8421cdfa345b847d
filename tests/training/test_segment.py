"""`segment`: from a table with masks to masks of other photographs, and what stops it."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.metrics import average_precision_score
from tiny import make_photographs, ready_run  # adds the encoder of that name, too

from fundus_diag.cli import main
from fundus_diag.explain.of_pixels import class_maps
from fundus_diag.export.onnx import load_onnx
from fundus_diag.export.openvino import load_openvino
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.metrics.lesions import froc_of, marks
from fundus_diag.report import segments
from fundus_diag.runs.segmenter import load_segmenter
from fundus_diag.training import checkpoint, loop

SIDE = 64


def make_masked(folder, count=12, seed=0):
    """Round fields with a bright spot (class spot) in most; the darker half of the field (half) is
    outlined in the first two thirds alone. Returns the manifest's path."""
    rng = np.random.default_rng(seed)
    rows = []
    for kind in ("images", "spot", "half"):
        (folder / kind).mkdir(parents=True)
    y, x = np.indices((SIDE, SIDE))
    field = (x - 31.5) ** 2 + (y - 31.5) ** 2 < 30**2
    for i in range(count):
        image = np.where(field[..., None], rng.integers(80, 130, 3), 0)
        half = field & (x * np.cos(i) + y * np.sin(i) > 31.5 * (np.cos(i) + np.sin(i)))
        image = np.where(half[..., None], image // 2, image)
        row, column = rng.integers(20, 44, 2)
        spot = field & ((x - column) ** 2 + (y - row) ** 2 < 6**2) & (i % 4 < 3)
        image = (
            np.where(spot[..., None], 250, image)
            + rng.integers(-5, 6, (SIDE, SIDE, 3)) * field[..., None]
        )
        name = f"{i:02d}.png"
        cv2.imwrite(str(folder / "images" / name), np.clip(image, 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / "half" / name), half * np.uint8(255))
        if spot.any():
            cv2.imwrite(str(folder / "spot" / name), spot * np.uint8(255))
        rows.append(
            {
                "image": f"images/{name}",
                "patient": f"p{i}",
                "eye": "",
                "split": ("train", "train", "val", "test")[i % 4 if i >= 4 else i],
                "mask_spot": f"spot/{name}" if spot.any() else "none",
                "mask_half": f"half/{name}" if 3 * i < 2 * count else "",
            }
        )
    path = folder / "manifest.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def words(manifest, run_dir, *more, **flags):
    flags = {
        "encoder": "tiny", "weights": "none", "image_size": SIDE, "patch_size": 32, "patches": 4,
        "batch_size": 4, "phase1_epochs": 1, "phase2_epochs": 3, "phase2_rate": 0.01, "ema": 0,
        "patience": 0, "precision": "float32", "decoder_options": "width=0.5", **flags,
    }  # fmt: skip
    said = [x for name, value in flags.items() for x in (f"--{name.replace('_', '-')}", value)]
    places = ["--manifest", manifest, "--image-root", manifest.parent, "--run-dir", run_dir]
    return [str(x) for x in ("segment", "train", *places, *said, *more)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segment")
    manifest = make_masked(folder / "photographs")
    assert main(words(manifest, folder / "run", phase2_epochs=12)) == 0
    return folder


def test_it_learns_and_its_run_says_how(trained):
    config = json.loads((trained / "run/config.json").read_text())
    assert (config["kind"], config["classes"]) == ("segmenter", ["spot", "half"])
    assert config["data"]["splits"]["train"]["looked_at"] == {"spot": 6, "half": 4}
    assert config["data"]["splits"]["test"]["pixels"]["spot"] == 0
    history = pd.read_csv(trained / "run/history.csv")
    assert history["phase"].tolist() == [1, *[2] * 12]
    assert history["val_dice"].max() == history["val_dice"][config["best_epoch"] - 1] > 0.8
    assert history["val_dice"][0] < history["val_dice"].max()
    points = json.loads((trained / "run/thresholds.json").read_text())["labels"]
    assert 0 < points["spot"]["threshold"] < 1
    rows = pd.read_csv(trained / "run/photographs.csv")
    assert rows["split"].value_counts().to_dict() == {"train": 6, "val": 3, "test": 3}


def test_it_starts_from_how_much_there_is_of_each_class(tmp_path, monkeypatch):
    manifest = make_masked(tmp_path / "photographs")
    seen = []

    def stop(fitting):
        seen.append(fitting.model.get_layer("head_logits").bias.numpy())
        raise KeyboardInterrupt

    monkeypatch.setattr("fundus_diag.training.segment.fit", stop)
    assert main(words(manifest, tmp_path / "run")) == 130
    table = pd.read_csv(manifest, keep_default_na=False)
    table = table[table["split"] == "train"]
    share = []
    for name in ("spot", "half"):
        looked = [x for x in table[f"mask_{name}"] if x]
        files = [cv2.imread(str(manifest.parent / x), 0) for x in looked if x != "none"]
        share.append(sum((x > 0).mean() for x in files) / len(looked))
    (bias,) = seen
    np.testing.assert_allclose(1 / (1 + np.exp(-bias)), share, rtol=0.2)  # the field is cut out


def test_a_dry_run_counts_photographs_with_masks_and_writes_nothing(tmp_path, capsys):
    manifest = make_masked(tmp_path / "photographs")
    assert main(words(manifest, tmp_path / "run", "--dry-run")) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert not (tmp_path / "run").exists()
    table = pd.read_csv(manifest, keep_default_na=False)
    train = table[table["split"] == "train"]
    count = {x: (~train[f"mask_{x}"].isin(["", "none"])).sum() for x in ("spot", "half")}
    said = f"{len(train)} photographs of {train['patient'].nunique()} patients: "
    assert f"  train    {said}spot {count['spot']}, half {count['half']}\n" in err
    assert f"{SIDE} px in patches of 32" in err
    steps = len(train) * 4 // 4
    assert f"  steps      {steps} an epoch, batches of 4; {4 * steps} in all\n" in err
    assert "the epoch of the best Dice on val" in err


def test_predict_outlines_what_is_there(trained, tmp_path, capsys):
    photographs = sorted((trained / "photographs/images").glob("*.png"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    larger = cv2.resize(cv2.imread(str(photographs[0])), None, fx=3, fy=3)
    larger = cv2.copyMakeBorder(larger, 0, 0, 30, 0, cv2.BORDER_CONSTANT)
    cv2.imwrite(str(tmp_path / "larger.png"), larger)
    out = tmp_path / "out"
    given = [*photographs, tmp_path / "bad.png", tmp_path / "larger.png"]
    status = main(["segment", "predict", str(trained / "run"), *map(str, given), "--out", str(out)])
    assert status == 0
    assert "bad.png" in capsys.readouterr().err
    table = pd.read_csv(out / "segments.csv", keep_default_na=False)
    assert len(table) == 2 * 13 + 1
    assert table.loc[table["image"].str.contains("bad"), "problem"].str.len().min() > 5
    truth = cv2.imread(str(trained / "photographs/spot/00.png"), 0) > 0
    for name, scale, left in (("00", 1, 0), ("larger", 3, 30)):
        row = table[(table["class"] == "spot") & table["mask"].str.endswith(f"/{name}.png")].iloc[0]
        mask = cv2.imread(str(out / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (64 * scale, 64 * scale + left)
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).sum() == int(row["area"])
        mine = cv2.resize(mask[:, left:], (SIDE, SIDE), interpolation=cv2.INTER_AREA) > 127
        assert 2 * (mine & truth).sum() / (mine.sum() + truth.sum()) > 0.7
    page = (out / "segments.html").read_text()
    assert page.count("<figure>") == 13
    assert "not for clinical use" in page


def test_report_measures_on_the_photographs_own_pixels(trained, tmp_path):
    out = tmp_path / "out"
    run = ["segment", "report", str(trained / "run"), "--split", "val", "--out", str(out)]
    assert main(run) == 0
    each = pd.read_csv(out / "segments_val_images.csv")
    masks = tmp_path / "masks"
    photographs = [str(trained / "photographs" / x) for x in each["image"].unique()]
    predict = ["segment", "predict", str(trained / "run"), *photographs, "--out", str(masks)]
    assert main(predict) == 0
    for row in each[each["class"] == "spot"].itertuples():
        name = row.image.removeprefix("images/")
        called = cv2.imread(str(masks / "masks/spot" / name), 0) > 0
        truth = cv2.imread(str(trained / "photographs/spot" / name), 0)
        both, union = (truth > 0) & called, (truth > 0).sum() + called.sum()
        assert row.dice == pytest.approx(2 * both.sum() / union, abs=0.02)
    # Of `half` two photographs of val were looked at, and one was not.
    assert (each["class"] == "half").sum() == 2
    means = pd.read_csv(out / "segments_val.csv").set_index("class")
    assert means["dice"]["spot"] == pytest.approx(each[each["class"] == "spot"]["dice"].mean())
    assert means["dice_low"]["spot"] <= means["dice"]["spot"] <= means["dice_high"]["spot"]
    page = (out / "report_segments_val.html").read_text()
    assert "these figures are for choosing" in page
    # Another table that holds photographs of the run's own is told of.
    table = str(trained / "photographs/manifest.csv")
    places = ["--manifest", table, "--image-root", str(trained / "photographs")]
    other = ["segment", "report", str(trained / "run"), *places, "--out", str(tmp_path / "other")]
    assert main(other) == 0
    page_of_all = (tmp_path / "other/report_segments_all.html").read_text()
    assert "6 of 12 rows name photographs or patients of the run&#39;s own train" in page_of_all
    assert "these figures are for choosing" not in page_of_all
    assert "spot: spot/02.png" in page  # what was held against what


@pytest.fixture(scope="module")
def enlarged(trained):
    """The photographs thrice as large, with a field of view, a disc and a second observer."""
    folder = trained / "enlarged"
    table = pd.read_csv(trained / "photographs/manifest.csv", dtype=str, keep_default_na=False)
    y, x = np.indices((3 * SIDE, 3 * SIDE))
    made = {
        "fov": (x - 95) ** 2 + (y - 95) ** 2 < 70**2,
        "OD": (x - 60) ** 2 + (y - 90) ** 2 < 12**2,
    }
    for kind in ("images", "spot", "half", "spot_2", *made):
        (folder / kind).mkdir(parents=True)
    for name in (x.split("/")[1] for x in table["image"]):
        for kind in ("images", "spot", "half"):
            small = cv2.imread(str(trained / "photographs" / kind / name), cv2.IMREAD_UNCHANGED)
            if small is not None:
                cv2.imwrite(str(folder / kind / name), small.repeat(3, axis=0).repeat(3, axis=1))
        for kind, mask in made.items():
            cv2.imwrite(str(folder / kind / name), mask * np.uint8(255))
    for i, row in table.iterrows():
        name = row["image"].split("/")[1]
        table.loc[i, ["mask_fov", "mask_OD"]] = [f"fov/{name}", f"OD/{name}"]
        if row["mask_spot"] != "none":
            spot = cv2.imread(str(folder / "spot" / name), 0)
            cv2.imwrite(str(folder / "spot_2" / name), cv2.dilate(spot, np.ones((5, 5), np.uint8)))
            table.loc[i, "mask_spot_2"] = f"spot_2/{name}"
    table.fillna("").to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def test_every_figure_of_the_report_comes_of_the_probabilities_that_predict_writes(
    trained, enlarged, tmp_path
):
    places = ["--manifest", enlarged, "--image-root", enlarged.parent]
    given = ["segment", "report", trained / "run", *places, "--out", tmp_path / "report"]
    assert main([str(x) for x in given]) == 0
    given = ["segment", "predict", trained / "run", enlarged, "--image-root", enlarged.parent]
    given += ["--out", tmp_path / "said", "--probabilities"]
    assert main([str(x) for x in given]) == 0
    points = json.loads((trained / "run/thresholds.json").read_text())["labels"]
    table = pd.read_csv(enlarged, dtype=str, keep_default_na=False).set_index("image")
    each = pd.read_csv(tmp_path / "report/segments_all_images.csv")
    with np.load(tmp_path / "report/segments_all_counts.npz") as file:
        counts = {key: file[key] for key in file.files}
    sums = {"spot": np.zeros(3), "half": np.zeros(3)}

    def mask(cell):
        if cell == "none":
            return np.zeros((3 * SIDE, 3 * SIDE), bool)
        return cv2.imread(str(enlarged.parent / cell), 0) > 0

    where = mask(table["mask_fov"].iloc[0])
    across = 2 * np.sqrt(mask(table["mask_OD"].iloc[0]).sum() / np.pi)
    assert set(each["by"]) == {"network", "second observer"}
    assert len(each) == 12 + 8 + (table["mask_spot_2"] != "").sum()
    for row in each.to_dict("records"):
        name = row["image"].split("/")[1]
        truth = mask(table.at[row["image"], f"mask_{row['class']}"])[where]
        scores = cv2.imread(str(tmp_path / "said/probabilities" / row["class"] / name), 0)[where]
        threshold = np.ceil(points[row["class"]]["threshold"] * 255 - 1e-6)
        called = scores >= threshold
        if row["by"] == "second observer":
            called = mask(table.at[row["image"], "mask_spot_2"])[where]
        both, either = (truth & called).sum(), (truth | called).sum()
        wanted = {
            "dice": 2 * both / (truth.sum() + called.sum()) if either else np.nan,
            "iou": both / either if either else np.nan,
            "sensitivity": both / truth.sum() if truth.any() else np.nan,
            "specificity": (~truth & ~called).sum() / (~truth).sum(),
            "precision": both / called.sum() if called.any() else np.nan,
        }
        if row["by"] == "network":
            area = average_precision_score(truth, scores) if truth.any() else np.nan
            wanted["average_precision"] = area
            sums[row["class"]] += both, truth.sum(), called.sum()
            assert row["hausdorff95_discs"] == pytest.approx(
                row["hausdorff95"] / across, nan_ok=True
            )
            (at,) = np.flatnonzero(
                (counts["image"] == row["image"]) & (counts["class"] == row["class"])
            )
            assert (counts["every"][at] == np.bincount(scores, minlength=256)).all()
            assert (counts["hits"][at] == np.bincount(scores[truth], minlength=256)).all()
        assert {x: row[x] for x in wanted} == pytest.approx(wanted, nan_ok=True), row
    means = pd.read_csv(tmp_path / "report/segments_all.csv").set_index(["class", "by"])
    for name, (both, truth, called) in sums.items():
        pooled = means.loc[(name, "network"), "pooled_dice"]
        assert pooled == pytest.approx(2 * both / (truth + called))
    assert means.loc[("spot", "network"), "lesions"] == (table["mask_spot"] != "none").sum()
    page = (tmp_path / "report/report_segments_all.html").read_text()
    assert "disc diameters" in page
    assert "spot_2/00.png" in page  # which file was held against which


def test_lesions_are_counted_at_levels_that_a_sure_network_still_tells_apart():
    """A lesion and four false marks, all above the highest of 255 levels."""
    scores, truth = np.zeros((20, 20)), np.zeros((20, 20), bool)
    truth[:3, :3], scores[:3, :3] = True, 0.9999
    for k in range(4):
        scores[6 + 3 * k, 10] = 0.999 - k / 1e4
    fine = np.rint(scores * segments.FINE).astype(np.uint16)
    assert len(np.unique(np.rint(scores * 255))) == 2
    found = [marks(truth, fine, segments.STEPS)]
    assert froc_of(found, [0, 1, 4]).tolist() == [1, 1, 1]
    coarse = [marks(truth, np.rint(scores * 255), np.arange(1, 256))]
    assert froc_of(coarse, [0, 1, 4]).tolist() == [0, 0, 1]


def test_a_second_scoring_of_test_is_said(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    for path in (tmp_path / "run").glob("*scored*"):
        path.unlink()
    for path in (tmp_path / "run").glob("segments_test*"):
        path.unlink()
    said = []
    for _ in range(2):
        assert main(["segment", "report", str(tmp_path / "run")]) == 0
        said.append(json.loads((tmp_path / "run/segments_test.json").read_text())["beware"])
    assert said[0] == []
    assert "scored 2 times" in said[1][0]


def test_masks_that_no_prediction_made_are_not_written_over(trained, tmp_path, capsys):
    shutil.copytree(trained / "photographs/images", tmp_path / "images")
    (tmp_path / "masks/spot").mkdir(parents=True)
    truth = tmp_path / "masks/spot/00.png"
    shutil.copy(trained / "photographs/spot/00.png", truth)
    before = truth.read_bytes()
    command = ["segment", "predict", str(trained / "run"), str(tmp_path / "images"), "--out"]
    assert main([*command, str(tmp_path)]) == 2
    assert "its masks are of no prediction" in capsys.readouterr().err
    assert truth.read_bytes() == before
    for _ in range(2):  # its own it replaces
        assert main([*command, str(tmp_path / "said")]) == 0


def test_a_photograph_without_the_class_leaves_its_figures_undefined(trained, tmp_path):
    assert main(["segment", "report", str(trained / "run"), "--out", str(tmp_path)]) == 0
    each = pd.read_csv(tmp_path / "segments_test_images.csv")
    spot = each[each["class"] == "spot"]
    assert len(spot) == 3
    assert spot["sensitivity"].isna().all()
    # Where some is called it is 0, where none is called there is none.
    called = spot["precision"].notna()
    assert (spot["dice"][called] == 0).all()
    assert spot["dice"][~called].isna().all()


def test_an_interrupted_training_goes_on_to_the_same_end(tmp_path, monkeypatch, capsys):
    manifest = make_masked(tmp_path / "photographs")
    whole, other = tmp_path / "whole", tmp_path / "other"
    flags = {"phase2_epochs": 2, "ema": 1.0}
    assert main(words(manifest, whole, "--deterministic", **flags)) == 0
    real = loop._run_epoch

    def two(fitting, learner, phase, pace):
        if len(fitting.state["history"]) == 2:
            raise KeyboardInterrupt
        real(fitting, learner, phase, pace)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_run_epoch", two)
        assert main(words(manifest, other, "--deterministic", **flags)) == 130
    # The flags are those of the run; the table may lie elsewhere.
    moved = shutil.copytree(tmp_path / "photographs", tmp_path / "moved") / "manifest.csv"
    places = ["--manifest", str(moved), "--image-root", str(moved.parent)]
    goes_on = ["segment", "train", "--run-dir", str(other), "--resume", *places]
    mask = moved.parent / "half" / "02.png"  # of a photograph of val
    content = mask.read_bytes()
    cv2.imwrite(str(mask), cv2.imread(str(mask), 0)[::-1])
    assert main(goes_on) == 1
    assert "the masks of split 'val' have changed since" in capsys.readouterr().err
    mask.write_bytes(content)
    assert main(goes_on) == 0
    a, b = (pd.read_csv(x / "history.csv") for x in (whole, other))
    pd.testing.assert_frame_equal(a, b)
    assert (
        checkpoint.load_state(whole / "checkpoint")[1]["best_epoch"] == a["val_dice"].idxmax() + 1
    )
    for x, y in zip(load_segmenter(whole).model.weights, load_segmenter(other).model.weights,
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(x.numpy(), y.numpy())


@pytest.fixture(scope="module")
def transformer(trained):
    """The run of a TransUNet."""
    manifest, run = trained / "photographs" / "manifest.csv", trained / "transformer"
    own = ("--network", "transunet", "width=0.5", "channels=32", "depth=2", "heads=2")
    words_ = words(manifest, run, *own[:2], phase2_epochs=1)
    at = words_.index("--decoder-options")
    words_[at + 1 : at + 2] = own[2:]
    assert main(words_) == 0
    return run


def test_a_transformer_shows_where_the_pixels_of_each_class_come_from(
    trained, transformer, tmp_path, capsys
):
    photographs = sorted(map(str, (trained / "photographs/images").glob("*.png")))[:2]
    ask = ["segment", "predict", str(transformer), *photographs, "--out", str(tmp_path / "o")]
    assert main([*ask, "--maps", "chefer"]) == 0
    written = sorted(
        x.relative_to(tmp_path / "o/maps") for x in (tmp_path / "o/maps").rglob("*.jpg")
    )
    assert [str(x) for x in written] == ["half/00.jpg", "half/01.jpg", "spot/00.jpg", "spot/01.jpg"]
    run = load_segmenter(transformer)
    loaded = load_photograph(photographs[0], SIDE, run.config["crop"])
    maps = {x: class_maps(run, loaded, x) for x in ("chefer", "rollout")}
    for found in maps.values():
        assert found.shape == (SIDE, SIDE, 2)
        np.testing.assert_allclose(found.max(axis=(0, 1)), 1, rtol=1e-5)
        assert found.min() >= 0
        assert np.abs(found[..., 0] - found[..., 1]).max() > 0.01
    ask[2] = str(trained / "run")
    assert main([*ask, "--maps", "chefer"]) == 2
    assert "has no attention over its whole map: of --network" in capsys.readouterr().err


def test_its_config_makes_it_again(trained, tmp_path, monkeypatch):
    config = str(trained / "run/config.json")
    seen = []
    monkeypatch.setattr("fundus_diag.training.segment.train_segmenter", lambda x, _: seen.append(x))
    assert main(["segment", "train", "--config", config, "--run-dir", str(tmp_path / "r")]) == 0
    assert (seen[0].patch_size, seen[0].decoder_options) == (32, ("width=0.5",))


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"mask_spot": None, "mask_half": None}, {}, "no column mask_<name>"),
        ({"mask_spot": "none"}, {}, "class 'spot' has no pixel in split 'train'"),
        ({"mask_spot": "spot/nowhere.png"}, {}, "no such mask under"),
        ({"mask_spot": "images/00.png"}, {}, "levels of gray"),
        ({"split": "train"}, {}, "no row in split 'val'"),
        ({}, {"classes": "nose"}, "has masks of spot, half"),
        ({}, {"patch_size": 128}, "--patch-size 128: larger than --image-size 64"),
        ({}, {"cache": "none"}, "--cache none"),
        ({}, {"encoder": "mae_vit_tiny"}, "maps of one size alone"),
        ({}, {"decoder_options": "size=3"}, "unet has width (NAME=VALUE)"),
        ({}, {"decoder_options": "width=0.01"}, "leaves no channel"),
    ],
)
def test_what_no_segmenter_learns_from_is_said_in_a_line(tmp_path, capsys, change, more, said):
    manifest = make_masked(tmp_path / "photographs", count=8)
    table = pd.read_csv(manifest, keep_default_na=False)
    for name, value in change.items():
        table = table.drop(columns=name) if value is None else table.assign(**{name: value})
    table.to_csv(manifest, index=False)
    assert main(words(manifest, tmp_path / "run", **more)) in (1, 2)
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_masks_that_do_not_fit_are_named_all_at_once(tmp_path, capsys):
    manifest = make_masked(tmp_path / "photographs", count=8)
    spots = tmp_path / "photographs/spot"
    cv2.imwrite(str(spots / "00.png"), np.zeros((60, 70), np.uint8))
    blurred = cv2.GaussianBlur(cv2.imread(str(spots / "01.png"), 0), (5, 5), 2)
    cv2.imwrite(str(spots / "01.png"), blurred)
    assert main(words(manifest, tmp_path / "run")) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "00.png: 70x60 pixels, but images/00.png has 64x64" in line
    assert "(+6 and -4)" in line
    assert "levels of gray" in line
    assert "2 photographs cannot be read" in line


def test_val_without_a_pixel_of_any_class_is_refused(tmp_path, capsys):
    manifest = make_masked(tmp_path / "photographs", count=8)
    table = pd.read_csv(manifest, keep_default_na=False)
    table.loc[table["split"] == "val", ["mask_spot", "mask_half"]] = "none"
    table.to_csv(manifest, index=False)
    assert main(words(manifest, tmp_path / "run")) == 1
    assert "no class has a pixel in split 'val'" in capsys.readouterr().err


def test_pixels_that_nobody_looks_at_are_none_of_val(tmp_path, capsys):
    manifest = make_masked(tmp_path / "photographs", count=8)
    folder = manifest.parent / "fov"
    folder.mkdir()
    table = pd.read_csv(manifest, keep_default_na=False)
    for i, row in table.iterrows():
        seen = row["split"] != "val"
        cv2.imwrite(str(folder / f"{i}.png"), np.full((SIDE, SIDE), 255 * seen, np.uint8))
        table.loc[i, "mask_fov"] = f"fov/{i}.png"
    table.to_csv(manifest, index=False)
    assert main(words(manifest, tmp_path / "run")) == 1
    assert "no class has a pixel in split 'val'" in capsys.readouterr().err


def test_a_row_without_a_split_is_refused(tmp_path, capsys):
    manifest = make_masked(tmp_path / "photographs", count=8)
    table = pd.read_csv(manifest, keep_default_na=False)
    table.loc[3, "split"] = ""
    table.to_csv(manifest, index=False)
    assert main(words(manifest, tmp_path / "run", "--dry-run")) == 1
    assert "rows without a split" in capsys.readouterr().err


def test_a_class_is_no_folder_outside(tmp_path):
    manifest = make_masked(tmp_path / "photographs", count=8)
    table = pd.read_csv(manifest, keep_default_na=False)
    table.rename(columns={"mask_spot": "mask_a/../../spot"}).to_csv(manifest, index=False)
    assert main(words(manifest, tmp_path / "run", phase2_epochs=0)) == 0
    photograph, out = tmp_path / "photographs/images/00.png", tmp_path / "deep/out"
    run = str(tmp_path / "run")
    assert main(["segment", "predict", run, str(photograph), "--out", str(out)]) == 0
    names = {x.parent.relative_to(out).as_posix() for x in out.rglob("*.png")}
    assert names == {"masks/a%2F..%2F..%2Fspot", "masks/half"}
    assert [x.name for x in (tmp_path / "deep").iterdir()] == ["out"]


def test_what_a_segmenter_outlines_is_a_region_as_masks_of_the_same_are(trained, tmp_path):
    root = tmp_path / "photographs"
    manifest = make_photographs(root, patients=6)
    ready_run(manifest, tmp_path / "run")
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    places = ["--manifest", str(manifest), "--image-root", str(root)]
    val = ["--split", "val", "--out", str(tmp_path / "run/predictions_val.csv")]
    assert main(["predict", str(tmp_path / "run"), *places, *val]) == 0
    segmenter, drawn = str(trained / "run"), tmp_path / "drawn"
    assert main(["segment", "predict", segmenter, str(root), "--out", str(drawn)]) == 0
    shutil.copytree(drawn / "masks", root / "masks")
    for name in ("spot", "half"):
        table[f"mask_{name}"] = [f"masks/{name}/{x}" for x in table["image"]]
    table.to_csv(root / "masked.csv", index=False)
    own, given = tmp_path / "own", tmp_path / "given"
    ask = ["associate", str(tmp_path / "run"), "--regions", "A=spot", "B=half"]
    assert main([*ask, *places, "--segment", segmenter, "--out", str(own)]) == 0
    places[1] = str(root / "masked.csv")
    assert main([*ask, *places, "--out", str(given)]) == 0
    one, other = (pd.read_csv(x / "associations.csv") for x in (own, given))
    assert set(one["region"]) == {"spot", "half"}
    pd.testing.assert_frame_equal(one, other, atol=1e-6)


@pytest.fixture(scope="module")
def classifier(trained):
    """The run of a classifier of labels, and a table that it knows."""
    manifest = make_photographs(trained / "labelled", patients=6)
    ready_run(manifest, trained / "labels")
    return str(trained / "labels"), manifest


@pytest.mark.parametrize(
    ("words_", "said"),
    [
        ("predict SEGMENTER PHOTOGRAPH", "of a segmenter, not of a classifier"),
        ("explain SEGMENTER PHOTOGRAPH", "of a segmenter, not of a classifier"),
        ("serve SEGMENTER", "of a segmenter, not of a classifier"),
        ("retrieve SEGMENTER PHOTOGRAPH --phrases x", "of a segmenter, not of a classifier"),
        ("retrieve LABELS PHOTOGRAPH --phrases x", "of a run of --task findings"),
        ("explain LABELS PHOTOGRAPH --phrases x", "of a run of --task findings"),
        ("segment predict LABELS PHOTOGRAPH", "of a classifier, not of a segmenter"),
        ("segment report LABELS", "of a classifier, not of a segmenter"),
        ("case SEGMENTER --images PHOTOGRAPH", "of a segmenter, not of a classifier"),
        (
            "case LABELS --segment LABELS --images PHOTOGRAPH",
            "of a classifier, not of a segmenter",
        ),
        ("case LABELS --findings LABELS --images PHOTOGRAPH", "of a run of --task findings"),
        (
            "associate LABELS --segment LABELS --manifest TABLE --image-root ROOT --regions A=x",
            "of a classifier, not of a segmenter",
        ),
    ],
)
def test_a_run_of_the_other_task_is_refused(trained, classifier, tmp_path, capsys, words_, said):
    labels, table = classifier
    meant = {
        "SEGMENTER": str(trained / "run"), "LABELS": labels, "TABLE": str(table),
        "ROOT": str(table.parent), "PHOTOGRAPH": str(table.parent / "000_left.png"),
    }  # fmt: skip
    out = tmp_path / ("a.csv" if words_.startswith("predict") else "out")
    asked = [meant.get(x, x) for x in words_.split()]
    asked += [] if asked[0] == "serve" else ["--out", str(out)]
    assert main(asked) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_a_saved_model_gives_the_masks_that_predict_writes(trained, tmp_path, capsys):
    run, out = str(trained / "run"), tmp_path / "model"
    assert main(["export", run, "--out", str(out)]) == 0
    assert "largest difference" in capsys.readouterr().out
    photographs = sorted((trained / "photographs/images").glob("*.png"))[:3]
    larger = cv2.resize(cv2.imread(str(photographs[0])), None, fx=2, fy=2)
    cv2.imwrite(str(tmp_path / "larger.png"), cv2.copyMakeBorder(larger, 0, 0, 9, 0, 0))
    photographs.append(tmp_path / "larger.png")
    turned = tmp_path / "turned.jpg"  # a camera held upright: the mask is as it is seen
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photographs[0]).resize((64, 48)).save(turned, exif=exif, quality=95)
    photographs.append(turned)
    masks = tmp_path / "masks"
    assert main(["segment", "predict", run, *map(str, photographs), "--out", str(masks)]) == 0
    files = [path.read_bytes() for path in photographs]
    served = tf.saved_model.load(str(out / "1")).signatures["segment"]
    found = served(image_bytes=tf.constant([*files, b"no picture", files[0][:-200]]))
    assert found["class"].numpy().tolist() == [[b"spot", b"half"]] * 7
    assert found["gradable"].numpy().tolist() == [True] * 5 + [False] * 2
    assert b"not an image" in found["error"].numpy()[5]
    assert not any(found["mask_bytes"].numpy()[5:].ravel())
    table = pd.read_csv(masks / "segments.csv")
    for i, path in enumerate(photographs):
        for k, name in enumerate(("spot", "half")):
            got = cv2.imdecode(np.frombuffer(found["mask_bytes"][i, k].numpy(), np.uint8), -1)
            written = f"masks/{name}/{path.stem}.png"
            want = cv2.imread(str(masks / written), -1)
            assert got.shape == want.shape == ((64, 48) if path == turned else got.shape)
            assert (got != want).mean() < 1e-3
            row = table[table["mask"] == written]
            assert found["area"][i, k].numpy() == pytest.approx(row["area"].item(), abs=8)
    card = (out / "1/assets.extra/model_card.md").read_text()
    assert "| spot |" in card
    assert "not for clinical use" in card


@pytest.mark.slow
@pytest.mark.parametrize("network", ["run", "transformer"])
@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.usefixtures("transformer")
def test_other_programs_take_its_windows(trained, tmp_path, name, network):
    run, out = str(trained / network), tmp_path / "model"
    assert main(["export", run, "--out", str(out), "--format", name]) == 0
    load = {"onnx": load_onnx, "openvino": lambda path: load_openvino(path, "f32")}[name]
    answer = load(out / {"onnx": "model.onnx", "openvino": "model.xml"}[name])
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    probability, positive = answer({"images": images})
    want = tf.sigmoid(load_segmenter(run).model(images)).numpy()
    np.testing.assert_allclose(probability, want, atol=1e-4)
    assert positive.shape == (2, 32, 32, 2)
    int8 = ["--format", "openvino", "--precision", "int8"]
    assert main(["export", run, "--out", str(tmp_path / "8"), *int8]) == 2
