"""`explain`, `explain-eval` and the page of explanations, on a tiny run."""

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from tiny import make_photographs, ready_run

from fundus_diag import explain, load_run
from fundus_diag.cli import main
from fundus_diag.data import masks
from fundus_diag.explain.filters import clean, filter_maps
from fundus_diag.explain.methods.registry import method_name
from fundus_diag.explain.metrics import randomization
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.report.selection import picks
from fundus_diag.utils.errors import DataError, UsageError

TWO = ["--layers", "conv1_act", "conv2_act"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs, the masks of their spots, and a run over eyes and one over pairs."""
    folder = tmp_path_factory.mktemp("explain")
    manifest = make_photographs(folder / "photographs")
    for unit in ("eye", "patient"):
        ready_run(manifest, folder / unit, unit=unit)
    spots(manifest, folder / "masks")
    return folder


def spots(manifest, out):
    """Writes the masks of the bright and the dark spots of drawn photographs."""
    for row in pd.read_csv(manifest).to_dict("records"):
        gray = cv2.imread(str(manifest.parent / row["image"]), cv2.IMREAD_GRAYSCALE)
        stem = row["image"].removesuffix(".png")
        for lesion, mask in (("bright", gray > 200), ("dark", (gray > 5) & (gray < 15))):
            (out / lesion).mkdir(parents=True, exist_ok=True)
            if mask.any():
                path = out / lesion / f"{stem}_{lesion}.png"
                cv2.imwrite(str(path), mask.astype(np.uint8) * 255)


def files(folder, count=3):
    return sorted((folder / "photographs").glob("*.png"))[:count]


def run_explain(folder, *words, run="eye"):
    return main([str(w) for w in ("explain", folder / run, *words)])


def rows_of(path):
    return pd.read_csv(path, keep_default_na=False)


def test_every_photograph_gets_a_page_arrays_and_rows(folder, tmp_path, capsys):
    methods = ["--methods", "LayerCAM", "grad-cam", "gradcam++", "score_cam"]
    assert run_explain(folder, "--images", *files(folder), "--out", tmp_path, *methods) == 0
    assert "3 explained" in capsys.readouterr().out
    table = rows_of(tmp_path / "explanations.csv")
    run = load_run(folder / "eye")
    probability = run.predict(files(folder))
    for k, path in enumerate(files(folder)):
        own = table[table["image"] == str(path)]
        called = [x for x, p, t in zip(run.labels, probability[k], run.thresholds, strict=True)
                  if p >= t]  # fmt: skip
        wanted = called or [run.labels[int(probability[k].argmax())]]
        assert set(own["method"]) == {"layer_cam", "grad_cam", "grad_cam_pp", "score_cam"}
        for _, one in own.groupby("method"):
            assert list(one["label"]) == wanted
        assert set(own["shown_as_top"]) == {int(not called)}
        for _, row in own.iterrows():
            number = run.labels.index(row["label"])
            assert float(row["probability"]) == pytest.approx(probability[k, number], abs=1e-5)
        for name in (f"{path.stem}.png", f"{path.stem}_methods.png"):
            page = cv2.imread(str(tmp_path / name))
            assert page.shape[1] > 500, name
            assert page.std() > 10, name


def test_the_arrays_are_the_maps_and_the_peak_is_in_pixels_of_the_photograph(folder, tmp_path):
    (path,) = files(folder, 1)
    assert run_explain(folder, "--images", path, "--out", tmp_path, "--labels", "B", "A") == 0
    run = load_run(folder / "eye")
    picture, box, photo = load_photograph(path, 32)
    arrays = np.load(tmp_path / f"{path.stem}.npz")
    assert list(arrays["labels"]) == ["B", "A"]
    np.testing.assert_array_equal(arrays["size"], photo.shape[:2])
    np.testing.assert_allclose(arrays["box"], box)
    raw = explain.maps(run.model, picture[None], labels=[1, 0], fuse=False)[0]
    np.testing.assert_allclose(arrays["layer_cam"], raw, atol=1e-5 * raw.max())
    fused = clean(explain.maps(run.model, picture[None], labels=[1, 0])[0])
    np.testing.assert_allclose(arrays["layer_cam_fused"], fused, atol=1e-4)
    first = rows_of(tmp_path / "explanations.csv").iloc[0]
    y, x = np.unravel_index(fused[0].argmax(), fused[0].shape)
    side = fused.shape[-1]
    want = box[:2] + (np.array([y, x]) + 0.5) / side * (box[2:] - box[:2])
    got = [float(first["peak_row"]), float(first["peak_column"])]
    np.testing.assert_allclose(got, want, atol=0.06)


def test_maps_are_the_same_at_any_batch_size(folder, tmp_path):
    for size in (1, 4):
        out = tmp_path / str(size)
        words = ["--images", *files(folder, 5), "--out", out, "--batch-size", size]
        assert run_explain(folder, *words) == 0
    for path in files(folder, 5):
        one, four = (np.load(tmp_path / n / f"{path.stem}.npz") for n in ("1", "4"))
        np.testing.assert_allclose(one["layer_cam"], four["layer_cam"], atol=1e-4)


def test_smoothing_and_filters_are_taken_up(folder, tmp_path):
    (path,) = files(folder, 1)
    kinds = {
        "plain": [],
        "aug": ["--aug-smooth"],
        "eigen": ["--eigen-smooth"],
        "adaptive": ["--adaptive"],
        "tuned": ["--adaptive", "--adaptive-block", "5", "--adaptive-offset", "0"],
    }
    fused = {}
    for name, words in kinds.items():
        out = tmp_path / name
        assert run_explain(folder, "--images", path, "--out", out, "--labels", "A", *words) == 0
        fused[name] = np.load(out / f"{path.stem}.npz")["layer_cam_fused"]
    for name in ("aug", "eigen", "adaptive"):
        assert np.abs(fused[name] - fused["plain"]).max() > 1e-3, name
    tuned = filter_maps(fused["plain"], 0, adaptive=True, block=5, offset=0)
    np.testing.assert_array_equal(fused["tuned"], tuned)
    assert np.abs(fused["tuned"] - fused["adaptive"]).max() > 1e-3


def test_a_pair_has_maps_of_both_eyes_and_one_eye_alone_has_its_own(folder, tmp_path):
    words = ["--manifest", folder / "photographs" / "manifest.csv"]
    words += ["--image-root", folder / "photographs", "--split", "val", "--out", tmp_path]
    assert run_explain(folder, *words, run="patient") == 0
    table = rows_of(tmp_path / "explanations.csv")
    counts = table.groupby("patient")["eye"].unique()
    assert set(counts["p5"]) == {"left", "right"}
    assert set(counts["p27"]) == {"left"}  # the table has no right eye of this patient
    both = np.load(tmp_path / "p5.npz")
    run = load_run(folder / "patient")
    loaded = [load_photograph(folder / "photographs" / f"005_{e}.png", 32)[0] for e in
              ("left", "right")]  # fmt: skip
    labels = [run.labels.index(x) for x in both["labels"]]
    want = explain.maps(run.model, np.stack(loaded)[None], labels=labels, fuse=False)[0]
    for k, eye in enumerate(("left", "right")):
        np.testing.assert_allclose(both[f"layer_cam_{eye}"], want[k], atol=1e-4 * want.max())
    assert (
        cv2.imread(str(tmp_path / "p5.png")).shape[0]
        > cv2.imread(str(tmp_path / "p27.png")).shape[0]
    )


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--labels", "X"], 2, "--labels X: the run has A, B"),
        (["--methods", "nonsense"], 2, "--methods nonsense: there are layer_cam"),
        (["--layers", "conv9"], 2, "layer conv9: the layers are"),
        (["--methods", "score_cam", *TWO], 2, "--layers: score_cam takes one layer"),
        (["--median", "4"], 2, "4"),
        (["--adaptive", "--adaptive-offset", "1"], 2, "adaptive offset 1.0: must be in [0, 1)"),
        (["--methods", "score_cam", "--eigen-smooth"], 2, "eigen_smooth: only for"),
        (["--level", "0"], 2, "--level 0"),
        (["--manifest", "m.csv"], 2, "--images or --manifest: one of the two"),
    ],
)
def test_a_wrong_flag_is_one_line(folder, tmp_path, capsys, words, status, text):
    assert (
        run_explain(folder, "--images", *files(folder), "--out", tmp_path / "o", *words) == status
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert text in error
    assert not (tmp_path / "o").exists()


def test_unreadable_photographs_stop_it_or_are_left_out_and_named(folder, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    words = ["--images", *files(folder, 1), broken, "--out", tmp_path / "out"]
    assert run_explain(folder, *words) == 1
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run_explain(folder, *words, "--on-bad-image", "skip") == 0
    captured = capsys.readouterr()
    assert "broken.png" in captured.err
    assert "1 explained" in captured.out


def test_photographs_of_one_name_in_two_folders_are_kept_apart(folder, tmp_path):
    (path,) = files(folder, 1)
    (tmp_path / "other").mkdir()
    shutil.copy(path, tmp_path / "other" / path.name)
    words = ["--images", path, tmp_path / "other" / path.name, "--out", tmp_path / "out"]
    assert run_explain(folder, *words) == 0
    assert len(list((tmp_path / "out").glob("*.npz"))) == 2


def test_rows_of_one_name_and_two_endings_are_kept_apart(folder, tmp_path):
    (path,) = files(folder, 1)
    shutil.copy(path, tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.jpg"), cv2.imread(str(path)))
    (tmp_path / "m.csv").write_text("image,patient,eye\na.png,p,left\na.jpg,q,left\n")
    words = ["--manifest", tmp_path / "m.csv", "--image-root", tmp_path, "--out", tmp_path / "o"]
    assert run_explain(folder, *words) == 0
    assert len(list((tmp_path / "o").glob("*.npz"))) == 2


@pytest.mark.slow
def test_of_grades_the_likeliest_is_explained_and_reported(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", grades=True)
    ready_run(manifest, tmp_path / "run", task="grade")
    words = ["--images", *files(tmp_path), "--out", tmp_path / "out"]
    assert run_explain(tmp_path, *words, run="run") == 0
    table = rows_of(tmp_path / "out" / "explanations.csv")
    likeliest = load_run(tmp_path / "run").predict(files(tmp_path)).argmax(axis=1)
    assert list(table["label"]) == [f"grade_{k}" for k in likeliest]
    assert set(table["called"]) == {1}
    assert set(table["shown_as_top"]) == {0}
    assert main(["report", str(tmp_path / "run"), "--resamples", "100"]) == 0
    assert "hit: " in (tmp_path / "run" / "explanations.html").read_text()


def test_methods_are_known_by_their_usual_spellings():
    assert [method_name(x) for x in ("LayerCAM", "layercam", "Grad-CAM++", "score_cam")] == [
        "layer_cam", "layer_cam", "grad_cam_pp", "score_cam",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="lime"):
        method_name("lime")


def evaluate(folder, out, *words):
    manifest = folder / "photographs" / "manifest.csv"
    flags = ["--masks", folder / "masks", "--manifest", manifest, "--out", out]
    flags += ["--image-root", manifest.parent, "--split", "test", "--lesions", "A=bright"]
    flags += ["--randomised", "3", "--steps", "4", "--resamples", "100"]
    return main([str(w) for w in ("explain-eval", folder / "eye", *flags, *words)])


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
    box = load_photograph(folder / "photographs" / uniform["image"], 32)[1]
    rows, columns = np.indices(mask.shape) + 0.5
    inside = (rows > box[0]) & (rows < box[2]) & (columns > box[1]) & (columns < box[3])
    share = (mask[inside] > 0).sum() / inside.sum()
    assert uniform["energy"] == pytest.approx(share, rel=0.02)
    stages = pd.read_csv(tmp_path / "randomised.csv")
    assert list(stages["randomised_from_head_to"].unique()) == ["head", "conv2", "conv1"]
    assert summary["randomised_correlation"][0] == pytest.approx(
        stages[stages["method"] == "layer_cam"]["correlation"].iloc[-1]
    )
    assert cv2.imread(str(tmp_path / "deletion_insertion_A.png")).std() > 5
    assert "photographs without a lesion" in capsys.readouterr().out


def test_masks_of_another_size_are_resized_and_counted(folder, tmp_path, capsys):
    other = tmp_path / "masks" / "bright"
    other.mkdir(parents=True)
    for path in (folder / "masks" / "bright").glob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(other / path.name), cv2.resize(mask, None, fx=2, fy=2))
    flags = ["--masks", tmp_path / "masks", "--methods", "grad_cam", "--randomised", "0"]
    assert evaluate(folder, tmp_path / "out", *map(str, flags)) == 0
    facts = json.loads((tmp_path / "out" / "faithfulness.json").read_text())
    assert facts["resized_masks"] == facts["scored"]["A"] > 0
    assert "resized by nearest neighbour" in capsys.readouterr().out


def test_wrong_masks_and_lesions_are_one_line(folder, tmp_path, capsys):
    for words, status, text in (
        (["--masks", tmp_path / "none"], 1, "no such folder of masks"),
        (["--lesions", "A=nothing"], 1, "no folder nothing in it"),
        (["--lesions", "X=bright"], 2, "the run has A, B"),
        (["--lesions", "A=../bright"], 2, "LABEL=FOLDER"),
        (["--lesions", "A"], 2, "LABEL=FOLDER"),
        (["--tolerance", "2"], 2, "--tolerance 2"),
    ):
        assert evaluate(folder, tmp_path / "out", *map(str, words)) == status, words
        assert text in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_mask_belongs_to_its_photograph_alone(tmp_path):
    (tmp_path / "MA").mkdir()
    for name, place in (
        ("eye_1.png", 0),
        ("eye_1_MA.png", 1),
        ("eye_12.png", 2),
        ("eye_1b.png", 3),
    ):
        mask = np.zeros((4, 4), np.uint8)
        mask[place] = 76  # the gray of pure red
        cv2.imwrite(str(tmp_path / "MA" / name), mask)
    got, resized = masks.read_mask(tmp_path, ("MA", "HE"), "x/eye_1.jpg", (4, 4))
    np.testing.assert_array_equal(got.any(axis=1), [True, True, False, False])
    assert not resized
    colour = np.zeros((4, 4, 4), np.uint8)
    colour[..., 3] = 255  # opaque everywhere, red in one corner
    colour[0, 0, 2] = 255
    cv2.imwrite(str(tmp_path / "MA" / "two.png"), colour)
    assert masks.read_mask(tmp_path, ("MA",), "two.jpg", (4, 4))[0].sum() == 1
    (tmp_path / "MA" / "three.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"three\.png"):
        masks.read_mask(tmp_path, ("MA",), "three.jpg", (4, 4))


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


def test_the_page_shows_the_surest_hits_and_the_worst_errors(folder):
    assert main(["report", str(folder / "eye"), "--resamples", "100"]) == 0
    page = (folder / "eye" / "explanations.html").read_text()
    run = load_run(folder / "eye")
    table = pd.read_csv(folder / "eye" / "predictions_test.csv")
    for k, label in enumerate(run.labels):
        called = table[f"p_{label}"].to_numpy() >= run.thresholds[k]
        y, p, limit = table[f"y_{label}"], table[f"p_{label}"], run.thresholds[k]
        best = table[(y == 1) & (p >= limit)].sort_values(f"p_{label}", ascending=False)
        lost = table[(y == 1) & (p < limit)].sort_values(f"p_{label}")
        alarm = table[(y == 0) & (p >= limit)].sort_values(f"p_{label}", ascending=False)
        got = [(kind, table["image"][row]) for _, kind, row in picks(table, label, called)]
        want = [("hit", x) for x in best["image"][:2]]
        want += [("missed", x) for x in lost["image"][:1]]
        want += [("false alarm", x) for x in alarm["image"][:1]]
        assert got == want
        for kind, image in want:
            assert f"{kind}: {image}" in page
    assert page.count("data:image/jpeg") == page.count("<h3>")
    assert "not for clinical use" in page
    assert "http" not in page.replace("http-equiv", "")
