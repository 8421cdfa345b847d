"""A case with its maps as pages show it; the pages of `explain` and `explain-eval`."""

import base64
import json
import re

import browser
import cv2
import numpy as np
import pandas as pd
import pytest
from explained import evaluate, make_explained
from tiny import main

from fundus_diag import load_run
from fundus_diag.explain.explain import explain_batch
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.output import shrunk
from fundus_diag.explain.settings import Settings
from fundus_diag.report import mapped
from fundus_diag.runs.cases import cases_of_files, load_case

COLUMNS = {"peak hits": "pointing", "energy inside": "energy", "soft Jaccard": "overlap",
           "IoU at 0": "iou", "IoU at its best": "iou_best", "deletion (low": "deletion",
           "insertion (high": "insertion"}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_explained(tmp_path_factory.mktemp("mapped"), patients=20)


def decoded(url):
    content = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_UNCHANGED)


@pytest.fixture(scope="module")
def found(folder):
    run = load_run(folder / "eye")
    (case,) = cases_of_files(run, [folder / "photographs" / "000_left.png"])
    settings = Settings(methods=("layer_cam", "grad_cam"))
    batch = [(case, load_case(run, case))]
    (found,) = explain_batch(run, batch, layers_of(run.model, settings), settings, [[0, 1]])
    return found


def test_nothing_is_laid_outside_of_the_field_of_view(found):
    cards = mapped.cards(found, 0.5, None, grade=False)
    assert [x["label"] for x in cards] == found["labels"]
    photo, _, inside = shrunk(found["loaded"]["left"])
    edge = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))).astype(bool)
    for card in cards:
        layer = decoded(card["map"])
        assert layer.shape == (*photo.shape[:2], 4)
        assert not layer[..., 3][~edge].any()
        assert layer[..., 3][inside].any()
        for _, _, url in card["layers"] + card["methods"]:
            small = decoded(url)
            far = ~cv2.dilate(inside.astype(np.uint8), np.ones((9, 9))).astype(bool)
            assert small.shape == photo.shape  # of 56 px: no smaller
            assert np.abs(small[far].astype(int) - photo[far][:, ::-1]).max() < 25


def test_layers_are_named_by_their_fineness_from_coarse_to_fine(found):
    (card, _) = mapped.cards(found, 0.5, None, grade=False)
    cells = found["cells"]["layer_cam"]
    titles = [title for title, _, _ in card["layers"]]
    order = sorted(max(x) for x in cells)
    assert [int(re.search(r"(\d+) ×", x)[1]) for x in titles] == order
    assert titles[0].startswith("coarsest: ")
    assert titles[-1].startswith("finest: ")
    assert {name for _, name, _ in card["layers"]} == set(found["layers"]["layer_cam"])
    assert [title for title, _, _ in card["methods"]] == ["Grad-CAM"]
    alike = {**found, "cells": {"layer_cam": [(8, 8), (8, 8)], "grad_cam": [(8, 8)]}}
    (card, _) = mapped.cards(alike, 0.5, None, grade=False)
    assert [t for t, _, _ in card["layers"]] == [
        "coarsest: 8 × 8 cells, 1 of 2", "finest: 8 × 8 cells, 2 of 2",
    ]  # fmt: skip


def test_the_outline_encloses_what_reaches_the_level():
    """Filled by even and odd it is the mask again, holes too."""
    yy, xx = np.mgrid[:80, :100]
    mask = np.hypot(yy - 40, xx - 45) < 30
    mask &= np.hypot(yy - 38, xx - 40) > 9
    mask[70:76, 88:96] = True
    path = mapped.outline(mask)
    parts = [np.array(re.findall(r"[-\d.]+", x), float).reshape(-1, 2) for x in
             path.split("Z") if x]  # fmt: skip
    assert len(parts) == 3
    canvas = np.zeros((480, 600), np.uint8)
    cv2.fillPoly(canvas, [np.rint(x).astype(np.int32) for x in parts], 1)
    again = cv2.resize(canvas, (100, 80), interpolation=cv2.INTER_AREA).astype(bool)
    fine = cv2.resize(mask.astype(np.uint8), (600, 480), interpolation=cv2.INTER_NEAREST)
    assert (canvas != fine).mean() < 0.01
    assert again.sum() == pytest.approx(mask.sum(), rel=0.08)
    assert mapped.outline(np.zeros((8, 8), bool)) == ""


def test_the_verdict_says_what_is_called_and_what_such_scores_meant():
    found = {"labels": ["G", "X"], "probability": np.array([0.83, 0.004]), "top": False,
             "threshold": np.array([0.31, np.nan]), "called": np.array([True, False])}  # fmt: skip
    truth = np.array([1.0] * 7 + [0.0] * 3)
    validation = {"G": (np.full(10, 0.82), truth), "X": (np.zeros(0), np.zeros(0))}
    assert mapped.verdict(found, 0, validation, False) == (
        "glaucoma: .83, called at .31; of validation photographs scored so 7 in 10 had it (7 of 10)"
    )
    assert mapped.verdict(found, 1, validation, False) == (
        "X: .004, never called: it has no threshold"
    )
    below = {**found, "called": np.array([False, False]), "top": True}
    assert mapped.verdict(below, 0, None, False) == (
        "glaucoma: .83, not called (threshold .31); nothing is called, this is the likeliest"
    )
    grades = {**found, "labels": ["grade_2", "grade_0"]}
    assert mapped.verdict(grades, 0, None, True) == "grade 2: .83, the likeliest grade"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.83, ".83"), (1, "1"), (0.004, ".004"), (0.999, ".999"), (0, "0"), (0.9996, "over .999")],
)
def test_shares_are_short(share, text):
    assert mapped.short(share) == text


def test_explain_writes_a_page_a_case_and_an_index(folder, tmp_path, capsys):
    images = [folder / "photographs" / f"00{k}_left.png" for k in range(3)]
    words = ["explain", folder / "eye", *images, "--out", tmp_path / "cams", "--labels", "A"]
    assert main([str(x) for x in words]) == 0
    assert str(tmp_path / "cams" / "index.html") in capsys.readouterr().out
    index = (tmp_path / "cams" / "index.html").read_text()
    rows = pd.read_csv(tmp_path / "cams" / "explanations.csv")
    for row in rows.to_dict("records"):
        page = (tmp_path / "cams" / f"{row['file']}_maps.html").read_text()
        assert f'href="{row["file"]}_maps.html"' in index
        assert (tmp_path / "cams" / f"{row['file']}_map.jpg").stat().st_size > 500
        assert ("called at" in page) == bool(row["called"])
        assert mapped.short(row["probability"]) in page
        assert str(folder) not in page + index  # whose folders these are is nobody's business
        assert "not for clinical use" in page
        assert "http" not in page
    assert main([str(x) for x in [*words, "--no-pages"]]) == 0


@pytest.mark.slow
def test_explain_eval_writes_its_measures_beside_their_controls(folder, tmp_path):
    assert evaluate(folder, tmp_path / "out") == 0
    page = (tmp_path / "out" / "faithfulness.html").read_text()
    table = pd.read_csv(tmp_path / "out" / "faithfulness.csv", keep_default_na=False)
    rows = re.findall(r"<tr.*?</tr>", page.partition("<tbody>")[2], re.DOTALL)
    assert len(rows) == len(table)
    for text, row in zip(rows, table.to_dict("records"), strict=True):
        assert mapped.TITLES[row["method"]] in text
        assert ('class="control"' in text) == (row["method"] in ("uniform", "centred_gaussian"))
        for title, name in COLUMNS.items():
            got = re.search(rf'data-name="{re.escape(title)}[^"]*"[^>]*>([^<✓]+)', text)[1].strip()
            want = row[name]
            assert got == ("–" if want == "" else f"{float(want):.3f}"), (title, row)
    assert page.count("<svg") == 2
    assert json.loads((tmp_path / "out" / "faithfulness.json").read_text())["photographs"] == 8


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_map_is_on_the_screen_and_its_slider_moves_it(folder, tmp_path, width):
    out, image = tmp_path / "cams", folder / "photographs" / "000_left.png"
    words = ["explain", folder / "eye", image, "--out", out, "--labels", "A"]
    assert main([str(x) for x in words]) == 0
    url = (out / "000_left_maps.html").as_uri()
    with browser.page(url, width, tmp_path / "profile") as call:
        browser.check_fit(call, width)
        box = "(x => [x.left, x.top, x.right, x.width])(document.querySelector('.map')" \
              ".getBoundingClientRect())"  # fmt: skip
        left, top, right, wide = browser.script(call, f"return {box}")
        assert 0 <= left < right <= width
        assert top < 400
        assert wide >= (420 if width > 1000 else width - 40)
        opacity = "getComputedStyle(document.querySelector('.map')).opacity"
        assert float(browser.script(call, f"return {opacity}")) == mapped.OPACITY
        move = "let x = document.querySelector('.opacity'); x.value = 20;"
        move += "x.dispatchEvent(new Event('input'));"
        assert float(browser.script(call, f"{move} return {opacity}")) == 0.2
    with browser.page((out / "index.html").as_uri(), width, tmp_path / "other") as call:
        browser.check_fit(call, width)
