"""`report --predictions`: the page names the table, and says how far the run knows its rows."""

import json
import shutil
import types

import numpy as np
import pandas as pd
import pytest
from report_runs import LABELS, write_run
from tiny import main

from fundus_diag.data.labels import label_text
from fundus_diag.export.card import model_card
from fundus_diag.report.parts import thin_in_val
from fundus_diag.report.report import report_run
from fundus_diag.report.shown import duration
from fundus_diag.runs import photographs
from fundus_diag.runs.scored import count_scoring

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that says what it was trained on: 40 photographs of train, 40 of val."""
    run = write_run(tmp_path_factory.mktemp("runs") / "run", n_patients=40)
    rows = []
    for split in ("train", "val"):
        for k in range(20):
            for eye in ("left", "right"):
                row = {"split": split, "image": f"{split}{k}_{eye}.jpg", "patient": f"{split}{k}"}
                rows.append(row | {"fingerprint": "0" * 16})
    photographs.write(run, rows)
    return run


def predictions(path, rows, split=True):
    """A table of predictions of (split, image, patient)."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rows, columns=["split", "image", "patient"])
    for label in LABELS:
        table[f"y_{label}"] = rng.integers(0, 2, len(rows))
        table[f"p_{label}"] = rng.random(len(rows))
    (table if split else table.drop(columns="split")).to_csv(path, index=False)
    return path


def page_of(run, table, out, capsys):
    path, metrics, _ = report_run(run, predictions=table, out=out, resamples=100)
    text = path.read_text()
    assert json.loads((out / "metrics_test.json").read_text()) == json.loads(json.dumps(metrics))
    return text.partition("<main>")[0], metrics, capsys.readouterr().err


def test_rows_that_the_run_was_trained_on_are_said_first(run, tmp_path, capsys):
    rows = [("train", f"train{k}_left.jpg", f"train{k}") for k in range(10)]
    rows += [("val", "other.jpg", f"val{k}") for k in range(4)]  # other photographs of its patients
    rows += [("test", f"test{k}_left.jpg", f"test{k}") for k in range(6)]
    table = predictions(tmp_path / "whole.csv", rows)
    head, metrics, err = page_of(run, table, tmp_path / "out", capsys)
    assert "on the <b>test</b> split" not in head
    assert "<code>whole.csv</code>" in head
    assert "split train (10), val (4), test (6)" in head
    said = head.index("10 of 20 rows name photographs or patients of the run")
    assert said < head.index('class="lead"')
    assert "4 of 20 rows" in head
    assert metrics["split"] is None
    assert metrics["splits"] == {"train": 10, "val": 4, "test": 6}
    assert metrics["seen"] == {"train": 10, "val": 4}
    assert "warning: " in err
    assert "10 of 20 rows" in err
    assert "4 of 20 rows" in err


def test_rows_that_are_new_to_the_run_are_not_called_seen(run, tmp_path, capsys):
    rows = [("test", f"new{k}.jpg", f"new{k}") for k in range(12)]
    for split in (True, False):
        table = predictions(tmp_path / f"new{split}.csv", rows, split)
        head, metrics, err = page_of(run, table, tmp_path / f"out{split}", capsys)
        assert metrics["split"] == ("test" if split else None)
        assert ("split test (12)" in head) == split
        assert "seen-notice" not in head
        assert err == ""
        assert "on the <b>test</b> split" not in head


def test_what_the_run_does_not_say_is_said_to_be_unknown(run, tmp_path, capsys):
    table = predictions(tmp_path / "new.csv", [("test", "a.jpg", "a"), ("test", "b.jpg", "b")])
    other = write_run(tmp_path / "old", n_patients=20)
    head, metrics, err = page_of(other, table, tmp_path / "out", capsys)
    assert metrics["seen"] is None
    assert "is not known" in head
    assert "is not known" in err


def test_the_runs_own_split_is_called_by_its_name(run, tmp_path):
    path, metrics, _ = report_run(run, out=tmp_path / "out", resamples=100)
    assert "on the <b>test</b> split" in path.read_text()
    assert metrics["split"] == "test"
    assert "table" not in metrics
    assert "drawn-notice" not in path.read_text()


def change(run, out, **facts):
    config = json.loads((run / "config.json").read_text())
    data = config["data"] | facts.pop("data", {})
    (run / "config.json").write_text(json.dumps(config | facts | {"data": data}))
    return report_run(run, out=out, resamples=100)[0].read_text()


def test_drawn_photographs_are_called_drawn_and_sessions_are_counted(tmp_path):
    run = write_run(tmp_path / "run", n_patients=20)
    text = change(run, tmp_path / "a", seconds=50.4, sessions=["2026-01-01", "2026-01-02"])
    assert "drawn-notice" not in text
    assert "Its epochs took 50 seconds" in text
    assert "2026-01-01T10:00:00 to 2026-01-01T10:34:00, in 2 sessions" in text
    assert "owner's terms apply" in text or "made_up" in text
    text = change(run, tmp_path / "b", data={"drawn": True})
    assert "drawn-notice" in text
    assert "of nobody, without terms" in text
    (run / "images").mkdir()
    (run / "images" / "drawing.json").write_text("{}")  # of a run made before it was recorded
    assert "drawn-notice" in change(run, tmp_path / "c", data={"drawn": False})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 seconds"), (89, "89 seconds"), (90, "1.5 minutes"), (2040, "34 minutes")],
)
def test_durations_are_said_in_words(seconds, words):
    assert duration(seconds) == words


def test_labels_of_which_val_says_too_little_are_named():
    counts = {"A": 1, "B": 9, "C": 10, "D": 0}
    points = {"labels": {x: {"positives": n} for x, n in counts.items()}, "split": "val"}
    points["labels"]["C"]["note"] = "the slope"
    found = thin_in_val(points, {"task": "multi_label"})
    assert [x for x, _ in found] == [label_text(x) for x in "ABCD"]
    assert [why.split(",")[0] for _, why in found] == [
        "1 positive in val", "9 positives in val", "the slope", "no positive in val: no threshold",
    ]  # fmt: skip
    points["labels"].pop("C")
    points["referable"] = {"cut": 2, "note": "few"}
    assert thin_in_val(points, {"task": "grade"}) == [("grade 2 and above", "few")]


def test_a_thin_val_stands_on_the_page_and_in_both_cards(tmp_path):
    run = write_run(tmp_path / "run", n_patients=20)
    points = json.loads((run / "thresholds.json").read_text())
    points["labels"]["G"] |= {"positives": 1, "note": "1 positive in val, fewer than 10"}
    (run / "thresholds.json").write_text(json.dumps(points))
    text = report_run(run, out=tmp_path / "out", resamples=100)[0].read_text()
    head, card = text.partition("<main>")[0], text.partition('<section id="card">')[2]
    assert 'id="thin-notice"' in head
    assert f"<b>{label_text('G')}</b> (1 positive in val, fewer than 10)" in head
    assert f"{label_text('G')}: 1 positive in val, fewer than 10" in card
    opened = types.SimpleNamespace(
        run_dir=run, config=json.loads((run / "config.json").read_text()), points=points,
        labels=LABELS,
    )  # fmt: skip
    assert "- Beware: label G: 1 positive in val, fewer than 10." in model_card(opened)
    assert "drawn" not in model_card(opened)
    opened.config["data"]["drawn"] = True
    assert "the photographs are drawn" in model_card(opened)


def test_a_second_look_at_test_is_counted_and_said(tmp_path, capsys):
    run = write_run(tmp_path / "run", n_patients=20)
    words = ["report", str(run), "--resamples", "100", "--no-explain"]
    for split, times in (("test", 1), ("val", 1), ("test", 2), ("test", 3)):
        assert main([*words, "--split", split]) == 0
        said = capsys.readouterr().err
        counted = json.loads((run / "scored.json").read_text())
        assert counted.keys() == {"test"}
        assert counted["test"]["times"] == times
        page = (run / ("report.html" if split == "test" else "report_val.html")).read_text()
        again = split == "test" and times > 1
        assert (f"its test split has been scored {times} times" in said) == again
        assert (f"Test has been scored {times} times" in page) == again
    # Another table is no look at the run's own test, and what fails before it is read is none.
    assert main([*words, "--predictions", str(run / "predictions_val.csv"), "--out",
                 str(tmp_path / "out")]) == 0  # fmt: skip
    (run / "history.csv").unlink()
    assert main(words) == 1
    assert json.loads((run / "scored.json").read_text()) == counted
    (run / "scored.json").write_text('{"test": {"times": -1, "first": ""}}')
    shutil.copy(write_run(tmp_path / "other", n_patients=5) / "history.csv", run)
    capsys.readouterr()
    assert main(words) == 1
    assert "scored.json: test.times: " in capsys.readouterr().err


def test_a_run_scored_by_an_earlier_version_was_looked_at_before(tmp_path):
    run = write_run(tmp_path / "run", n_patients=20)
    (run / "metrics_test.json").write_text("{}")
    assert count_scoring(run, "test") == {"times": 2, "first": "a day not noted"}
