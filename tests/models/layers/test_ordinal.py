"""Logits of grades in their order."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from tiny import make_photographs, train_only

from fundus_diag.models.layers.ordinal import OrdinalLogits
from fundus_diag.runs.run import load_run
from fundus_diag.training.config import TrainConfig
from fundus_diag.utils.errors import UsageError

HERE = pathlib.Path()


def config(**flags):
    flags = {"weights": "none", "image_size": 32, "schedule": "steps", **flags}
    return TrainConfig(manifest=HERE, image_root=HERE, run_dir=HERE, **flags).resolved()


def test_ordinal_logits_are_the_log_probabilities_of_a_cut_score():
    layer = OrdinalLogits(5)
    layer.build((None, 4))
    rng = np.random.default_rng(0)
    gaps = rng.normal(size=3).astype("float32")
    layer.set_weights([rng.normal(size=(4, 1)).astype("float32"), np.array([-0.7]), gaps])
    x = rng.normal(size=(6, 4)).astype("float32")
    score = x @ layer.kernel.numpy()
    cuts = -0.7 + np.concatenate([[0], np.cumsum(np.log1p(np.exp(gaps)))])
    or_more = np.concatenate([np.ones((6, 1)), special.expit(score - cuts), np.zeros((6, 1))], 1)
    got = layer(x).numpy()
    np.testing.assert_allclose(np.exp(got), or_more[:, :-1] - or_more[:, 1:], atol=1e-6)
    np.testing.assert_allclose(special.softmax(got, axis=1), np.exp(got), atol=1e-5)


def test_ordinal_logits_are_finite_far_from_the_cuts_and_start_evenly():
    layer = OrdinalLogits(4)
    layer.build((None, 1))
    layer.kernel.assign([[1.0]])
    np.testing.assert_allclose(layer.first + np.arange(3), [-1, 0, 1], atol=1e-6)
    for score, grade in ((-500.0, 0), (500.0, 3)):
        with tf.GradientTape() as tape:
            got = layer(tf.constant([[score]]))
        assert np.isfinite(got).all()
        assert got.numpy().argmax() == grade
        assert all(np.isfinite(g).all() for g in tape.gradient(got, [
            w.value for w in layer.weights
        ]))  # fmt: skip


def test_two_grades_have_one_cut():
    layer = OrdinalLogits(2)
    layer.build((None, 1))
    got = layer(tf.constant([[0.3]])).numpy()
    assert np.exp(got).sum() == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_an_ordinal_run_trains_is_scored_by_kappa_and_loads_again(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", grades=True)
    flags = {"task": "grade", "grade_head": "ordinal", "label_smoothing": 0.1}
    flags["phase2_epochs"] = 1
    assert train_only(manifest, tmp_path / "run", **flags) == 0
    run = load_run(tmp_path / "run")
    assert isinstance(run.model.get_layer("head_logits"), OrdinalLogits)
    files = sorted((tmp_path / "photographs").glob("*_left.png"))[:5]
    np.testing.assert_allclose(run.predict(files).sum(axis=1), 1, atol=1e-6)
    head, *lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    for line in lines:
        row = dict(zip(head.split(","), line.split(","), strict=True))
        judged = (float(row["val_accuracy"]) + float(row["val_kappa"])) / 2
        assert float(row["val_composite"]) == pytest.approx(judged)


def test_an_ordinal_head_is_for_grades_alone():
    with pytest.raises(UsageError, match="--grade-head: only for --task grade"):
        config(grade_head="ordinal")
