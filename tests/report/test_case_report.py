"""`case`: what is measured of a person's photographs, and the words made of it."""

import json
import math
import re
import shutil

import browser
import cv2
import numpy as np
import pytest
from tiny import make_photographs, ready_run

from fundus_diag.cli import main
from fundus_diag.explain.case import LEAST, segments_of
from fundus_diag.report.sentences import sentences


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
    assert LEAST > 1
    assert found["area"] == masks["EX"].sum() - 1
    assert found["disc_areas"] == pytest.approx(found["area"] / masks["disc"].sum())
    # From the middle of the macula to the nearest pixel of the nearest region: 10 less 2 px.
    assert found["nearest"] == pytest.approx(8 / diameter)
    assert found["near"] == 1
    segmenter.masks["macula"] = np.zeros((128, 128), bool)
    facts, _, _ = segments_of(segmenter, path, "right")
    assert facts["macula"]["how"] == "assumed"
    assert facts["macula"]["middle"][1] < 64  # of a right eye to the left of the middle
    facts, _, _ = segments_of(segmenter, path, "left")
    assert facts["macula"]["middle"][1] > 64
    facts, _, _ = segments_of(segmenter, path)
    assert facts["macula"] is None
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


@pytest.mark.browser
def test_it_prints_on_two_sheets(folder, tmp_path):
    words = ["case", str(folder / "run"), "--images", *pair(folder), "--out", str(tmp_path)]
    assert main(words) == 0
    address = (tmp_path / "case.html").as_uri()
    with browser.page(address, 1400, tmp_path / "profile") as call:
        assert browser.pages(call) <= 2


def test_a_run_over_both_eyes_reads_them_together(folder, tmp_path):
    ready_run(folder / "photographs/manifest.csv", tmp_path / "run", unit="patient")
    for eye in ("left", "right"):
        shutil.copy(folder / f"photographs/000_{eye}.png", tmp_path / f"{eye}.png")
    images = [str(tmp_path / f"{eye}.png") for eye in ("left", "right")]
    assert main(["case", str(tmp_path / "run"), "--images", *images, "--out", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "case.json").read_text())
    assert [x["eyes"] for x in facts["answers"]] == [["left", "right"]]
    assert sorted(facts["photographs"]) == ["left", "right"]


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
    answer = {"eyes": ["left"], "rows": [row], "why": "", "poor": "", "unlike": "", "at_odds": ""}
    facts = {"answers": [answer], "photographs": {"left": eye}, "not_looked_at": []}
    (one,) = sentences(facts)
    assert one == {
        "eye": "left",
        "text": "Left eye: diabetic retinopathy, probability 0.80, called from 0.30 on.",
        "source": "answer-0-0",
    }
    (one,) = sentences(facts, "zh")
    assert one["text"] == "左眼：糖尿病视网膜病变，概率0.80，阈值0.30。"
    segment = {"id": "s", "class": "EX", "regions": 14, "disc_areas": 0.5, "near": 9,
               "nearest": 0.4, "macula": "assumed", "share_of_field": 0.01}  # fmt: skip
    eye["segments"] = [segment, {**segment, "class": "HE", "regions": 0}]
    eye["associations"] = [
        {"id": "a", "called": True, "ratio": 3.0, "share": 0.3, "label": "D", "region": "EX"},
        {"id": "b", "called": True, "ratio": 1.5, "share": 0.3, "label": "D", "region": "EX"},
        {"id": "c", "called": False, "ratio": 9.0, "share": 0.3, "label": "G", "region": "EX"},
    ]
    texts = {x["source"]: x["text"] for x in sentences(facts)}
    assert set(texts) == {"answer-0-0", "s", "a"}
    assert texts["s"] == (
        "Left eye: hard exudates, 14, 0.50 disc areas in all; 9 within one disc diameter of the "
        "macula (where it lies on average), the nearest 0.4 away."
    )
    assert "30% lies in hard exudates, 3.0 times what chance gives" in texts["a"]
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
    ],
)
def test_photographs_that_are_no_pair(folder, tmp_path, capsys, names, status):
    images = [str(folder / f"photographs/{x}.png") for x in names]
    out = str(tmp_path / "out")
    assert main(["case", str(folder / "run"), "--images", *images, "--out", out]) == status
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
