"""Answers about photographs: the run's own figures, and a word on what cannot be graded."""

import io
import json
import re
from types import SimpleNamespace
from urllib.parse import unquote

import browser
import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest
import tensorflow as tf
from tiny import main, make_photographs, ready_run

from fundus_diag import load_run
from fundus_diag.imaging.quality import BLANK
from fundus_diag.metrics.meaning import scored_alike
from fundus_diag.runs import answers as module
from fundus_diag.runs.answer_files import line_of, rows_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    manifest = make_photographs(folder / "photographs", patients=10)
    for unit in ("eye", "patient"):
        ready_run(manifest, folder / unit, unit=unit)
        words = ["predict", folder / unit, "--manifest", manifest, "--image-root",
                 manifest.parent, "--split", "val"]  # fmt: skip
        out = folder / unit / "predictions_val.csv"
        assert main([str(x) for x in (*words, "--out", out)]) == 0
    return folder


@pytest.fixture
def mixed(folder, tmp_path):
    """Photographs in folders, one of them damaged, one black, one no picture at all."""
    root = tmp_path / "in"
    (root / "deep er").mkdir(parents=True)
    names = ["000_left.png", "000_right.png", "001_left.png"]
    for name in names[:2]:
        (root / name).write_bytes((folder / "photographs" / name).read_bytes())
    (root / "deep er" / names[2]).write_bytes((folder / "photographs" / names[2]).read_bytes())
    (root / "cut_OD.png").write_bytes((root / names[0]).read_bytes()[:80])
    (root / "text.jpg").write_text("no picture")
    cv2.imwrite(str(root / "black.png"), np.zeros((50, 60, 3), np.uint8))
    return root


def run_predict(*words):
    return main([str(x) for x in ("predict", *words)])


def table(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_answers_are_the_runs_own_figures(folder, mixed, tmp_path, capsys):
    run = load_run(folder / "eye")
    assert run_predict(folder / "eye", mixed, "--out", tmp_path / "a.csv") == 0
    out = capsys.readouterr().out
    found = table(tmp_path / "a.csv")
    names = ["000_left.png", "000_right.png", "black.png", "deep er/001_left.png"]
    want = run.predict([mixed / name for name in names])
    val = pd.read_csv(folder / "eye" / "predictions_val.csv")
    for name, probabilities in zip(names, want, strict=True):
        rows = found[found["image"] == name].reset_index(drop=True)
        assert [x.split()[0] for x in rows["disease"]] == list(run.labels)
        for k, label in enumerate(run.labels):
            row, p = rows.loc[k], probabilities[k]
            assert float(row["probability"]) == pytest.approx(p, abs=6e-4)
            assert len(row["probability"].partition(".")[2]) <= 3
            assert float(row["threshold"]) == pytest.approx(run.thresholds[k], abs=6e-4)
            called = "yes" if p >= run.thresholds[k] else "no"
            assert row["called"] == ("" if name == "black.png" else called)
            n, had, *_ = scored_alike(
                val[f"p_{label}"].to_numpy(), val[f"y_{label}"].to_numpy(float), p
            )
            assert (row["scored_alike"], row["had_it"]) == (str(n), str(had))
    assert found.set_index("image").loc["000_left.png", "patient"].tolist() == ["000"] * 2
    assert set(found["eye"]) == {"left", "right", ""}
    why = dict(found.drop_duplicates("image").set_index("image")["why"])
    assert why["black.png"] == BLANK
    assert why["text.jpg"] == "not an image (JPEG, PNG, BMP, TIFF, DICOM)"
    assert "truncated" in why["cut_OD.png"]
    assert all(why[name] == "" for name in names if name != "black.png")
    assert "black.png: not gradable: no field of view" in out
    assert f"{tmp_path / 'a.html'}: 6 answers, 3 not gradable" in out
    full = table(tmp_path / "a_full.csv").set_index("image")
    assert list(full.index) == sorted(names[:3] + ["cut_OD.png", "text.jpg"]) + names[3:]
    got = full.loc[names, [f"p_{x}" for x in run.labels]].astype(float)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert (full.loc["text.jpg", [f"p_{x}" for x in run.labels]] == "").all()
    assert full["gradable"].to_dict()["black.png"] == "0"


@pytest.mark.parametrize(
    ("labels", "called", "why", "said"),
    [
        (("N", "D", "G"), [1, 0, 1], "", module.AT_ODDS),
        (("N", "D", "G"), [1, 0, 0], "", ""),
        (("N", "D", "G"), [0, 1, 1], "", ""),
        (("D", "Healthy", "G"), [1, 1, 0], "", module.AT_ODDS),
        (("D", "G", "C"), [1, 1, 1], "", ""),
        (("N", "D", "G"), [1, 1, 0], BLANK, ""),
        (("N", "D", "G"), None, "truncated", ""),
    ],
)
def test_what_is_called_may_contradict_itself(labels, called, why, said):
    scores = None if called is None else np.full(3, 0.5)
    called = None if called is None else np.array(called, bool)
    answer = module.Answer({"": "x.jpg"}, {}, "", scores, called, why)
    run = SimpleNamespace(labels=labels, thresholds=[0.4] * 3)
    assert module.at_odds(run, answer) == said
    assert {row["why"] for row in rows_of(run, answer, None)} == {why or said}
    assert line_of(run, answer, None).endswith(why or said)


def test_both_eyes_of_a_patient_are_one_answer(folder, mixed, tmp_path, capsys):
    run = load_run(folder / "patient")
    (mixed / "000_left_again.png").write_bytes((mixed / "000_left.png").read_bytes())
    assert run_predict(folder / "patient", mixed, "--out", tmp_path / "a.json") == 0
    found = json.loads((tmp_path / "a.json").read_text())
    pair = [x for x in found if x["image"] == "000_left.png | 000_right.png"]
    assert {x["patient"] for x in pair} == {"000"}
    want = run.predict([(mixed / "000_left.png", mixed / "000_right.png"),
                        (mixed / "deep er/001_left.png", None)])  # fmt: skip
    np.testing.assert_allclose([x["probability"] for x in pair], want[0], atol=6e-4)
    alone = [x["probability"] for x in found if x["image"] == "deep er/001_left.png"]
    np.testing.assert_allclose(alone, want[1], atol=6e-4)
    why = {x["image"]: x["why"] for x in found}
    assert "which eye this is nobody knows" in why["black.png"]
    assert "one photograph of an eye, and took 000_left.png" in why["000_left_again.png"]
    assert all(x["probability"] is None for x in found if x["image"] == "black.png")


@pytest.mark.slow
def test_the_served_model_says_the_same_of_what_cannot_be_graded(folder, mixed, tmp_path):
    """One rule for `predict` and for the exported graph."""
    assert run_predict(folder / "eye", mixed, "--out", tmp_path / "a.csv", "--no-page") == 0
    words = ["export", folder / "eye", "--out", tmp_path / "model", "--no-explain"]
    assert main([str(x) for x in words]) == 0
    served = tf.saved_model.load(str(tmp_path / "model" / "1")).signatures["serving_default"]
    full = table(tmp_path / "a_full.csv")
    data = [(mixed / name).read_bytes() for name in full["image"]]
    answer = served(image_bytes=tf.constant(data))
    assert answer["gradable"].numpy().tolist() == (full["gradable"] == "1").tolist()
    for said, why in zip(answer["error"].numpy(), full["why"], strict=True):
        assert said.decode().split(" (")[0] == why.split(" (")[0]
    assert not (tmp_path / "a.html").exists()


def test_excel_takes_no_text_for_a_formula(folder, tmp_path, monkeypatch):
    name = "=1+1_left.png"
    (tmp_path / name).write_bytes((folder / "photographs" / "000_left.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert run_predict(folder / "eye", name, "--format", "xlsx") == 0
    rows = list(openpyxl.load_workbook(tmp_path / "answers.xlsx").active.iter_rows())
    assert [x.value for x in rows[0]][:4] == ["image", "patient", "eye", "disease"]
    assert rows[1][0].value == "'=1+1_left.png"
    assert rows[1][0].data_type == "s"
    assert isinstance(rows[1][4].value, float)


def test_a_list_on_stdin_is_taken(folder, tmp_path, monkeypatch):
    given = [folder / "photographs" / f"00{k}_left.png" for k in range(3)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(str, given))))
    words = ["-", "--out", tmp_path / "a.csv", "--no-page"]
    assert run_predict(folder / "eye", *words) == 0
    assert list(table(tmp_path / "a_full.csv")["image"]) == [str(path) for path in given]


def test_parts_are_the_whole(folder, tmp_path, monkeypatch):
    root = folder / "photographs"
    assert run_predict(folder / "eye", root, "--out", tmp_path / "whole.csv", "--no-page") == 0
    monkeypatch.setattr(module, "PART", 3)
    assert run_predict(folder / "eye", root, "--out", tmp_path / "parts.csv", "--no-page") == 0
    assert (tmp_path / "whole.csv").read_text() == (tmp_path / "parts.csv").read_text()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "name photographs, or a table of them by --manifest"),
        (["gone.jpg"], 1, "gone.jpg: no such file or folder"),
        (["{root}", "--out", "a.pdf"], 2, "ends in .csv, .json or .xlsx"),
        (["{root}", "--out", "no/where/a.csv"], 1, "there is no folder"),
        (["{root}", "--split", "val"], 2, "--split: of a table that is named by --manifest"),
        (["{root}", "--maps", "--no-page"], 2, "--maps: are linked on the page"),
        (["{root}", "--patient-pattern", "("], 2, "not a regular expression"),
        (["--manifest", "{root}/manifest.csv", "--image-root", "{root}"], 2, "and --out"),
        (["--manifest", "m", "--image-root", "r", "--out", "o", "--format", "csv"], 2,
         "--format: of photographs that are named without"),
        (["{root}/000_left.png", "--out", "{root}/000_left.png", "--format", "csv"], 2,
         "is the table, or a file of the run"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_one_line(
    folder, tmp_path, monkeypatch, capsys, words, status, message
):
    monkeypatch.chdir(tmp_path)
    root = folder / "photographs"
    words = [word.format(root=root) for word in words]
    assert run_predict(folder / "eye", *words) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(re.escape(message), line)
    assert list(tmp_path.iterdir()) == []


def test_maps_are_linked_on_the_page(folder, mixed, tmp_path):
    words = ["--out", tmp_path / "a.csv", "--maps", "--batch-size", "4"]
    assert run_predict(folder / "eye", mixed, *words) == 0
    page = (tmp_path / "a.html").read_text()
    links = re.findall(r'href="(a_maps/[^"]+)"', page)
    assert len(links) == 4  # those that no decoder takes have none
    assert all((tmp_path / unquote(link)).is_file() for link in links)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_the_window_and_shows_every_picture(folder, mixed, tmp_path, width):
    long = mixed / ("a name without any place to break it " + "x" * 150 + "_OS.png")
    long.write_bytes((mixed / "000_left.png").read_bytes())
    words = ["--out", tmp_path / "a.csv", "--maps"]
    assert run_predict(folder / "eye", mixed, *words) == 0
    with browser.page((tmp_path / "a.html").as_uri(), width, tmp_path / "profile") as call:
        browser.check_fit(call, width)
        assert browser.script(call, "return document.images.length") == 5
        browser.screenshot(call, tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


def dying(function, after):
    """The function, interrupted at the call after so many."""
    left = iter(range(after))

    def call(*args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return function(*args)

    return call


@pytest.mark.parametrize("kind", ["csv", "json", "xlsx"])
@pytest.mark.parametrize("unit", ["eye", "patient"])
def test_answers_go_on_after_a_kill(folder, mixed, tmp_path, monkeypatch, capsys, unit, kind):
    """Cut after any number of answers, and within a row: the same comes out."""
    from fundus_diag.report import answers as pages

    asked, scored = [], module._scored
    monkeypatch.setattr(pages, "PER_PAGE", 2)
    monkeypatch.setattr(module, "_scored", lambda r, u, *x: asked.extend(u) or scored(r, u, *x))
    flags = (folder / unit, mixed, "--maps", "--out")
    (tmp_path / "whole").mkdir()
    assert run_predict(*flags, tmp_path / "whole" / f"a.{kind}") == 0
    told, total = capsys.readouterr().out, len(asked)

    part = tmp_path / "part"
    part.mkdir()
    for stop in (1, 4):
        with monkeypatch.context() as patch:
            patch.setattr(pages, "full_row", dying(pages.full_row, stop))
            assert run_predict(*flags, part / f"a.{kind}", "--resume") == 130
        assert not (part / "a_full.csv").exists()
        partial = part / "a_full.csv.partial"
        partial.write_bytes(partial.read_bytes()[:-9])  # a row that was cut off
    with monkeypatch.context() as patch:
        patch.setattr(pages, "_fingerprint", lambda photographs: "others")
        capsys.readouterr()
        assert run_predict(*flags, part / f"a.{kind}", "--resume") == 2
        said = "a_full.csv.partial was begun with other photographs"
        assert said in capsys.readouterr().err
    asked.clear()
    assert run_predict(*flags, part / f"a.{kind}", "--resume") == 0
    assert len(asked) < total  # what was answered is not asked again
    assert capsys.readouterr().out.replace(str(part), str(tmp_path / "whole")) == told

    names = sorted(x.name for x in (tmp_path / "whole").iterdir())
    assert sorted(x.name for x in part.iterdir()) == names
    assert {f"a.{kind}", "a_full.csv", "a.html", "a_2.html", "a_maps"} <= set(names)
    for name in names:
        both = [x / name for x in (part, tmp_path / "whole")]
        if name == "a_full.csv":  # other batches: other last bits
            pd.testing.assert_frame_equal(*map(pd.read_csv, both))
        elif name.endswith((".csv", ".json", ".html")):
            assert both[0].read_bytes() == both[1].read_bytes(), name
        elif name.endswith(".xlsx"):
            rows = [list(openpyxl.load_workbook(x).active.values) for x in both]
            assert rows[0] == rows[1]
