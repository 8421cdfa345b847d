"""What a training says before and while it runs, how long it takes, and what its log keeps."""

import io
import os
import re
import sys

import numpy as np
import pandas as pd
import pytest
from tiny import main, make_photographs, train_flags, train_only

from fundus_diag.runs import log
from fundus_diag.runs.contents import LOG
from fundus_diag.training import epochs
from fundus_diag.training.pace import Pace
from fundus_diag.utils import progress
from fundus_diag.utils.errors import DataError


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_photographs(tmp_path_factory.mktemp("photographs"), patients=20)


def screen(text):
    """{title: text} of a first screen; what is wrapped is one text."""
    lines = text.splitlines()
    begin = next(i for i, x in enumerate(lines) if x.startswith("run "))
    found, last = {"run": lines[begin].removeprefix("run ")}, "run"
    for line in lines[begin + 1 :]:
        if not line.startswith("  "):
            break
        last = line[:13].strip() or last
        found[last] = f"{found.get(last, '')} {line[13:]}".strip()
    return found


def everything(folder):
    return {str(x): x.stat().st_mtime_ns for x in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("unit", ["eye", "patient"])
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path, capsys, unit):
    manifest = make_photographs(tmp_path / "photographs", patients=20)
    before = everything(tmp_path)
    flags = {"unit": unit, "phase2_epochs": 3, "image_size": 40, "oversample_to": 0}
    words = train_flags(manifest, tmp_path / "run", **flags, dry_run=True)
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert everything(tmp_path) == before
    said = screen(err)
    assert said["run"] == str(tmp_path / "run")
    assert not any(len(x) > 80 for x in err.splitlines() if str(tmp_path) not in x)
    assert re.match(r"CPU, \d+ cores?; float32|\d+ x ", said["device"])
    assert said["network"].startswith("tiny, 40 px, ")
    table = pd.read_csv(manifest)
    train = table[table["split"] == "train"]
    rows = train if unit == "eye" else train.groupby("patient")[["A", "B"]].max()
    positives = int((rows["A"] == 1).sum())
    assert f": A {positives}, B " in said["train"]
    assert f"of {train['patient'].nunique()} patients" in said["train"]
    steps = len(rows) // 8
    assert said["steps"] == f"{steps} an epoch, batches of 8; {4 * steps} in all"
    assert said["phase 2"] == "3 epochs of everything, rate 0.001"
    assert said["kept"].startswith("the epoch of the best average precision on val; a phase ends")
    assert said["recipe"].startswith("scratch: schedule cosine, warmup 0.05")


def test_a_dry_run_refuses_what_the_training_would(manifest, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine.txt").write_text("x")
    assert main(train_flags(manifest, run, dry_run=True)) == 2
    assert "not empty; name a new folder" in capsys.readouterr().err
    words = train_flags(manifest, tmp_path / "new", dry_run=True, phase2_rate=3)
    assert main(words) == 2
    words = train_flags(manifest, tmp_path / "new", dry_run=True, encoder="nothing")
    assert main(words) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_training_marks_its_best_epochs_and_its_log_holds_what_was_said(
    manifest, tmp_path, capsys, monkeypatch
):
    judged = iter([0.2, 0.5, 0.4, 0.6])

    def epoch_scores(*_):
        return {"val_macro_average_precision": next(judged), "val_macro_f1": 0.5}

    monkeypatch.setattr("fundus_diag.training.validation.epoch_scores", epoch_scores)
    monkeypatch.setattr(epochs, "fit_epoch", lambda *_: 0.5)
    for name in ("label_scores", "summary_line"):
        monkeypatch.setattr(f"fundus_diag.training.classify.{name}", lambda *_: "")
    run = tmp_path / "run"
    assert train_only(manifest, run, phase2_epochs=3) == 0
    err = capsys.readouterr().err.splitlines()
    lines = [x for x in err if re.match("[* ] epoch ", x)]
    assert [x[0] for x in lines] == ["*", "*", " ", "*"]
    assert "average precision 0.500, the best so far" in lines[1]
    assert "average precision 0.400 (best 0.500, epoch 2)" in lines[2]
    assert "epoch 4 is kept: average precision 0.600 on val, the best" in err
    first, *kept = (run / LOG).read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} fundus-diag \S+ train", first)
    assert all(re.match(r"\d\d:\d\d:\d\d", x) for x in kept)
    assert [x[9:] for x in kept] == [x.rstrip() for x in err]
    assert screen("\n".join(err))["run"] == str(run)
    # A finished run is left alone, its log too.
    content = (run / LOG).read_text()
    assert train_only(manifest, run, phase2_epochs=3, resume=True) == 0
    assert (run / LOG).read_text() == content


@pytest.mark.usefixtures("undrawn")
def test_ctrl_c_says_in_one_line_how_to_go_on_and_the_log_goes_on_too(
    manifest, tmp_path, capsys, monkeypatch
):
    run, calls = tmp_path / "a run", []

    def stopped(*_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(epochs, "fit_epoch", stopped)
    assert train_only(manifest, run) == 130
    said = capsys.readouterr().err.splitlines()
    again = f"train --run-dir '{run}' --resume"
    assert said[-1] == f"fundus-diag: interrupted; go on with: fundus-diag {again}"
    assert not any("interrupted" in x for x in said[:-1])
    before = (run / LOG).read_text()
    assert before.splitlines()[-1].endswith(f"ended: interrupted; go on with: fundus-diag {again}")
    with (run / LOG).open("a") as file:
        file.write("12:00:00 half a li")  # as a kill may leave it
    assert main(["train", "--run-dir", str(run), "--resume", "--dry-run"]) == 0
    err = capsys.readouterr().err
    assert screen(err)["done"] == "1 epoch, which are not learned again"
    assert train_only(manifest, run, resume=True) == 0
    after = (run / LOG).read_text()
    assert after.startswith(f"{before}12:00:00 half a li\n")
    assert sum(" fundus-diag " in x and x.endswith(" train") for x in after.splitlines()) == 2
    assert "going on after epoch 1" in after


def test_what_ends_a_training_before_its_folder_is_written_leaves_no_log(
    manifest, tmp_path, capsys, monkeypatch
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fundus_diag.training.train.load_training_inputs", stop)
    assert train_only(manifest, tmp_path / "run") == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "fundus-diag: interrupted; nothing was begun in the folder"
    )
    assert not (tmp_path / "run").exists()


def test_the_log_keeps_lines_and_no_bar(tmp_path, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = "\x1b[38;5;197m━━╸\x1b[0m 3/7 epoch 1"

    def speak():
        with log.logged("train") as into:
            print("before the folder", file=sys.stderr)
            into(tmp_path)
            for text in ("\x1b[?25l", bar, f"\r\x1b[2K{bar}", "\r\x1b[2Kin between\n", bar, "\n",
                         "\x1b[1A\x1b[2K", "\x1b[32mgreen\x1b[0m\n"):  # fmt: skip
                sys.stderr.write(text)
            # Written as it is said: nothing is lost by a kill.
            assert (tmp_path / LOG).read_text().count("\n") == 4
            print("and ", end="", file=sys.stderr)
            print("on", file=sys.stderr)
            raise DataError("x.csv: broken")

    with pytest.raises(DataError, match=r"x\.csv"):
        speak()
    _, *lines = (tmp_path / LOG).read_text().splitlines()
    assert [x[9:] for x in lines] == [
        "before the folder", "in between", "green", "and on", "ended: x.csv: broken",
    ]  # fmt: skip
    assert "\x1b[?25l" in terminal.getvalue()  # the terminal gets all
    assert sys.stderr is terminal


def test_a_log_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / LOG).mkdir()
    with pytest.raises(DataError, match=r"log\.txt: cannot be written"), log.logged("x") as into:
        into(tmp_path)


def test_time_is_told_by_steps_then_by_epochs():
    pace = Pace({1: 2, 2: 10}, steps=100, batch_size=4)
    assert pace.time_left() is None
    pace.looked(2, 0.01)  # of a picture: a step of 4 takes .12 s to .32, 1,000 of them 2 to 5 min
    line = pace.stepped(1, 0.04)
    assert (
        line == "0.04 s a step: about 2 min to 5 min in all (phase 1 8 s, phase 2 2 min to 5 min)"
    )
    assert pace.stepped(1, 0.04) is None  # once
    pace.epoch(1, 60.0)
    assert pace.time_left() == "3 min to 6 min"
    pace.ended(1)
    assert pace.time_left() == "2 min to 5 min"
    assert pace.stepped(2, 0.6) == "0.6 s a step: about 10 min in all"  # slower than guessed
    pace.looked(2, 9.0)  # known better by now
    assert pace.time_left() == "10 min"
    pace.epoch(2, 400.0)
    assert pace.time_left() == "60 min"
    pace.ended(2)
    assert pace.time_left() == ""


def test_a_moment_is_told_as_such():
    assert Pace({1: 1}, 3, 8).stepped(1, 0.01) == "0.01 s a step: less than a second in all"


def test_without_a_look_only_the_phase_itself_is_told():
    pace = Pace({1: 30, 2: 12}, steps=10, batch_size=4)
    assert pace.stepped(1, 0.5) == "0.5 s a step: about 2 min for phase 1"


def test_the_first_step_which_traces_does_not_count(monkeypatch):
    from fundus_diag.training import callbacks

    seconds = iter(np.cumsum([30, 1, 1, 1, 1, 1, 1, 1, 1, 1]).tolist())
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(seconds))
    told = []
    bar = callbacks.EpochBar("epoch 1", 10, told=told.append)
    bar.progress.stop()
    for batch in range(10):
        bar.on_train_batch_end(batch, {"loss": 0.5})
    assert told == [1.0]


@pytest.mark.parametrize("count", [12, 41])
def test_a_line_has_the_scores_of_few_labels_and_of_many_the_lowest(count):
    from fundus_diag.training.callbacks import summary_line

    labels = [f"finding {k}" for k in range(count)]
    row = {f"val_roc_auc_{x}": 0.9 - k / 100 for k, x in enumerate(labels)}
    row |= {"loss": 1, "val_loss": 1, "val_macro_f1": 0.5, "val_macro_roc_auc": 0.7}
    row["val_roc_auc_finding 11"] = float("nan")
    line = summary_line(row, labels)
    if count == 12:
        assert line.endswith(": " + " ".join(f"{x} {row[f'val_roc_auc_{x}']:.2f}" for x in labels))
    else:
        assert line.endswith(
            ": lowest of 41 labels finding 40 0.50, finding 39 0.51, finding 38 0.52"
        )


def test_a_bar_keeps_count_and_time_at_80_columns(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress.bar() as bar:
        task = bar.add_task("epoch 13 of 25, phase 2: loss 0.53 " + "N 0.72 " * 20, total=1234)
        bar.update(task, advance=310)
        bar.refresh()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", shown.getvalue())
    lines = [x.strip() for x in re.split(r"[\r\n]", plain.replace("\n", " \n"))]
    text = " ".join(" ".join(lines).split())
    assert "310/1234" in text
    assert re.search(r"310/1234 0:\d\d:\d\d (0:\d\d:\d\d|-:--:--) epoch 13 of 25", text)


def test_ctrl_c_gives_the_terminal_its_cursor_back(monkeypatch):
    stopped = []

    class Bar:
        def __init__(self, *_):
            self.progress = self

        def stop(self):
            stopped.append(True)

    class Model:
        layers = ()

        def fit(self, *_, **__):
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "EpochBar", Bar)
    monkeypatch.setattr(epochs, "reseed", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        epochs.fit_epoch(Model(), [], [0], "epoch 1", 3)
    assert stopped == [True]


def test_what_a_folder_holds_knows_the_log(tmp_path):
    from fundus_diag.runs import contents

    (tmp_path / LOG).write_text("x\n")
    (tmp_path / "mine.txt").write_text("x")
    assert contents.clear(tmp_path) == ["mine.txt"]
    assert os.listdir(tmp_path) == ["mine.txt"]
