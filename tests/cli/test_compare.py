"""`fundus-diag compare` from a plan to its page, with real trainings."""

import contextlib
import io

import pandas as pd
import pytest
from tiny import main, make_photographs

from fundus_diag.training import trainings

PLAN = """
title = "Tiny ones"
baseline = "plain"
split = "test"
[flags]
encoder = "tiny"
weights = "none"
image_size = 32
batch_size = 8
phase1_epochs = 1
phase2_epochs = 1
[variants.plain]
[variants."eyes split"]
split_eyes_on_purpose = true
[variants.broken]
weights = "broken.h5"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def in_this_process(one, words, log, show, enough=None):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            status = main(words)
        log.write(said.getvalue().encode())
        log.flush()
        return status

    monkeypatch.setattr(trainings, "waited", in_this_process)
    make_photographs(tmp_path / "photographs", patients=30)
    (tmp_path / "broken.h5").write_bytes(b"no weights")
    return tmp_path


def compare(folder, *words, text=PLAN):
    (folder / "plan.toml").write_text(text)
    photographs = folder / "photographs"
    return main(
        [
            *("compare", str(folder / "plan.toml"), "--out", str(folder / "out")),
            *("--manifest", str(photographs / "manifest.csv"), "--image-root", str(photographs)),
            *map(str, words),
        ]
    )


@pytest.mark.slow
def test_a_plan_is_trained_and_its_page_written(folder, capsys):
    assert compare(folder, "--dry-run") == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert printed[0].startswith("plain, seed 0: 0 of 2 epochs are there: ")
    assert not (folder / "out" / "runs").exists()
    assert compare(folder) == 1  # one of three fails
    captured = capsys.readouterr()
    assert "plain, seed 0: done" in captured.err
    printed = captured.out.splitlines()[-4:]
    assert [x.partition(":")[0] for x in printed[:2]] == ["plain", "eyes split"]
    assert printed[0].endswith(", 1 run")
    assert printed[2].startswith("broken, seed 0: failed: ")
    assert "no such weights" not in printed[2]
    assert printed[-1] == str(folder / "out" / "comparison.html")
    figures = pd.read_csv(folder / "out" / "comparison.csv")
    assert list(dict.fromkeys(figures["variant"])) == ["plain", "eyes split"]
    assert (figures["ms a picture"] > 0).all()
    assert len(pd.read_csv(folder / "out" / "differences.csv")) == 0  # rows of their own
    page = (folder / "out" / "comparison.html").read_text()
    assert "Tiny ones" in page
    assert "<b>eyes split</b>: made on purpose: split by eyes" in page
    assert compare(folder, "--split", "val") == 1
    assert "for choosing, not for quoting" in (folder / "out" / "comparison.html").read_text()


def test_what_is_wrong_with_a_plan_is_said_before_anything_is_made(folder, capsys):
    def refused(*words, text=PLAN, status=1):
        assert compare(folder, *words, text=text) == status
        (line,) = capsys.readouterr().err.splitlines()
        assert not (folder / "out").exists()
        return line

    assert "variant plain: rate is no flag" in refused(
        text=PLAN.replace("plain]", "plain]\nrate=1")
    )
    assert "--split 'a b': not the name" in refused("--split", "a b", status=2)
    assert "--resamples 9: an interval" in refused("--resamples", 9, status=2)
    assert main(["compare", "nothing", "--out", str(folder / "out")]) == 1
    assert "nothing: no such file; plans that come along" in capsys.readouterr().err
    (folder / "photographs" / "manifest.csv").unlink()
    assert "manifest.csv: cannot be read: No such file" in refused()
