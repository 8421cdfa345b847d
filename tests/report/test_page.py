import csv
import json
import re
import shutil

import browser
import cv2
import numpy as np
import pandas as pd
import pytest
from report_recount import Page, Recount
from report_runs import LABELS, write_run
from undrawn import black

from fundus_diag.data.labels import label_text
from fundus_diag.metrics import classification
from fundus_diag.report import parts
from fundus_diag.report.report import report_run
from fundus_diag.report.selection import worst_errors
from fundus_diag.report.verdicts import _target, in_ten
from fundus_diag.utils import plotting
from fundus_diag.utils.errors import DataError, UsageError

RESAMPLES = 100
ENDS = ("png", "pdf")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One reported run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    kinds = {"eye": {}, "patient": {"unit": "patient"}, "grade": {"task": "grade"}}
    for kind, options in kinds.items():
        write_run(folder / kind, **options)
    for kind in ("eye", "grade"):
        report_run(folder / kind, resamples=RESAMPLES)
    with pytest.MonkeyPatch.context() as patch:  # nobody looks at the figures of patients
        patch.setattr(plotting, "figure_files", black)
        report_run(folder / "patient", resamples=RESAMPLES)
    return folder


@pytest.mark.parametrize("kind", ["eye", "patient", "grade"])
def test_every_figure_of_the_page_is_recounted_from_the_predictions_file(runs, kind):
    run = runs / kind
    page, again = Page((run / "report.html").read_text()), Recount(run)
    assert len(page.figures) > 300
    missing = {"macro.roc_auc", "micro.f1", "labels." + again.labels[1] + ".brier"}
    assert missing <= {path for path, _ in page.figures}
    values, intervals = 0, 0
    for path, text in dict(page.figures).items():
        if path.endswith("_ci"):
            low, high = again.interval(path.removesuffix("_ci"), RESAMPLES)
            got = [float(x) for x in text.split(" to ")]
            assert got == pytest.approx([low, high], abs=0.00051), path
            intervals += 1
            continue
        want = again.value(path)
        if text == "–":
            assert np.isnan(want), path
        elif isinstance(want, (int, np.integer)):
            assert int(text.replace(",", "")) == want, path
        else:
            assert float(text) == pytest.approx(want, abs=0.00051), path
        values += 1
    assert values > 200
    assert intervals > 60


def test_the_json_the_csv_and_the_page_agree(runs):
    metrics = json.loads((runs / "eye" / "metrics_test.json").read_text())
    assert set(metrics["labels"]) == set(LABELS)
    assert metrics["macro"]["n_labels"] == 5
    assert metrics["macro"]["f1_n_labels"] == 4
    assert metrics["labels"]["H"]["f1"] is None
    assert metrics["bootstrap"]["resamples"] == RESAMPLES
    with (runs / "eye" / "metrics_test.csv").open() as file:
        rows = {row["label"]: row for row in csv.DictReader(file)}
    for label, entry in metrics["labels"].items():
        for name in classification.FIGURES:
            text = rows[label][name]
            assert (float(text) if text else None) == entry[name]
            low, high = entry.get(f"{name}_ci") or ("", "")
            assert rows[label][f"{name}_low"] == str(low)
            assert rows[label][f"{name}_high"] == str(high)


def test_the_page_is_one_file_that_asks_nothing_of_the_network(runs):
    for kind in ("eye", "patient", "grade"):
        text = (runs / kind / "report.html").read_text()
        page = Page(text)
        assert page.pictures >= 19
        others = {x for x in page.links if not x.startswith(("data:", "#"))}
        assert others == {"metrics_test.csv", "metrics_test.json", "figures/"}
        assert all((runs / kind / x).exists() for x in others)
        inside = {x[1:] for x in page.links if x.startswith("#")}
        assert len(inside) >= 7
        assert all(f'id="{x}"' in text for x in inside)
        assert page.tags.count("script") == 1
        assert "<script>" in text
        assert not {"iframe", "style[src]"} & set(page.tags)
        assert not re.search(r"url\([^#]|@import|https?://", re.sub(r"data:[^\"]*", "", text))
        ids = re.findall(r' id="([^"]+)"', text)
        assert len(set(ids)) == len(ids)
        assert "not for clinical use" in text
        assert str(runs) not in text  # whose folders these are is nobody's business
        assert len(text) < 3_000_000


@pytest.mark.usefixtures("undrawn")
def test_what_a_reader_must_know_is_said(runs, tmp_path):
    run = shutil.copytree(runs / "eye", tmp_path / "run")
    text = (run / "report.html").read_text()
    assert 'id="scratch-notice"' in text
    assert 'id="val-notice"' not in text
    assert "No threshold: val held 0 positives" in text
    assert "their folder is not on this machine" in text
    assert "nobody stands in two splits" in text
    config = json.loads((run / "config.json").read_text())
    config["data"]["own_patients"] = 1234
    (run / "config.json").write_text(json.dumps(config))
    path, _, _ = report_run(run, split="val", resamples=RESAMPLES)
    assert path.name == "report_val.html"
    assert 'id="val-notice"' in path.read_text()
    assert "nobody stands in two splits" not in path.read_text()
    assert "1,234 of its pictures are patients of their own" in path.read_text()
    assert (run / "report.html").read_text() == text


def test_all_figures_are_written_and_hold_something(runs):
    names = {"roc", "precision_recall", "reliability", "confusion", "overview"}
    wanted = {f"{name}_test" for name in names} | {"curve_loss", "curve_f1", "curve_auc"}
    for kind in ("eye", "grade"):
        folder = runs / kind / "figures"
        assert {x.name for x in folder.iterdir()} == {f"{x}.{k}" for x in wanted for k in ENDS}
        assert all(x.read_bytes().startswith(b"%PDF") for x in folder.glob("*.pdf"))
        for name in (f"{x}.png" for x in wanted):
            picture = cv2.imread(str(runs / kind / "figures" / name))
            assert min(picture.shape[:2]) > 300, name
            assert picture.std() > 10, name
    assert not list((runs / "eye").rglob("*.partial*"))


def test_the_worst_errors_are_the_surest_ones(runs):
    metrics = json.loads((runs / "eye" / "metrics_test.json").read_text())
    table = pd.read_csv(runs / "eye" / "predictions_test.csv", dtype={"patient": str})
    errors = worst_errors(table, LABELS, metrics, grade=False)
    assert {e["label"] for e in errors} <= {"N", "D", "G", "C"}
    missed = next(e for e in errors if (e["label"], e["kind"]) == ("D", "missed"))
    wrong = table[(table["y_D"] == 1) & (table["p_D"] < metrics["labels"]["D"]["threshold"])]
    assert missed["probability"] == wrong["p_D"].min()
    alarm = next(e for e in errors if (e["label"], e["kind"]) == ("N", "false alarm"))
    wrong = table[(table["y_N"] == 0) & (table["p_N"] >= metrics["labels"]["N"]["threshold"])]
    assert alarm["probability"] == wrong["p_N"].max()
    assert "N" not in alarm["truth"]


def test_photographs_of_the_errors_are_shown_and_none_from_outside_the_root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    picture = np.zeros((64, 64, 3), np.uint8)
    cv2.circle(picture, (32, 32), 28, (40, 90, 200), -1)
    cv2.imwrite(str(folder / "a.jpg"), picture)
    cv2.imwrite(str(tmp_path / "secret.jpg"), picture)
    (folder / "b.jpg").write_text("no picture")
    names = ["a.jpg", "b.jpg", "gone.jpg", "../secret.jpg", str(tmp_path / "secret.jpg")]
    errors = [{"images": [name], "pictures": []} for name in names]
    note = parts.add_pictures(errors, folder, "fundus")
    assert [len(error["pictures"]) for error in errors] == [1, 0, 0, 0, 0]
    assert errors[0]["pictures"][0].startswith("data:image/jpeg;base64,")
    assert note.endswith("not shown: 4.")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", None, "config.json: not found"),
        ("config.json", lambda t: t[:100], "config.json: not readable as JSON"),
        ("config.json", lambda t: t.replace("2026-01-01T10:34:00", ""), "not finished"),
        ("config.json", lambda t: t.replace('"rows": ', '"rows": -'), "splits.train.rows: "),
        (
            "config.json",
            lambda t: t.replace('"N",', '"../N",', 1),
            "labels.0: not the name of a label",
        ),
        ("history.csv", None, "history.csv: "),
        ("history.csv", lambda t: t.replace("phase", "fase"), "no column 'epoch' or no column"),
        ("thresholds.json", None, "thresholds.json: not found"),
        ("thresholds.json", lambda t: t.replace('"H"', '"X"'), "nothing about label H"),
        (
            "predictions_test.csv",
            None,
            "predictions_test.csv: not here, and cannot be made: its table is not here",
        ),
        ("predictions_test.csv", lambda t: t.replace("p_D", "q_D"), "no column p_D"),
        ("predictions_test.csv", lambda t: t.replace("test-000", ""), "line 2: empty patient"),
        ("predictions_test.csv", lambda t: re.sub(r",0\.\d+\n", ",1.5\n", t), "line 2: p_H is 1.5"),
        ("predictions_test.csv", lambda t: re.sub(r",0\.\d+\n", ",x\n", t), "'x', not a number"),
        ("predictions_test.csv", lambda t: t[: t.index("\n") + 1], "no row"),
    ],
)
def test_a_run_directory_that_is_wrong_is_one_line_that_names_the_file(
    runs, tmp_path, name, change, message
):
    run = tmp_path / "run"
    shutil.copytree(runs / "eye", run, ignore=shutil.ignore_patterns("report*", "metrics*", "fig*"))
    text = (run / name).read_text()
    (run / name).unlink()
    if change is not None:
        assert change(text) != text
        (run / name).write_text(change(text))
    before = sorted(run.rglob("*"))
    with pytest.raises(DataError) as caught:
        report_run(run, resamples=RESAMPLES)
    assert message in str(caught.value)
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(run.rglob("*")) == before


def test_arguments_that_contradict_each_other_are_usage_errors(runs, tmp_path):
    run = runs / "eye"
    with pytest.raises(UsageError, match="--predictions needs --out"):
        report_run(run, predictions=run / "predictions_val.csv")
    with pytest.raises(UsageError, match="--resamples 10"):
        report_run(run, resamples=10)
    with pytest.raises(UsageError, match="not the name of a split"):
        report_run(run, split="../x")
    with pytest.raises(DataError, match="not a directory"):
        report_run(tmp_path / "none")


@pytest.mark.usefixtures("undrawn")
def test_predictions_of_other_photographs_are_reported_elsewhere(runs, tmp_path):
    table = pd.read_csv(runs / "eye" / "predictions_val.csv", dtype={"patient": str})
    table.drop(columns=["y_G", "sex", "age"]).to_csv(tmp_path / "other.csv", index=False)
    before = (runs / "eye" / "report.html").read_text()
    path, _, _ = report_run(
        runs / "eye", predictions=tmp_path / "other.csv", out=tmp_path / "out", resamples=RESAMPLES
    )
    assert path == tmp_path / "out" / "report.html"
    metrics = json.loads((tmp_path / "out" / "metrics_test.json").read_text())
    assert metrics["labels"]["G"]["graded"] == 0
    assert metrics["labels"]["G"]["roc_auc"] is None
    assert metrics["subgroups"] == {}
    assert (runs / "eye" / "report.html").read_text() == before


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("kind", ["eye", "patient", "grade"])
def test_the_page_fits_every_window_and_a_printer(runs, tmp_path, kind):
    """No sideways scrolling, letters that can be read, at most 6,000 px and 8 pages of A4."""
    url = (runs / kind / "report.html").as_uri()
    for width in (1400, 390):
        with browser.page(url, width, tmp_path / f"profile{width}") as call:
            browser.check_fit(call, width)
            wide = "[...document.querySelectorAll('main *')].filter(x => x.scrollWidth > x.clientWidth + 1 && getComputedStyle(x).overflowX != 'visible').length"  # noqa: E501
            assert browser.script(call, f"return {wide}") == 0  # nor inside of a box
            if kind == "patient":
                continue  # its figures are not drawn here
            heights = "[...document.querySelectorAll('svg text')].map(x => x.getBoundingClientRect().height)"  # noqa: E501
            least = browser.script(call, f"return Math.min(...{heights}.filter(x => x > 0))")
            assert least >= 9.5
            if width == 1400:
                assert browser.script(call, "return document.documentElement.scrollHeight") <= 6000
                assert browser.pages(call) <= 8


@pytest.mark.slow
@pytest.mark.browser
def test_a_reader_types_in_how_many_have_it(runs, tmp_path):
    """Predictive values at 10 in 100, by counting a thousand people."""
    metrics = json.loads((runs / "eye" / "metrics_test.json").read_text())["labels"]["D"]
    with browser.page((runs / "eye" / "report.html").as_uri(), 1400, tmp_path / "p") as call:
        row = "document.querySelectorAll('.ask')[1]"
        said = f"[...{row}.querySelectorAll('.value, .ci')].map(x => x.textContent)"
        before = browser.script(call, f"return {said}")
        assert float(before[0]) == pytest.approx(metrics["precision"], abs=6e-4)
        assert float(before[2]) == pytest.approx(metrics["npv"], abs=6e-4)
        change = f"let x = {row}.querySelector('input'); x.value = '10';"
        change += "x.dispatchEvent(new Event('input', {bubbles: true}));"
        ppv, ci, npv, _ = browser.script(call, f"{change} return {said}")
        clear = f"let y = {row}.querySelector('input'); y.value = '';"
        clear += "y.dispatchEvent(new Event('input', {bubbles: true}));"
        assert browser.script(call, f"{clear} return {said}") == ["–", "", "–", ""]
    found, alarms = 100 * metrics["recall"], 900 * (1 - metrics["specificity"])
    quiet, missed = 900 * metrics["specificity"], 100 * (1 - metrics["recall"])
    assert float(ppv) == pytest.approx(found / (found + alarms), abs=6e-4)
    assert float(npv) == pytest.approx(quiet / (quiet + missed), abs=6e-4)
    low, high = map(float, ci.split(" to "))
    assert low < float(ppv) < high


def test_each_disease_is_said_in_words_beside_what_was_asked_for(runs):
    head = (runs / "eye" / "report.html").read_text().partition('<nav aria-label="contents">')[0]
    metrics = json.loads((runs / "eye" / "metrics_test.json").read_text())["labels"]
    text = " ".join(re.sub(r"<[^>]+>", " ", head.partition("<body>")[2]).split())
    for label in ("D", "C"):
        entry = metrics[label]
        assert f"{entry['tp']} of {entry['support']}; " in text
    assert "never called: there was no threshold to choose" in text.lower()
    unclear = [x for x in LABELS if (metrics[x]["roc_auc_ci"] or [0])[0] <= 0.5]
    assert unclear
    said = text.partition("Not shown to be better than chance: ")[2].partition(" (the")[0]
    assert said == ", ".join(label_text(x) for x in unclear)
    grades = (runs / "grade" / "report.html").read_text()
    assert "grade 2 and above" in grades
    assert 'data-figure="grade.referable.recall_ci"' in grades


@pytest.mark.parametrize(
    ("criterion", "value", "ends", "want"),
    [
        ("sensitivity=0.8", 0.85, [0.7, 0.9], (True, True)),
        ("sensitivity=0.8", 0.75, [0.7, 0.9], (False, True)),
        ("specificity=0.8", 0.6, [0.5, 0.7], (False, False)),
        ("f1", 0.6, [0.5, 0.7], (None, None)),
    ],
)
def test_what_was_asked_for_is_reached_or_missed(criterion, value, ends, want):
    names = ("f1", "recall", "specificity")
    entry = {x: value for x in names} | {f"{x}_ci": ends for x in names}
    got = _target({"chosen_on": None}, {"criterion": criterion}, "D", entry)
    assert (got["met"], got["within"]) == want
    assert got["val"] is None


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "none"), (0.03, "hardly any"), (0.31, "3 in 10"), (0.97, "nearly all"), (1, "all")],
)
def test_a_share_is_said_as_people_say_it(share, words):
    assert in_ten(share) == words
