"""What becomes of an epoch: kept, judged, taken up again, or the end of a run."""

import dataclasses
import json
from typing import get_args, get_type_hints

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny import make_photographs, train_only

from fundus_diag.training import checkpoint, classify, epochs, loop, validation
from fundus_diag.training.config import BEFORE, TrainConfig
from fundus_diag.utils.variables import values


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_photographs(tmp_path_factory.mktemp("photographs"), patients=20)


def test_an_epoch_ends_with_the_first_batch_that_leaves_no_finite_loss():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    y = np.zeros((10, 4, 1), "float32")
    y[3] = np.nan
    batches = tf.data.Dataset.from_tensor_slices((np.ones((10, 4, 2), "float32"), y))
    assert np.isnan(epochs.fit_epoch(model, batches, [0, 1], "epoch 1", 10))
    assert int(model.optimizer.iterations) == 4


@pytest.mark.parametrize(("what", "value"), [("loss", "inf"), ("val loss", "nan")])
def test_a_loss_that_is_no_number_ends_the_run_and_the_epoch_before_stays(
    manifest, tmp_path, capsys, monkeypatch, what, value
):
    done = []

    def fit_epoch(model, *_):
        done.append(1)
        if len(done) == 2 and what == "loss":
            return float("inf")
        if len(done) == 2:
            bias = model.get_layer("head_logits").bias
            bias.assign(np.full(bias.shape, np.inf))
        return 0.5

    monkeypatch.setattr(epochs, "fit_epoch", fit_epoch)
    run = tmp_path / "run"
    flags = {"phase2_epochs": 5, "phase2_rate": 0.7, "clip_norm": 0, "ema": 0, "precision": "auto"}
    flags["no_augment"] = True
    assert train_only(manifest, run, **flags) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"--phase2-rate 0.7: the {what} of epoch 2 is {value}: epoch 1 is kept in {run}" in line
    for advice in ("a lower --phase2-rate", "--clip-norm 1", "--precision float32", "--overwrite"):
        assert advice in line
    assert len(done) == 2
    assert len(pd.read_csv(run / "history.csv")) == 1
    arrays, facts = checkpoint.load_state(run / "checkpoint")
    assert len(facts["history"]) == facts["best_epoch"] == 1
    assert all(np.isfinite(a).all() for a in arrays["model"])


FIGURES = {
    "val_composite": [0.9, 0.5, 0.6],
    "val_macro_average_precision": [0.1, 0.8, 0.3],
    "val_macro_roc_auc": [0.2, 0.3, 0.9],
}


def test_the_score_asked_for_chooses_the_epoch(manifest, tmp_path, monkeypatch, capsys):
    seen = []

    def epoch_scores(*_):
        seen.append(1)
        figures = {name: column[len(seen) - 1] for name, column in FIGURES.items()}
        return {**figures, "val_macro_f1": 0.5}

    monkeypatch.setattr(epochs, "fit_epoch", lambda *_: 0.5)
    monkeypatch.setattr(validation, "epoch_scores", epoch_scores)
    monkeypatch.setattr(classify, "label_scores", lambda *_: "")
    monkeypatch.setattr(classify, "summary_line", lambda *_: "")
    run = tmp_path / "run"
    flags = {"select": "roc_auc", "most_repeats": 1.0, "no_augment": True}
    assert train_only(manifest, run, **flags) == 0
    assert json.loads((run / "config.json").read_text())["best_epoch"] == 3
    # Val has few positives here, which is said and written.
    points = json.loads((run / "thresholds.json").read_text())["labels"]
    err = capsys.readouterr().err
    for label in "AB":
        assert f"warning: label {label}: {points[label]['note']}" in err
        assert "fewer than 10" in points[label]["note"]
    # So is that the rarer label is not repeated as often as it would be.
    assert "warning: label B: " in err
    assert "each shown 1 times an epoch, not 1." in err


def test_a_phase_is_patient_with_the_score_that_was_asked_for():
    rows = [{"phase": 2, **{k: v[i] for k, v in FIGURES.items()}} for i in range(3)]
    judges = validation.JUDGES.values()
    assert [validation.stopped(rows, 2, 1, x) for x in judges] == [True, True, False]
    assert [validation.stopped(rows, 2, 2, x) for x in judges] == [True, False, False]
    choices, _ = get_args(get_type_hints(TrainConfig)["select"])
    assert set(get_args(choices)) == set(validation.JUDGES)


@pytest.mark.parametrize(
    ("task", "chosen"), [("multi_label", "average_precision"), ("grade", "composite")]
)
def test_what_chooses_the_epoch_where_nothing_is_said(tmp_path, task, chosen):
    words = {"manifest": tmp_path / "m.csv", "image_root": tmp_path, "run_dir": tmp_path / "run"}
    config = TrainConfig(**words, encoder="tiny", weights="none", task=task)
    assert config.resolved().select == chosen
    assert dataclasses.replace(config, select="roc_auc").resolved().select == "roc_auc"
    # A run that was started before there was a choice goes on as it was.
    assert config.going_on({}).resolved().select == "composite"


def test_what_goes_on_is_what_was_kept(manifest, tmp_path, monkeypatch):
    """Weights, the optimizer's moments, the weights of positives; flags of later than the run."""
    real, kept, taken = loop._run_epoch, {}, {}

    def state(fitting):
        return {
            "model": values(fitting.model.variables),
            "optimizer": values(fitting.model.optimizer.variables),
            "pos_weight": values(fitting.task.kept["pos_weight"]),
        }

    def two_epochs(fitting, learner, phase, pace):
        if len(fitting.state["history"]) == 2:
            raise KeyboardInterrupt
        kept.setdefault("base", values(fitting.task.kept["pos_weight"])[0])
        real(fitting, learner, phase, pace)
        kept.update(state(fitting))

    def look(fitting, learner, phase, pace):
        taken.update(state(fitting), phase=phase, config=fitting.config)
        raise KeyboardInterrupt

    run = tmp_path / "run"
    flags = {"phase2_epochs": 3, "reweight": 3.0, "ema": 2.0, "no_augment": True}
    monkeypatch.setattr(loop, "_run_epoch", two_epochs)
    assert train_only(manifest, run, **flags) == 130
    config = json.loads((run / "config.json").read_text())
    for name in BEFORE:
        del config["flags"][name]
    (run / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(loop, "_run_epoch", look)
    assert train_only(manifest, run, **flags, resume=True) == 130
    assert taken["phase"] == 2
    for group in ("model", "optimizer", "pos_weight"):
        assert len(kept[group]) == len(taken[group])
        for a, b in zip(kept[group], taken[group], strict=True):
            np.testing.assert_array_equal(a, b)
    assert np.any(kept["pos_weight"][0] != kept["base"])
    assert max(np.abs(a).max() for a in kept["optimizer"][2:]) > 0
    assert {name: getattr(taken["config"], name) for name in BEFORE} == BEFORE
