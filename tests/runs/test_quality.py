"""Limits of a run's training photographs, and the photographs that do not keep them."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exported import make_runs, table_of_two

from fundus_diag import load_run
from fundus_diag.cli import main
from fundus_diag.export.graph import signatures
from fundus_diag.imaging.gradability import fit_limits, measured
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.runs.quality import read_limits, why_of
from fundus_diag.utils.errors import DataError

LIMITS = {"field": [0.5, None], "exposure": [0.2, 0.9], "clipped": [None, 0.9],
          "contrast": [None, None], "sharpness": [None, None]}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs with limits that a dark photograph does not keep, and such a photograph."""
    folder = make_runs(tmp_path_factory.mktemp("quality"), ("eye", "patient"))
    for run in ("eye", "patient"):
        record = json.loads((folder / run / "quality.json").read_text())
        (folder / run / "quality.json").write_text(json.dumps(record | {"limits": LIMITS}))
    fine = sorted((folder / "photographs").glob("*.png"))[0]
    cv2.imwrite(str(folder / "7_left.png"), cv2.imread(str(fine)))
    cv2.imwrite(str(folder / "7_right.png"), (0.3 * cv2.imread(str(fine))).astype(np.uint8))
    return folder


def test_a_run_keeps_the_limits_of_its_photographs(tmp_path):
    folder = make_runs(tmp_path, ("eye",))
    table = pd.read_csv(folder / "photographs" / "manifest.csv")
    names = table[table["split"] == "val"]["image"]  # a run for tests is made on val alone
    pictures = np.stack([load_picture(folder / "photographs" / x, 40) for x in names])
    want = fit_limits(measured(pictures))
    for name, limits in read_limits(folder / "eye").items():
        for got, expected in zip(limits, want[name], strict=True):
            assert got == (expected if expected is None else pytest.approx(expected, rel=1e-5))
    record = json.loads((folder / "eye" / "quality.json").read_text())
    assert record["photographs"] == len(names)
    assert record["share"] == 0.01
    (folder / "eye" / "quality.json").unlink()
    assert read_limits(folder / "eye") is None
    assert load_run(folder / "eye").limits is None
    (folder / "eye" / "quality.json").write_text('{"photographs": 1, "share": 0.01, "limits": {}}')
    with pytest.raises(DataError, match="quality.json: limits"):
        load_run(folder / "eye")


def test_answers_say_what_is_poor_and_are_given_all_the_same(folder, tmp_path, capsys):
    files = [str(folder / f"7_{eye}.png") for eye in ("left", "right")]
    out = tmp_path / "answers.csv"
    assert main(["predict", str(folder / "eye"), *files, "--out", str(out)]) == 0
    rows = pd.read_csv(out, keep_default_na=False)
    assert rows.groupby("eye")["quality"].first().to_dict() == {"left": "fine", "right": "poor"}
    assert set(rows[rows["eye"] == "right"]["quality_reason"]) == {"too dark"}
    assert (rows["probability"] != "").all()
    assert (rows["gradable"] == "yes").all()
    full = pd.read_csv(tmp_path / "answers_full.csv", keep_default_na=False)
    assert full["quality_reason"].tolist() == ["", "too dark"]
    page = (tmp_path / "answers.html").read_text("utf-8")
    assert page.count("<b>Poor photograph:</b> too dark") == 1
    assert main(["predict", str(folder / "patient"), *files, "--out", str(out)]) == 0
    (reason,) = set(pd.read_csv(out, keep_default_na=False)["quality_reason"])
    assert reason == "right eye: too dark"


def test_tables_of_predictions_say_it_and_the_report_counts_it(folder, tmp_path):
    where = table_of_two(tmp_path / "t.csv", folder)
    out = tmp_path / "p.csv"
    assert main(["predict", str(folder / "eye"), *where, "--out", str(out)]) == 0
    found = pd.read_csv(out, keep_default_na=False)
    assert found["quality"].tolist() == ["fine", "poor"]
    assert found["quality_reason"].tolist() == ["", "too dark"]
    words = ["report", str(folder / "eye"), "--predictions", str(out), "--out", str(tmp_path / "r")]
    assert main(words) == 0
    metrics = json.loads((tmp_path / "r" / "metrics_test.json").read_text())
    assert metrics["quality"] == {
        "rows": 2, "poor": 1, "reasons": {"too dark": 1}, "labels": {"A": [1, 1], "B": [0, 0]}
    }  # fmt: skip
    assert "Poor photographs" in (tmp_path / "r" / "report.html").read_text("utf-8")
    assert main(["predict", str(folder / "patient"), *where, "--out", str(out)]) == 0
    assert pd.read_csv(out)["quality_reason"].tolist() == ["right eye: too dark"]


def test_a_check_of_a_table_names_the_poor_ones(folder, tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("image,patient,eye,A\n7_left.png,7,left,1\n7_right.png,7,right,0\n")
    words = ["manifest", "check", str(table), "--run", str(folder / "eye")]
    assert main(words) == 2
    assert "--run: looks at photographs" in capsys.readouterr().err
    page = tmp_path / "check.html"
    assert main([*words, "--image-root", str(folder), "--page", str(page)]) == 0
    said = "photographs that are poor: too dark (1): 7_right.png"
    assert said in capsys.readouterr().out
    assert said in page.read_text("utf-8")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text((folder / "eye" / "config.json").read_text())
    assert main([*words[:-1], str(tmp_path / "old"), "--image-root", str(folder)]) == 2
    assert "has no limits" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("plain_graphs")
def test_the_exported_graph_says_the_same(folder):
    left, right = ((folder / f"7_{eye}.png").read_bytes() for eye in ("left", "right"))
    eye = signatures(load_run(folder / "eye"))
    found = eye["serving_default"](tf.constant([left, right, b"text"]))
    assert found["quality_reason"].numpy().tolist() == [b"", b"too dark", b""]
    pictures = np.stack([load_picture(folder / f"7_{x}.png", 40) for x in ("left", "right")])
    found = eye["serve_pixels"](tf.constant(pictures))
    assert found["quality_reason"].numpy().tolist() == [b"", b"too dark"]
    pair = signatures(load_run(folder / "patient"), explain=False)["serve_pair"]
    found = pair(tf.constant([left, right, b""]), tf.constant([right, b"", b""]))
    assert found["quality_reason"].numpy().tolist() == [
        b"right eye: too dark", b"left eye: too dark", b""
    ]  # fmt: skip


def test_reasons_of_two_eyes_are_told_apart():
    assert why_of(["blurred"]) == "blurred"
    assert why_of(["", "too dark, blurred"]) == "right eye: too dark, blurred"
    assert why_of(["a", "b"]) == "left eye: a; right eye: b"
    assert why_of(["", ""]) == ""
