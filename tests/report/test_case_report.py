"""`case`: what is measured of a person's photographs, and the words made of it."""

import json
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import browser
import cv2
import numpy as np
import pandas as pd
import pytest
from tiny import make_photographs, ready_run

from fundus_diag.cli import main
from fundus_diag.data.findings import read_vocabulary
from fundus_diag.data.gather import gather
from fundus_diag.data.labels import label_text
from fundus_diag.explain.case import LEAST, segments_of
from fundus_diag.imaging.gradability import MEASURES
from fundus_diag.imaging.quality import BLANK
from fundus_diag.report.case_report import page_of, write_case_report
from fundus_diag.report.pictures import data_url
from fundus_diag.report.sentences import sentences
from fundus_diag.report.wording import QUALITY_ZH, label_name, percent, short
from fundus_diag.runs.run import load_run


class Outliner:
    """A segmenter that calls what a photograph shows in pure colours."""

    classes = ("EX", "disc", "macula")
    thresholds = np.array([0.5, 0.5, 0.5])
    config = {"image_size": 128, "crop": "none"}

    def __init__(self, masks):
        self.masks = masks

    def on_photograph(self, loaded):
        return np.stack([self.masks[x] for x in self.classes], axis=-1).astype(np.float32)

    def call(self, said):
        return said >= 0.5


@pytest.fixture
def outlined(tmp_path):
    """A photograph with a disc of 20 px, a macula 50 px away, exudates 10, 30, 55 px from that."""
    side = 128
    y, x = np.indices((side, side))

    def spot(row, column, radius):
        return (y - row) ** 2 + (x - column) ** 2 <= radius**2

    masks = {"disc": spot(64, 100, 10), "macula": spot(64, 50, 6)}
    masks["EX"] = spot(54, 50, 2) | spot(94, 50, 3) | spot(64, 105, 2)
    masks["EX"][5, 5] = True  # noise of one pixel
    picture = np.full((side, side, 3), 120, np.uint8)
    cv2.imwrite(str(tmp_path / "1_right.png"), picture)
    return Outliner(masks), tmp_path / "1_right.png"


def test_regions_are_counted_and_measured_from_the_macula(outlined):
    segmenter, path = outlined
    facts, masks, _ = segments_of(segmenter, path, "right")
    assert facts["disc"]["middle"] == pytest.approx([64.5, 100.5])
    diameter = 2 * math.sqrt(masks["disc"].sum() / math.pi)
    assert facts["disc"]["diameter"] == pytest.approx(diameter)
    assert facts["macula"] == {"middle": pytest.approx([64.5, 50.5]), "how": "segmented"}
    found = facts["classes"]["EX"]
    assert found["regions"] == 3
    # What is not counted is nowhere: no outline, no association can come of it.
    assert LEAST > 1
    assert not masks["EX"][5, 5]
    assert found["area"] == masks["EX"].sum() == segmenter.masks["EX"].sum() - 1
    assert found["disc_areas"] == pytest.approx(found["area"] / masks["disc"].sum())
    # From the middle of the macula to the nearest pixel of the nearest region: 10 less 2 px.
    assert found["nearest"] == pytest.approx(8 / diameter)
    assert found["near"] == 1
    segmenter.masks["macula"] = np.zeros((128, 128), bool)
    facts, _, _ = segments_of(segmenter, path, "right")
    # By the disc, wherever the photograph is centred: a little below it, towards the temple.
    assert facts["macula"]["how"] == "by the disc"
    (y, x), disc = facts["macula"]["middle"], facts["disc"]["middle"]
    away = (y - disc[0]) / diameter, (x - disc[1]) / diameter
    assert away == pytest.approx((0.045 / 0.154, -0.35 / 0.154))
    assert facts["classes"]["EX"]["near"] is not None
    facts, _, _ = segments_of(segmenter, path, "left")
    assert facts["macula"]["middle"] == pytest.approx([y, 2 * disc[1] - x])
    # That lies out of the photograph: of the other eye than its name says, or of another part.
    assert facts["macula"]["how"] == "outside"
    assert facts["classes"]["EX"]["near"] is facts["classes"]["EX"]["nearest"] is None
    segmenter.masks["disc"] = np.zeros((128, 128), bool)
    facts, _, _ = segments_of(segmenter, path, "right")
    assert facts["macula"]["how"] == "assumed"
    assert facts["macula"]["middle"][1] < 64  # of a right eye to the left of the middle
    facts, _, _ = segments_of(segmenter, path, "left")
    assert facts["macula"]["middle"][1] > 64
    facts, _, _ = segments_of(segmenter, path)
    assert facts["macula"] is None
    assert facts["classes"]["EX"]["near"] is None


@pytest.mark.parametrize("radius", [2, 40])
def test_what_is_too_small_or_large_for_a_disc_is_no_measure(outlined, radius):
    segmenter, path = outlined
    y, x = np.indices((128, 128))
    segmenter.masks["disc"] = (y - 64) ** 2 + (x - 80) ** 2 <= radius**2
    facts, _, _ = segments_of(segmenter, path, "right")
    assert facts["disc"] is None
    assert facts["classes"]["disc"]["regions"] == 1  # it is outlined all the same
    assert facts["classes"]["EX"]["disc_areas"] is None
    assert facts["classes"]["EX"]["near"] is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    manifest, run = make_photographs(folder / "photographs", patients=20), folder / "run"
    ready_run(manifest, run)
    words = ["predict", run, "--manifest", manifest, "--image-root", manifest.parent]
    words += ["--split", "val", "--out", run / "predictions_val.csv"]
    assert main([str(x) for x in words]) == 0
    return folder


def pair(folder):
    return [str(folder / f"photographs/000_{eye}.png") for eye in ("left", "right")]


def test_every_sentence_has_a_row_of_the_page(folder, tmp_path, capsys):
    words = ["case", str(folder / "run"), "--images", *pair(folder), "--out", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    facts = json.loads((tmp_path / "case.json").read_text())
    page = (tmp_path / "case.html").read_text()
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for language in ("en", "zh"):
        assert facts["sentences"][language]
        for one in facts["sentences"][language]:
            assert one["source"] in ids
            assert one["text"] in page
    assert all(one["text"] in said for one in facts["sentences"]["en"])
    assert [x["eyes"] for x in facts["answers"]] == [["left"], ["right"]]
    for answer in facts["answers"]:
        for row in answer["rows"]:
            named = [x for x in facts["sentences"]["en"] if x["source"] == row["id"]]
            assert len(named) == row["called"]
            assert all(f"probability {row['probability']:.2f}" in x["text"] for x in named)
    assert "no segmenter was given" in page
    assert "not for clinical use" in page
    assert not re.search(r"(src|href)=.?https?:", page)
    # Names of files may be those of people.
    assert "000_left" not in page + json.dumps(facts)


def test_a_probability_has_the_interval_of_those_scored_alike(folder, tmp_path):
    words = ["case", str(folder / "run"), "--images", *pair(folder), "--out", str(tmp_path)]
    assert main(words) == 0
    page = (tmp_path / "case.html").read_text()
    rows = [x for one in json.loads((tmp_path / "case.json").read_text())["answers"]
            for x in one["rows"]]  # fmt: skip
    assert any(row["n"] for row in rows)
    for row in rows:
        if row["n"]:  # Wilson's, by its formula
            n, share, z = row["n"], row["had"] / row["n"], 1.959964
            middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
            half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
            low, high = middle - half, middle + half
            assert row["interval"] == pytest.approx([max(low, 0), min(high, 1)], abs=1e-6)
            assert f"{row['interval'][0]:.2f} to {row['interval'][1]:.2f}" in page


@pytest.fixture(scope="module")
def whole(folder):
    """The page of a run, a segmenter of one lesion, and a run of findings that calls them all."""
    table = pd.read_csv(folder / "photographs/manifest.csv", dtype=str, keep_default_na=False)
    table = table.rename(columns={"A": "hard exudate", "B": "drusen"})
    table.to_csv(folder / "photographs/worded.csv", index=False)
    ready_run(folder / "photographs/worded.csv", folder / "words", task="findings")
    path = folder / "words/thresholds.json"
    points = json.loads(path.read_text())
    for point in points["labels"].values():
        point["threshold"] = 0.0
    path.write_text(json.dumps(points))
    shape = cv2.imread(pair(folder)[0]).shape[:2]
    y, x = np.indices(shape)
    spot = (y - shape[0] // 2) ** 2 + (x - shape[1] // 2) ** 2
    # Of a disc of this size, which lies nowhere near that of an eye.
    masks = {"EX": spot <= 9, "disc": (spot >= 9) & (spot < 40), "macula": spot < 0}
    page, facts = write_case_report(
        load_run(folder / "run"),
        gather([Path(x) for x in pair(folder)], None, None, None).table,
        folder / "whole",
        "# Model card",
        segmenter=SimpleNamespace(
            classes=Outliner.classes, thresholds=Outliner.thresholds, config=Outliner.config,
            on_photograph=Outliner(masks).on_photograph, call=lambda said: said >= 0.5,
            run_dir=folder / "outlines",
        ),
        words=load_run(folder / "words"),
    )  # fmt: skip
    return page, facts, masks


def test_a_finding_stands_beside_the_regions_that_show_it(whole):
    page, facts, masks = whole
    text = page.read_text()
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for language, exudates, drusen in (
        ("en", "in words, hard exudate", "in words, drusen"),
        ("zh", "硬性渗出", "玻璃膜疣"),
    ):
        for one in facts["sentences"][language]:
            assert one["source"] in ids
            if one["region"]:
                at = re.search(rf'{re.escape(one["text"])} <a href="#([^"]+)"', text).group(1)
                assert at in ids
                assert at.startswith(f"outline-{one['eye']}-")
        said = [x for x in facts["sentences"][language] if x["source"].startswith("finding")]
        own = [x for x in said if exudates in x["text"]]
        assert len(own) == 2
        for one in own:
            count = "hard exudates 1" if language == "en" else "硬性渗出1处"
            assert count in one["text"]
            assert one["region"] == f"segment-{one['eye']}-0"
        other = [x for x in said if drusen in x["text"]]
        assert len(other) == 2
        assert all(x["region"] is None for x in other)
    for eye in ("left", "right"):
        rows = facts["photographs"][eye]["associations"]
        # Region by label, and region by phrase, with the label that the phrase speaks for.
        found = {(x["region"], x["label"], x["phrase"]) for x in rows}
        labels = {(r, x, None) for r in ("EX", "disc") for x in "AB"}
        phrases = {(r, "O" if p == "hard exudate" else "A", p)
                   for r in ("EX", "disc") for p in ("hard exudate", "drusen")}  # fmt: skip
        vocabulary = read_vocabulary().finding
        phrases = {(r, vocabulary[p].label, p) for r, _, p in phrases}
        assert found == labels | phrases
        area = {x["region"]: x["area"] for x in rows}
        share = facts["photographs"][eye]["segments"][0]["share_of_field"]
        assert area["EX"] == pytest.approx(share, rel=1e-3)
        for row in rows:
            if row["share"] is not None:
                assert row["ratio"] == pytest.approx(row["share"] / row["area"])
    kinds = [kind for kind, _ in facts["not_looked_at"]]
    assert kinds == ["labels", "segments"]


@pytest.mark.browser
def test_it_prints_on_two_sheets(whole, tmp_path):
    address = whole[0].as_uri()
    with browser.page(address, 1400, tmp_path / "profile") as call:
        assert browser.pages(call) <= 2


def large(ratio=2.5):
    """Facts of two ill eyes by a run of ODIR's labels, five kinds of outlines and 45 findings."""
    labels, classes = "N D G C A H M O".split(), ("MA", "HE", "EX", "SE", "OD")
    phrases = list(read_vocabulary().finding)[:45]
    answers, photographs = [], {}
    for k, eye in enumerate(("left", "right")):
        rows = [
            {"id": f"answer-{k}-{i}", "label": x, "title": label_text(x), "probability": 0.4,
             "threshold": 0.3, "called": x in "DH", "n": 35, "had": 12, "low": 0.35, "high": 0.45,
             "interval": [0.2, 0.5]}
            for i, x in enumerate(labels)
        ]  # fmt: skip
        answers.append({"eyes": [eye], "why": "", "poor": "", "unlike": "", "at_odds": "",
                        "rows": rows})  # fmt: skip
        segments = [
            {"id": f"segment-{eye}-{j}", "class": x, "macula": "by the disc", "threshold": 0.4,
             "regions": 14, "area": 500, "share_of_field": 0.01, "disc_areas": 0.3, "nearest": 0.6,
             "near": 3}
            for j, x in enumerate(classes)
        ]  # fmt: skip
        shown = [{x: row[x] for x in ("id", "class", "regions")} for row in segments[:4]]
        findings = [
            {"id": f"finding-{eye}-{j}", "phrase": x, "zh": read_vocabulary().finding[x].zh[0],
             "label": "D", "where": ["anywhere"], "outlined": shown, "score": 0.6,
             "threshold": 0.5 if j < 3 else 0.9, "called": j < 3}
            for j, x in enumerate(phrases)
        ]  # fmt: skip
        of = [(x, None) for x in labels] + [("D", x) for x in phrases[:3]]
        associations = [
            {"id": f"association-{eye}-{j}-{n}", "outline": f"segment-{eye}-{j}", "region": region,
             "label": label, "phrase": phrase, "called": label in "DH", "share": 0.05, "area": 0.02,
             "ratio": ratio if region in ("EX", "HE") else 1.2, "others": 0.02, "mean": 0.3,
             "largest": 0.9, "covered": 0.2}
            for j, region in enumerate(classes)
            for n, (label, phrase) in enumerate(of)
        ]  # fmt: skip
        photographs[eye] = {
            "gradable": True, "segments": segments, "findings": findings, "disc": None,
            "associations": associations, "macula": {"how": "by the disc"},
        }  # fmt: skip
    facts = {
        "version": "1", "made": "today", "run": "odir", "segment": "lesions", "findings": "words",
        "drawn": False, "unit": "eye", "answers": answers, "photographs": photographs,
        "not_looked_at": [["labels", labels[:-1]], ["segments", list(classes)]],
    }  # fmt: skip
    facts["sentences"] = {x: sentences(facts, x) for x in ("en", "zh")}
    photograph = data_url(cv2.imencode(".jpg", np.full((480, 640, 3), 120, np.uint8))[1], "jpeg")
    layers = {
        eye: [(x["id"], x["class"], (86, 180, 233), photograph) for x in one["segments"]]
        for eye, one in photographs.items()
    }
    return page_of(facts, dict.fromkeys(photographs, photograph), layers, labels, "CAM", "# Card")


@pytest.mark.browser
def test_two_ill_eyes_with_all_that_can_be_said_print_on_two_sheets_and_fit(tmp_path):
    path, empty = tmp_path / "case.html", tmp_path / "empty.html"
    path.write_text(large())
    empty.write_text(large(ratio=1.2))
    print_ = {"cmd": "Emulation.setEmulatedMedia", "params": {"media": "print"}}
    for width in (1400, 390):
        with browser.page(path.as_uri(), width, tmp_path / f"profile{width}") as call:
            browser.check_fit(call, width)
            assert browser.pages(call) == 2
            # No column of single characters.
            most = "return Math.max(...[...document.querySelectorAll('td:lang(zh)')].map(x => "
            assert browser.script(call, f"{most} x.clientHeight))") < 90
    with browser.page(path.as_uri(), 718, tmp_path / "profile") as call:  # A4 within its margins
        call("goog/cdp/execute", print_)
        out = "return [...document.querySelectorAll('table')].filter(x => "
        out += "x.scrollWidth > x.closest('section').clientWidth + 1).length"
        assert browser.script(call, out) == 0
        tables = "return [...document.querySelectorAll('.regions')].map(x => x.offsetHeight > 0)"
        assert browser.script(call, tables) == [True, True]
        call("url", {"url": empty.as_uri()})  # of headings without a row nobody has anything
        assert browser.script(call, tables) == [False, False]


def test_a_run_over_both_eyes_reads_them_together(folder, tmp_path):
    ready_run(folder / "photographs/manifest.csv", tmp_path / "run", unit="patient")
    for eye in ("left", "right"):
        shutil.copy(folder / f"photographs/000_{eye}.png", tmp_path / f"{eye}.png")
    images = [str(tmp_path / f"{eye}.png") for eye in ("left", "right")]
    assert main(["case", str(tmp_path / "run"), "--images", *images, "--out", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "case.json").read_text())
    assert [x["eyes"] for x in facts["answers"]] == [["left", "right"]]
    assert sorted(facts["photographs"]) == ["left", "right"]
    # One that cannot be read leaves the other.
    (tmp_path / "right.png").write_bytes(b"no picture")
    assert main(["case", str(tmp_path / "run"), "--images", *images, "--out", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "case.json").read_text())
    assert list(facts["photographs"]) == ["left"]
    assert "right eye: " in facts["answers"][0]["why"]


def test_of_both_eyes_a_disease_is_said_of_one_at_least_and_health_of_both():
    row = {"probability": 0.8, "threshold": 0.3, "called": True, "n": 20, "had": 12, "low": 0.77,
           "high": 0.83}  # fmt: skip
    rows = [{**row, "label": "D", "id": "d"}, {**row, "label": "N", "id": "n"}]
    answer = {"eyes": ["left", "right"], "rows": rows, "why": "", "poor": None, "unlike": "",
              "at_odds": ""}  # fmt: skip
    facts = {"unit": "patient", "answers": [answer], "photographs": {}, "not_looked_at": []}
    texts = {x["source"]: x["text"] for x in sentences(facts)}
    assert texts["d"] == (
        "One eye at least (both are read together): diabetic retinopathy, probability 0.80, called "
        "from 0.30 on; true of 12 of 20 patients of validation scored so."
    )
    assert texts["n"].startswith("Both eyes: normal, probability 0.80")
    texts = {x["source"]: x["text"] for x in sentences(facts, "zh")}
    assert texts["d"].startswith("至少一眼（双眼合并判断）：糖尿病视网膜病变")
    assert "20名患者中有12名确为此诊断" in texts["d"]
    assert texts["n"].startswith("双眼：正常")


def test_those_scored_nearest_are_not_called_alike_where_they_lie_far_away():
    row = {"label": "D", "probability": 0.95, "threshold": 0.3, "called": True, "id": "d",
           "n": 10, "had": 1, "low": 0.29, "high": 0.3}  # fmt: skip
    answer = {"eyes": ["left"], "rows": [row], "why": "", "poor": "", "unlike": "", "at_odds": ""}
    facts = {"unit": "eye", "answers": [answer], "photographs": {}, "not_looked_at": []}
    said, fine = (x["text"] for x in sentences(facts))
    assert "of the 10 photographs of validation scored nearest, 0.29 to 0.30, 1 had it." in said
    assert "quality within the limits" in fine
    assert "（0.29至0.30）" in sentences(facts, "zh")[0]["text"]


def test_of_quality_and_what_is_unfamiliar_both_languages_say_the_same():
    answer = {"eyes": ["left", "right"], "rows": [], "why": "", "at_odds": "", "distance": 3.2,
              "poor": "left eye: too dark, blurred or hazy; right eye: overexposed",
              "unlike": "3.2 times as far"}  # fmt: skip
    facts = {"unit": "patient", "answers": [answer], "photographs": {}, "not_looked_at": []}
    poor, unlike = (x["text"] for x in sentences(facts))
    assert poor == f"Both eyes: poor photograph: {answer['poor']}."
    assert "3.2 times as far" in unlike
    poor, unlike = (x["text"] for x in sentences(facts, "zh"))
    assert poor == "双眼：照片质量差（左眼：过暗、模糊或混浊；右眼：过曝）。"
    assert "训练照片" in unlike
    assert "3.2倍" in unlike
    assert not re.search("[a-z]", unlike)
    # All that is said of quality is known in Chinese too.
    assert {x for pair in MEASURES.values() for x in pair if x} <= set(QUALITY_ZH)
    assert BLANK in QUALITY_ZH


@pytest.mark.parametrize(
    ("value", "two", "of_hundred"),
    [(0, "0.00", "0%"), (0.3, "0.30", "30%"), (0.096, "0.096", "9.6%"), (0.094, "0.094", "9.4%"),
     (0.0013, "0.0013", "0.13%"), (0.00096, "0.00096", "0.096%"), (1.234, "1.23", "123%")],
)  # fmt: skip
def test_small_figures_keep_two_digits(value, two, of_hundred):
    assert short(value) == two
    assert percent(value) == of_hundred


def test_labels_of_grades_and_findings_have_names_in_both_languages():
    assert label_name("grade_2") == "grade 2"
    assert label_name("grade_2", "zh") == "2级"
    assert label_name("drusen", "zh") == "玻璃膜疣"
    assert label_name("something else", "zh") == "something else"


def test_what_nobody_measured_is_not_said():
    eye = {
        "gradable": True,
        "findings": [],
        "segments": [],
        "associations": [],
        "disc": None,
        "macula": None,
    }
    row = {"label": "D", "probability": 0.8, "threshold": 0.3, "called": True, "id": "answer-0-0",
           "n": 0, "had": 0}  # fmt: skip
    answer = {"eyes": ["left"], "rows": [row], "why": "", "poor": None, "unlike": "",
              "at_odds": ""}  # fmt: skip
    facts = {"unit": "eye", "answers": [answer], "photographs": {"left": eye}, "not_looked_at": []}
    (one,) = sentences(facts)
    assert one == {
        "eye": "left",
        "text": "Left eye: diabetic retinopathy, probability 0.80, called from 0.30 on.",
        "source": "answer-0-0",
        "region": None,
    }
    (one,) = sentences(facts, "zh")
    assert one["text"] == "左眼：糖尿病视网膜病变，概率0.80，阈值0.30。"
    segment = {"id": "s", "class": "EX", "regions": 14, "disc_areas": 0.5, "near": 9,
               "nearest": 0.4, "macula": "by the disc", "share_of_field": 0.01}  # fmt: skip
    eye["segments"] = [segment, {**segment, "class": "HE", "regions": 0}]
    own = {"share": 0.3, "label": "D", "region": "EX", "outline": "s", "phrase": None}
    eye["associations"] = [
        {**own, "id": "a", "called": True, "ratio": 3.0},
        {**own, "id": "b", "called": True, "ratio": 1.5},
        {**own, "id": "c", "called": False, "ratio": 9.0},
        {**own, "id": "d", "called": True, "ratio": 5.0, "share": 0.0013, "phrase": "drusen"},
    ]
    texts = {x["source"]: x["text"] for x in sentences(facts)}
    assert set(texts) == {"answer-0-0", "s", "a", "d"}
    assert "of the map of drusen 0.13% lies in hard exudates, 5.0 times" in texts["d"]
    assert {x["region"] for x in sentences(facts)} == {None, "s"}
    assert texts["s"] == (
        "Left eye: hard exudates, 14, 0.50 disc areas in all; 9 within one disc diameter of the "
        "macula (as it lies from the disc), the nearest 0.4 away."
    )
    assert "30% lies in hard exudates, 3.0 times what chance gives" in texts["a"]
    eye["macula"] = {"middle": [64.0, 148.0], "how": "outside"}
    segment |= {"near": None, "nearest": None, "macula": "outside"}
    texts = {x["source"]: x["text"] for x in sentences(facts)}
    assert texts["s"] == "Left eye: hard exudates, 14, 0.50 disc areas in all."
    assert "the macula is out of the photograph" in texts["macula-left"]
    # Of what cannot be graded nothing is said but that.
    eye["gradable"], answer["why"] = False, "no field of view"
    answer["rows"] = [{**row, "called": False}]
    (one,) = sentences(facts)
    assert one["text"] == "Left eye: not gradable: no field of view."


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (("000_left", "001_left"), 2),
        (("000_left", "001_right"), 2),  # of two people
        (("000_left", "nowhere"), 1),
        (("000_left", "unknown"), 2),  # it may be the same eye
    ],
)
def test_photographs_that_are_no_pair(folder, tmp_path, capsys, names, status):
    shutil.copy(folder / "photographs/000_right.png", folder / "photographs/unknown.png")
    images = [str(folder / f"photographs/{x}.png") for x in names]
    out = str(tmp_path / "out")
    assert main(["case", str(folder / "run"), "--images", *images, "--out", out]) == status
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
