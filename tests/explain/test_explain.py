"""`explain`, `explain-eval` and the page of explanations, on a tiny run."""

import shutil

import cv2
import numpy as np
import pytest
from explained import files, rows_of
from laid import placed_in_picture
from tiny import make_photographs, ready_run

from fundus_diag import explain, load_run
from fundus_diag.cli import main
from fundus_diag.explain.filters import clean, filter_maps
from fundus_diag.explain.laying import reached
from fundus_diag.explain.methods.registry import method_name
from fundus_diag.imaging.inside import picture_field
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.models.geometry import Grid
from fundus_diag.utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("eager")
GRID = Grid((15, 15), (1.5, 1.5), (2, 2), 32)  # of the fused maps: the first layer's
TWO = ["--layers", "conv1_act", "conv2_act"]


def run_explain(folder, *words, run="eye"):
    return main([str(w) for w in ("explain", folder / run, *words)])


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
    loaded = load_photograph(path, 32)
    picture, box, photo, field, _ = loaded
    arrays = np.load(tmp_path / f"{path.stem}.npz")
    assert list(arrays["labels"]) == ["B", "A"]
    np.testing.assert_array_equal(arrays["size"], photo.shape[:2])
    np.testing.assert_allclose(arrays["box"], box)
    np.testing.assert_allclose(arrays["field"], field)
    assert arrays["picture"] == 32
    # Two convolutions of 3 x 3 at stride 2, without padding.
    np.testing.assert_array_equal(arrays["layer_cam_offset"], (1.5, 1.5))
    np.testing.assert_array_equal(arrays["layer_cam_stride"], (2, 2))
    raw = explain.maps(run.model, picture[None], labels=[1, 0], fuse=False)[0]
    np.testing.assert_allclose(arrays["layer_cam"], raw, atol=1e-5 * raw.max())
    inside = placed_in_picture(raw[0, 0], GRID, loaded)[1]
    fused = clean(explain.maps(run.model, picture[None], labels=[1, 0], inside=inside[None])[0])
    kept = arrays["layer_cam_fused"]
    np.testing.assert_allclose(kept[kept > 0], fused[kept > 0], atol=1e-4)
    cell = (np.indices((15, 15)) * 2 + 1.5).astype(int)  # the pixel that a cell's middle is in
    assert (kept[:, inside[tuple(cell)]] == fused[:, inside[tuple(cell)]]).mean() > 0.99
    assert not kept[:, 0, 0].any()  # a corner of the picture, all black
    table = rows_of(tmp_path / "explanations.csv")
    own = dict(zip(run.labels, run.thresholds, strict=True))
    assert own["A"] != own["B"]
    assert dict(zip(table["label"], table["threshold"].astype(float), strict=True)) == (
        pytest.approx(own, abs=1e-6)
    )
    first = table.iloc[0]
    laid, _ = placed_in_picture(fused[0], GRID, loaded)
    want = box[:2] + (np.argwhere(laid == laid.max())[0] + 0.5) / 32 * (box[2:] - box[:2])
    got = [float(first["peak_row"]), float(first["peak_column"])]
    np.testing.assert_allclose(got, want, atol=0.06)


@pytest.mark.traced
def test_maps_are_the_same_at_any_batch_size(folder, tmp_path):
    for size in (1, 2):
        out = tmp_path / str(size)
        words = ["--images", *files(folder), "--out", out, "--batch-size", size, "--no-pages"]
        assert run_explain(folder, *words) == 0
        assert not list(out.glob("*.png"))
        assert len(rows_of(out / "explanations.csv")) >= 3
    for path in files(folder):
        one, four = (np.load(tmp_path / n / f"{path.stem}.npz") for n in ("1", "2"))
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
        words = ["--labels", "A", "--no-pages", *words]
        assert run_explain(folder, "--images", path, "--out", out, *words) == 0
        fused[name] = np.load(out / f"{path.stem}.npz")["layer_cam_fused"]
    for name in ("aug", "eigen", "adaptive"):
        assert np.abs(fused[name] - fused["plain"]).max() > 1e-3, name
    run, loaded = load_run(folder / "eye"), load_photograph(path, 32)
    inside = picture_field(loaded)[None]
    plain = clean(explain.maps(run.model, loaded.picture[None], labels=[0], inside=inside)[0])
    there = reached(inside, GRID).numpy()
    np.testing.assert_allclose(fused["plain"], plain * there, atol=1e-5)
    tuned = filter_maps(plain, 0, adaptive=True, block=5, offset=0)
    np.testing.assert_allclose(fused["tuned"], tuned * there, atol=1e-5)
    assert np.abs(fused["tuned"] - fused["adaptive"]).max() > 1e-3


def test_a_pair_has_maps_of_both_eyes_and_one_eye_alone_has_its_own(folder, tmp_path):
    words = ["--manifest", folder / "photographs" / "manifest.csv"]
    words += ["--image-root", folder / "photographs", "--split", "val", "--out", tmp_path]
    assert run_explain(folder, *words, run="patient") == 0
    table = rows_of(tmp_path / "explanations.csv")
    counts = table.groupby("patient")["eye"].unique()
    assert set(counts["p5"]) == {"left", "right"}
    assert set(counts["p6"]) == {"left"}  # the table has no right eye of this patient
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
        > cv2.imread(str(tmp_path / "p6.png")).shape[0]
    )


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--labels", "X"], 2, "--labels X: the run has A, B"),
        (["--methods", "nonsense"], 2, "--methods nonsense: there are layer_cam"),
        (["--layers", "conv9"], 2, "--layers conv9: there are"),
        (["--methods", "score_cam", *TWO], 2, "--layers: score_cam takes one layer"),
        (["--median", "4"], 2, "4"),
        (["--adaptive", "--adaptive-offset", "1"], 2, "--adaptive-offset 1.0: must be in [0, 1)"),
        (["--methods", "score_cam", "--eigen-smooth"], 2, "--eigen-smooth: only for"),
        (["--level", "0"], 2, "--level 0"),
        (
            ["--manifest", "m.csv"],
            2,
            "name photographs, or a table of them by",
        ),
    ],
)
def test_a_wrong_flag_is_one_line(folder, tmp_path, capsys, words, status, text):
    assert (
        run_explain(folder, "--images", *files(folder), "--out", tmp_path / "o", *words) == status
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert text in error
    assert not (tmp_path / "o").exists()


def test_photographs_of_one_name_in_two_folders_are_kept_apart(folder, tmp_path):
    (path,) = files(folder, 1)
    (tmp_path / "other").mkdir()
    shutil.copy(path, tmp_path / "other" / path.name)
    words = ["--images", path, tmp_path / "other" / path.name, "--out", tmp_path / "out"]
    words += ["--no-pages"]
    assert run_explain(folder, *words) == 0
    assert len(list((tmp_path / "out").glob("*.npz"))) == 2


def test_rows_of_one_name_and_two_endings_are_kept_apart(folder, tmp_path):
    (path,) = files(folder, 1)
    shutil.copy(path, tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "a.jpg"), cv2.imread(str(path)))
    (tmp_path / "m.csv").write_text("image,patient,eye\na.png,p,left\na.jpg,q,left\n")
    words = ["--manifest", tmp_path / "m.csv", "--image-root", tmp_path, "--out", tmp_path / "o"]
    words += ["--no-pages"]
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
