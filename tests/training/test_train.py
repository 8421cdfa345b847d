"""Whole runs, on a network and photographs that take seconds."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tiny
from tiny import main, make_photographs, train_flags, train_only

from fundus_diag import load_run, models
from fundus_diag.data.manifest import read_manifest
from fundus_diag.models.weights import h5
from fundus_diag.runs.contents import foreign
from fundus_diag.training import checkpoint
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.sampling import sampling_plan
from fundus_diag.training.seen import learned_by
from fundus_diag.training.train import load_training_inputs
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.mixed_precision import precision


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_photographs(tmp_path_factory.mktemp("photographs"), patients=60)


@pytest.fixture(scope="module")
def run_dir(manifest, tmp_path_factory):
    """A run over single eyes, trained long enough to have learned what there is to see."""
    run = tmp_path_factory.mktemp("runs") / "eyes"
    flags = {"phase2_epochs": 25, "phase2_rate": 0.01, "patience": 0, "no_augment": True}
    assert train_only(manifest, run, **flags) == 0
    return run


def read(run_dir, name):
    return json.loads((run_dir / name).read_text())


def test_a_run_learns_what_there_is_to_see(run_dir):
    history = pd.read_csv(run_dir / "history.csv")
    assert history["val_macro_roc_auc"].max() > 0.9
    assert history["phase"].tolist() == [1] + [2] * (len(history) - 1)
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))


def test_config_says_what_was_trained_on_what(run_dir, manifest):
    config = read(run_dir, "config.json")
    table = pd.read_csv(manifest)
    train = table[table["split"] == "train"]
    assert config["labels"] == ["A", "B"]
    assert config["pretrained"] is False
    assert config["finished"]
    assert config["data"]["sha256"] == read_manifest(manifest).sha256
    assert config["data"]["own_patients"] == 0  # both eyes of a patient stand in the table
    part = config["data"]["splits"]["train"]
    assert part["rows"] == len(train)
    assert part["patients"] == train["patient"].nunique()
    assert part["positives"] == {x: int((train[x] == 1).sum()) for x in "AB"}
    assert part["ungraded"] == {x: int(train[x].isna().sum()) for x in "AB"}
    assert config["data"]["splits"]["test"]["rows"] == (table["split"] == "test").sum()


def test_the_best_epoch_is_the_one_kept(run_dir, manifest):
    history = pd.read_csv(run_dir / "history.csv")
    best = int(history.loc[history["val_macro_average_precision"].idxmax(), "epoch"])
    assert read(run_dir, "config.json")["best_epoch"] == best
    arrays, _ = checkpoint.load_arrays(run_dir / "checkpoint" / f"best-{best:05d}.npz")
    kept = [a for a in arrays["model"] if a.dtype == np.float32]
    loaded = [v.numpy() for v in load_run(run_dir).model.variables if "seed" not in v.path]
    for a, b in zip(kept, loaded, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_predict_agrees_with_the_run_and_with_its_own_model(run_dir, manifest, tmp_path):
    out = tmp_path / "all.csv"
    words = ["predict", run_dir, "--manifest", manifest, "--image-root", manifest.parent]
    assert main([str(w) for w in [*words, "--out", out]]) == 0
    table = pd.read_csv(out)
    assert table["image"].tolist() == pd.read_csv(manifest)["image"].tolist()
    val = pd.read_csv(run_dir / "predictions_val.csv")
    same = table.set_index("image").loc[val["image"], ["p_A", "p_B"]]
    np.testing.assert_allclose(same, val[["p_A", "p_B"]], atol=1e-6)
    run = load_run(run_dir)
    files = [manifest.parent / name for name in table["image"]]
    np.testing.assert_allclose(run.predict(files), table[["p_A", "p_B"]], atol=1e-5)
    truth = pd.read_csv(manifest)
    pd.testing.assert_series_equal(table["y_B"], truth["B"], check_names=False)


def test_calibration_and_thresholds_come_from_val_alone(run_dir):
    """The mean calibrated probability of val is its share of positives: Platt's fit, by hand."""
    val = pd.read_csv(run_dir / "predictions_val.csv")
    for label in ("A", "B"):
        graded = val[val[f"y_{label}"].notna()]
        assert graded[f"p_{label}"].mean() == pytest.approx(graded[f"y_{label}"].mean(), abs=1e-3)
    points = read(run_dir, "thresholds.json")
    assert points["split"] == "val"
    assert not (run_dir / "predictions_test.csv").exists()


def test_a_report_scores_test_once_and_says_so_last(run_dir, capsys):
    assert main(["report", str(run_dir), "--resamples", "100"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    metrics = read(run_dir, "metrics_test.json")
    assert last.startswith(f"{run_dir / 'report.html'}: macro ROC AUC ")
    assert f"{metrics['macro']['roc_auc']:.3f}" in last
    table = pd.read_csv(run_dir / "predictions_test.csv")
    assert set(table["split"]) == {"test"}
    assert foreign(run_dir) == []  # what is written and not known would outlive an --overwrite


@pytest.mark.slow
def test_a_run_over_pairs_trains_and_predicts_with_an_eye_missing(manifest, tmp_path):
    run_dir = tmp_path / "pairs"
    assert train_only(manifest, run_dir, unit="patient", mixup=0.2) == 0
    run = load_run(run_dir)
    val = pd.read_csv(run_dir / "predictions_val.csv", keep_default_na=False)
    assert (val["image_right"] == "").any()
    files = [
        [manifest.parent / row[f"image_{eye}"] if row[f"image_{eye}"] else None
         for eye in ("left", "right")]
        for _, row in val.iterrows()
    ]  # fmt: skip
    want = val[["p_A", "p_B"]].astype(float)
    np.testing.assert_allclose(run.predict(files), want, atol=1e-5)
    with pytest.raises(DataError, match="without any eye"):
        run.predict([[None, None]])


@pytest.mark.slow
def test_a_run_over_grades_trains_and_gives_probabilities_that_sum_to_one(tmp_path):
    manifest = make_photographs(tmp_path / "graded", grades=True)
    run_dir = tmp_path / "run"
    flags = {"task": "grade", "label_smoothing": 0.1}
    assert train_only(manifest, run_dir, **flags) == 0
    val = pd.read_csv(run_dir / "predictions_val.csv")
    np.testing.assert_allclose(val[[f"p_grade_{k}" for k in range(3)]].sum(axis=1), 1, atol=1e-6)
    assert "val_kappa" in pd.read_csv(run_dir / "history.csv")
    assert main(["report", str(run_dir), "--resamples", "100", "--no-explain"]) == 0


@pytest.mark.slow
def test_weights_of_one_run_start_another(run_dir, manifest, tmp_path):
    trained = load_run(run_dir).model
    other = tmp_path / "run"
    flags = {"weights": run_dir / "model.weights.h5", "phase1_epochs": 1, "phase2_epochs": 0}
    assert train_only(manifest, other, **flags) == 0
    config = read(other, "config.json")
    assert config["pretrained"] is True
    table = pd.read_csv(manifest)["split"].value_counts()
    # It learned from train alone, and so did what it started from.
    assert config["weights_record"]["held_out"] == {x: [0, table[x]] for x in ("val", "test")}
    seen = h5.read_seen(other / "model.weights.h5")
    assert len(seen) == table["train"]
    np.testing.assert_array_equal(seen, h5.read_seen(run_dir / "model.weights.h5"))
    # Phase 2 did not run, so the encoder is still the one that was given.
    again = load_run(other).model
    for a, b in zip(
        trained.get_layer("conv2").get_weights(),
        again.get_layer("conv2").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_weights_remember_what_those_that_they_started_from_had_seen(tmp_path):
    encoder = models.build_encoder("tiny", 32)
    known, unknown = tmp_path / "known.weights.h5", tmp_path / "unknown.weights.h5"
    h5.save(encoder, known, {"source": "somewhere"}, np.array([7, 9], np.uint64))
    h5.save(encoder, unknown, {"source": "somewhere"})
    rows = [{"split": "train", "fingerprint": "b"}, {"split": "val", "fingerprint": "c"}]

    def seen(weights):
        config = TrainConfig(Path("m.csv"), tmp_path, tmp_path / "run", weights=str(weights))
        return learned_by(config, SimpleNamespace(sha256="ab"), rows)

    record, numbers = seen("imagenet")
    assert record["pretrained_on"] == {"manifest": "m.csv", "sha256": "ab", "splits": ["train"]}
    assert numbers.tolist() == [11]
    assert seen(known)[1].tolist() == [7, 9, 11]
    # A record without them would say of the same table that nothing but train was seen.
    assert seen(unknown) == (None, None)


@pytest.mark.parametrize("name", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_reduced_precision_trains_and_is_read_back_in_float32(manifest, tmp_path, name):
    run_dir = tmp_path / "run"
    status = train_only(manifest, run_dir, precision=name)
    if status == 2:
        pytest.skip("this processor has no bfloat16")
    assert status == 0
    assert np.isfinite(pd.read_csv(run_dir / "history.csv")["loss"]).all()
    assert {x.compute_dtype for x in load_run(run_dir).model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_precision_is_put_back_after_an_error():
    with pytest.raises(RuntimeError), precision("float16"):
        raise RuntimeError
    assert keras.config.dtype_policy().name == "float32"


def test_the_sampling_plan_sees_the_training_rows_only(manifest, tmp_path):
    from fundus_diag.training.config import TrainConfig

    config = TrainConfig(
        manifest, manifest.parent, tmp_path / "run", weights="none", image_size=32
    ).resolved()
    inputs, _ = load_training_inputs(config, read_manifest(manifest))
    table = pd.read_csv(manifest)
    train = table[table["split"] == "train"]
    assert inputs.splits["train"].table["image"].tolist() == train["image"].tolist()
    _, _, weights = sampling_plan(config, inputs.splits["train"].y)
    counts = np.array([(train[x] == 1).sum() for x in "AB"])
    factors = np.where((train["B"] == 1) & (counts[1] < np.median(counts)),
                       np.median(counts) / counts[1], 1)  # fmt: skip
    factors = np.where((train["A"] == 1) & (counts[0] < np.median(counts)),
                       np.maximum(factors, np.median(counts) / counts[0]), factors)  # fmt: skip
    after = np.array([(factors * (train[x] == 1)).sum() for x in "AB"])
    np.testing.assert_allclose(weights, np.median(after) / after)


@pytest.mark.slow
def test_val_on_resampled_rows_is_made_on_purpose_and_said(manifest, tmp_path, capsys):
    flags = {"phase2_epochs": 0, "resampled_val_on_purpose": True}
    assert main(train_flags(manifest, tmp_path / "run", **flags)) == 0
    assert "warning: val is scored with its rare rows repeated" in capsys.readouterr().err
    table, rows = pd.read_csv(manifest), pd.read_csv(tmp_path / "run" / "predictions_val.csv")
    val = table[table["split"] == "val"]
    assert set(rows["image"]) == set(val["image"])
    counts = rows["image"].value_counts()
    rare = val.loc[val["B"] == 1, "image"]
    assert len(rare) < (val["A"] == 1).sum()
    assert counts[rare].sum() > len(rare)
    assert (counts[val.loc[(val["A"] == 0) & (val["B"] != 1), "image"]] == 1).all()
    assert 'id="mistake-notice"' in (tmp_path / "run" / "report_val.html").read_text()


@pytest.mark.slow
def test_eight_photographs_can_be_learned_by_heart(tmp_path):
    """A training loop that loses labels on the way cannot do this."""
    manifest = make_photographs(tmp_path / "few", patients=10)
    table = pd.read_csv(manifest)
    table["A"] = np.arange(len(table)) % 2  # nothing to see: to be remembered
    table["B"] = (np.arange(len(table)) // 2) % 2
    table.to_csv(manifest, index=False)
    run_dir = tmp_path / "run"
    flags = {"phase2_epochs": 60, "phase2_rate": 0.01, "dropout": 0.0, "patience": 0}
    flags |= {"no_augment": True, "ema": 0.0, "weight_decay": 0.0}
    assert train_only(manifest, run_dir, **flags) == 0
    assert pd.read_csv(run_dir / "history.csv")["loss"].iloc[-1] < 0.05


def test_tensorboard_holds_the_history(run_dir):
    events = sorted((run_dir / "tensorboard").glob("events*"))
    names = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events[0]))
        for value in event.summary.value
    }
    assert {"loss", "learning_rate", "val/macro_roc_auc", "val/f1_A"} <= names


TWO_DEVICES = f"""
import sys
sys.path.insert(0, {str(Path(tiny.__file__).parent)!r})
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from fundus_diag.training import devices
devices.device_strategy = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from tiny import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_devices_train_as_one_does(manifest, tmp_path):
    """Phase 1 without dropout and augmentation has no chance in it: the losses must agree."""
    flags = {"phase1_epochs": 3, "dropout": 0.0, "no_augment": True, "reweight": 2.0}
    one, two = tmp_path / "one", tmp_path / "two"
    assert train_only(manifest, one, **flags) == 0
    words = train_flags(manifest, two, **flags)
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    single, mirrored = (pd.read_csv(run / "history.csv") for run in (one, two))
    for figure in ("loss", "val_loss", "val_macro_roc_auc"):
        np.testing.assert_allclose(mirrored[figure][:3], single[figure][:3], rtol=1e-3)
    assert np.isfinite(mirrored["loss"]).all()


@pytest.mark.slow
def test_of_grades_the_criterion_chooses_who_is_referred(tmp_path, capsys):
    manifest = make_photographs(tmp_path / "photographs", grades=True)
    flags = {"task": "grade", "criterion": "sensitivity=0.9", "referable_cut": 1}
    assert train_only(manifest, tmp_path / "run", **flags) == 0
    point = json.loads((tmp_path / "run" / "thresholds.json").read_text())["referable"]
    assert (point["cut"], point["criterion"]) == (1, "sensitivity=0.9")
    val = pd.read_csv(tmp_path / "run" / "predictions_val.csv")
    ill = val["y_grade_0"] == 0
    called = val["p_grade_1"] + val["p_grade_2"] >= point["threshold"]
    assert called[ill].mean() >= 0.9
    assert point["positives"] == ill.sum()
    assert train_only(manifest, tmp_path / "other", task="grade", referable_cut=3) == 2
    assert "--referable-cut 3: a grade from 1 to 2" in capsys.readouterr().err
