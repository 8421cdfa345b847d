"""The package from Python: the same answers as the command line's, and wrong input refused."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from sklearn.metrics import average_precision_score, roc_auc_score
from tiny import main, make_photographs, ready_run

import fundus_diag as fd
from fundus_diag.imaging.preprocess import load_picture

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    manifest = make_photographs(folder / "photographs", patients=10)
    for unit in ("eye", "patient"):
        ready_run(manifest, folder / unit, unit=unit)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    return {unit: fd.load_run(str(folder / unit)) for unit in ("eye", "patient")}


def files(folder, count=4):
    return sorted((folder / "photographs").glob("*.png"))[:count]


def test_a_run_says_in_a_line_what_it_is(runs, folder):
    assert repr(runs["eye"]) == f"<Run {folder / 'eye'}: tiny, 32 px; A, B>"
    assert repr(runs["patient"]) == f"<Run {folder / 'patient'}: tiny, 32 px of both eyes; A, B>"


def test_every_way_to_name_photographs_has_the_same_answers(runs, folder, tmp_path):
    run, named = runs["eye"], files(folder)
    want = run.predict(named)
    pictures = np.stack([load_picture(x, 32, "fundus") for x in named])
    links = tmp_path / "some"
    links.mkdir()
    for x in named:
        (links / x.name).symlink_to(x)
    table = pd.DataFrame({"image": [x.name for x in named], "patient": ["1", "1", np.nan, "2"]})
    for given in (
        [str(x) for x in named],
        pd.Series(named),
        pictures,
        links,
        str(links),
        table.assign(image=[str(x) for x in named]),
    ):
        np.testing.assert_allclose(run.predict(given), want, atol=1e-6)
    np.testing.assert_allclose(run.predict(table, image_root=str(links)), want, atol=1e-6)
    np.testing.assert_allclose(run.predict(str(named[1])), want[1:2], atol=1e-6)

    pairs = [(named[0], named[1]), (named[2], None)]
    both, want = runs["patient"], runs["patient"].predict(pairs)
    frame = both.predict(pairs, frame=True)
    np.testing.assert_allclose(frame[["p_A", "p_B"]], want, atol=1e-6)
    assert frame["image_right"].tolist() == [str(named[1]), ""]
    by_name = both.predict(links)  # 000 and 001, whose right eye is there too
    np.testing.assert_allclose(by_name[0], want[0], atol=1e-6)


def test_a_table_of_answers_is_the_commands(runs, folder, tmp_path):
    bad = tmp_path / "in"
    bad.mkdir()
    for x in files(folder, 3):
        (bad / x.name).write_bytes(x.read_bytes())
    (bad / "zz.png").write_bytes(b"no picture")
    out = tmp_path / "answers.csv"
    assert main(["predict", str(folder / "eye"), str(bad), "--out", str(out)]) == 0
    want = pd.read_csv(tmp_path / "answers_full.csv", dtype={"patient": str}, keep_default_na=False)
    found = runs["eye"].predict(bad, frame=True)
    assert list(found["image"]) == list(want["image"])
    assert found["patient"].tolist() == want["patient"].tolist()
    for name in ("p_A", "p_B", "distance"):
        np.testing.assert_allclose(found[name], pd.to_numeric(want[name]), rtol=1e-5)
    assert found["gradable"].tolist() == [True, True, True, False]
    assert found["why"].tolist()[:3] == ["", "", ""]
    assert np.isnan(found["p_A"].iloc[3])
    called = runs["eye"].call(found[["p_A", "p_B"]].to_numpy())
    for row, text in zip(called, found["called"], strict=True):
        assert text == ", ".join(x for x, y in zip(("A", "B"), row, strict=True) if y)
    with pytest.raises(fd.DataError, match=r"^1 of 4 have no answer: zz.png \(.*\)$"):
        runs["eye"].predict(bad)


WRONG = {
    "no column": (lambda run: run.predict(pd.DataFrame({"file": ["a"]})), "needs a column image"),
    "an odd eye": (
        lambda run: run.predict(pd.DataFrame({"image": ["a"], "eye": ["OD"]})),
        "column eye: left, right or nothing, not OD",
    ),
    "not there": (lambda run: run.predict("nowhere"), "^nowhere: no such file or folder"),
    "pairs": (lambda run: run.predict([("a", "b")], frame=True), "it holds a tuple"),
    "a mask": (lambda run: run.predict("nowhere", mask=np.ones((1, 2))), "a mask is for pairs"),
    "of another size": (
        lambda run: run.predict(np.zeros((1, 48, 48, 3)), frame=True),
        r"pictures \(N, 32, 32, 3\), RGB in \[0, 255\], are expected",
    ),
    "no such label": (lambda run: run.explain("nowhere", labels=["Z"]), "--labels Z: the run has"),
    "no such setting": (lambda run: run.explain("x", method="x"), "^method: no setting of maps$"),
    "no such method": (lambda run: run.explain("nowhere", methods=("x",)), "x"),
    "not there, to explain": (lambda run: run.explain("nowhere"), "^nowhere: no such file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_answered_is_refused_in_a_line(runs, name):
    ask, message = WRONG[name]
    with pytest.raises((fd.DataError, fd.UsageError), match=message) as caught:
        ask(runs["eye"])
    assert "\n" not in str(caught.value)


def test_maps_are_those_of_the_network_laid_over_the_photograph(runs, folder):
    run, named = runs["eye"], files(folder, 2)
    found = run.explain(named, labels=["B", "A"], median=0)
    assert [x.image for x in found] == [str(x) for x in named]
    assert repr(found[0]).startswith(f"<Explanation of {named[0]} by layer_cam: B 0.")
    want = run.predict(named)
    for k, one in enumerate(found):
        assert one.labels == ("B", "A")
        np.testing.assert_allclose(one.probabilities, want[k, ::-1], atol=1e-6)
        assert one.maps.shape == (2, *one.photograph.shape[:2])
        assert one.maps.min() >= 0
        assert one.maps.max() <= 1 + 1e-6
        assert not one.maps[:, :2, :2].any()  # outside the field of view
    picture = load_picture(named[0], 32, "fundus")[None]
    raw = fd.explain.maps(run.model, picture, labels=[1, 0])[0]
    for map, laid in zip(np.asarray(raw), found[0].maps, strict=True):
        if map.max() > 0:  # the same place, to a cell of the map
            cell = np.array(np.unravel_index(map.argmax(), map.shape)) / map.shape
            place = np.array(np.unravel_index(laid.argmax(), laid.shape)) / laid.shape
            assert np.abs(cell - place).max() < 0.25
    pair = runs["patient"].explain([(named[0], named[1])], methods=("layer_cam", "grad_cam"))
    assert {(x.eye, x.method) for x in pair} == {
        (eye, method) for eye in ("left", "right") for method in ("layer_cam", "grad_cam")
    }


def test_what_is_left_out_is_said(runs, folder, tmp_path, capsys):
    """What is no picture is counted; a photograph whose eye a pair needs is an error."""
    (name,) = files(folder, 1)
    (tmp_path / "one.png").write_bytes(name.read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    assert runs["eye"].predict(tmp_path).shape == (1, 2)
    assert "note: left out: 1 files whose ending is no picture's" in capsys.readouterr().err
    with pytest.raises(fd.DataError, match=r"one\.png \(the run reads both eyes, and which eye"):
        runs["patient"].explain(tmp_path)


def test_an_overlay_is_a_figure_of_photograph_and_map(runs, folder):
    (found,) = runs["eye"].explain(files(folder, 1), labels=["A", "B"])
    figure = found.overlay("B", level=0.4, alpha=0.6)
    left, right = figure.axes
    np.testing.assert_array_equal(left.get_images()[0].get_array(), found.photograph)
    assert right.get_title(loc="left").startswith(f"B: {found.probabilities[1]:.3f} (threshold ")
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    assert content.getvalue().startswith(b"\x89PNG")
    for given, message in (
        ({"label": "Z"}, "label Z: the maps are of A, B"),
        ({"level": 0}, "level 0, alpha"),
        ({"alpha": 2}, "alpha 2: lie"),
    ):
        with pytest.raises(fd.UsageError, match=message):
            found.overlay(**given)


def test_a_training_a_report_and_an_export_by_python(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    config = {
        "manifest": str(manifest), "image_root": manifest.parent, "run_dir": tmp_path / "run",
        "encoder": "tiny", "weights": "none", "image_size": 32, "batch_size": 8,
        "phase1_epochs": 1, "phase2_epochs": 1, "precision": "float32",
    }  # fmt: skip
    run = fd.train(config)
    assert isinstance(run, fd.Run)
    assert (tmp_path / "run" / "report_val.html").is_file()
    assert run.report(resamples=100) == tmp_path / "run" / "report.html"
    record = run.export(tmp_path / "served", explain=False)
    assert (tmp_path / "served" / "1" / "saved_model.pb").is_file()
    assert record["model_version"] == 1
    with pytest.raises(fd.UsageError, match="holds a run; use --resume or --overwrite"):
        fd.train(fd.TrainConfig(**{**config, "manifest": manifest}))
    for wrong, message in (
        ({"run_dir": "x"}, "^train needs image_root, manifest$"),
        ({**config, "epochs": 3}, "^epochs: no flag of train$"),
        ({**config, "dropout": "much"}, "^train: flag dropout: input should be"),
        ({**config, "dropout": 1}, "--dropout 1"),
    ):
        with pytest.raises((fd.DataError, fd.UsageError), match=message):
            fd.train(wrong)


def test_a_table_is_read_and_refused(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=3)
    found = fd.read_manifest(str(manifest))
    assert found.labels == ("A", "B")
    assert found.table["B"].dtype == "float32"
    with pytest.raises(fd.DataError, match="nowhere.csv"):
        fd.read_manifest("nowhere.csv")


def test_scores_are_those_of_scikit_learn_and_the_reports(tmp_path):
    rng = np.random.default_rng(3)
    truth = (rng.random((60, 3)) < 0.4).astype(float)
    scores = np.clip(truth * 0.3 + rng.random((60, 3)) * 0.7, 0, 1)
    truth[rng.random((60, 3)) < 0.1] = np.nan
    names = ["D", "G", "M"]
    found = fd.score(
        pd.DataFrame(truth, columns=names),
        pd.DataFrame(scores, columns=[f"p_{x}" for x in names]),
        patients=np.repeat(np.arange(30), 2),
        thresholds={"D": 0.5, "G": 0.4},
        resamples=50,
    )
    assert found.index.tolist() == [*names, "macro"]
    for k, name in enumerate(names):
        known = ~np.isnan(truth[:, k])
        y, p = truth[known, k], scores[known, k]
        assert found.loc[name, "roc_auc"] == pytest.approx(roc_auc_score(y, p))
        assert found.loc[name, "average_precision"] == pytest.approx(average_precision_score(y, p))
        low, high = found.loc[name, ["roc_auc_low", "roc_auc_high"]]
        assert low <= found.loc[name, "roc_auc"] <= high
    known = ~np.isnan(truth[:, 0])
    sick = truth[known, 0] == 1
    assert found.loc["D", "recall"] == pytest.approx((scores[known, 0][sick] >= 0.5).mean())
    assert np.isnan(found.loc["M", "recall"])
    plain = fd.score(truth, scores, resamples=0)
    assert plain.index.tolist() == ["0", "1", "2", "macro"]
    assert not [x for x in plain.columns if x.endswith("_low")]
    np.testing.assert_allclose(plain["roc_auc"], found["roc_auc"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.ones((3, 2)), np.ones((3, 3))), r"truth is \(3, 2\), probabilities are \(3, 3\)"),
        ((np.full((3, 1), 2), np.ones((3, 1))), "truth holds 1, 0 and NaN alone"),
        ((np.ones((3, 1)), np.full((3, 1), 1.2)), "probabilities lie from 0 to 1"),
        ((np.ones((3, 1)), np.full((3, 1), np.nan)), "probabilities lie from 0 to 1"),
        ((np.ones(3), np.ones(3)), r"truth: \(N, L\) is expected, not \(3,\)"),
        ((np.ones((3, 1)), np.ones((3, 1)), [1, 2]), "patients: one for each of 3 rows"),
        ((np.ones((3, 1)), np.ones((3, 1)), [1, 2, np.nan]), "none missing"),
        ((pd.DataFrame({"a": ["x"]}), np.ones((1, 1))), "truth: holds what is no number"),
        (
            (pd.DataFrame({"a": [1]}), pd.DataFrame({"p_b": [1]})),
            r"truth has the labels \['a'\], probabilities have \['b'\]",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(given, message):
    with pytest.raises(fd.DataError, match=message):
        fd.score(*given)
    with pytest.raises(fd.DataError, match="thresholds of Z: the labels are 0"):
        fd.score(np.ones((2, 1)), np.ones((2, 1)), thresholds={"Z": 0.5})
