"""Training in two phases, epoch by epoch, from a manifest to a finished run directory.

The loop is written out: draw the epoch's rows, fit them, score `val`, write the state, decide.
Every random number is drawn anew at the start of an epoch from (seed, epoch), so the state of a
finished epoch is all that an interrupted run needs to go on.
"""

import sys
import time
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from fundus_diag import calibration, checkpoint, phases, run_dirs, sampling, validation
from fundus_diag.config import TrainConfig
from fundus_diag.data import scoring_batches, training_batches
from fundus_diag.errors import DataError, UsageError
from fundus_diag.files import atomic, write_csv, write_json
from fundus_diag.inputs import Inputs, describe_bad, load_inputs
from fundus_diag.losses import WeightedBinaryCrossentropy, grade_loss
from fundus_diag.manifest import check_trainable, read_manifest
from fundus_diag.models import ENCODERS, build_classifier
from fundus_diag.precision import precision
from fundus_diag.progress import EpochBar
from fundus_diag.runs import WEIGHTS, load_run, predict_logits, prediction_table
from fundus_diag.weights import load_encoder


def train(config):
    """Trains a run and returns its directory; see `config.TrainConfig` for every choice.

    Writes config.json, history.csv, checkpoint/, tensorboard/ along the way, and at the end
    model.weights.h5, thresholds.json (fitted on `val`) and predictions_val.csv. `test` is not
    touched: `report` scores it, once.

    Raises:
        DataError: the manifest or photographs are not fit for training.
        UsageError: flags are wrong, or the run directory is in use.
    """
    config = config.resolved()
    manifest = read_manifest(config.manifest, need_split=True)
    for warning in check_trainable(manifest):
        print(f"warning: {warning}", file=sys.stderr)
    if config.task != manifest.task:
        raise UsageError(f"--task {config.task}: {config.manifest} holds {manifest.task} labels")
    before = run_dirs.claim(config, manifest.sha256)
    if before and before["finished"]:
        print(f"{config.run_dir}: this run is finished", file=sys.stderr)
        return config.run_dir
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    with precision(config.precision) as arithmetic, device_strategy().scope():
        model, pretrained = _build(config, manifest.labels)
        inputs = load_training_inputs(config, manifest)
        plan = sampling_plan(config, inputs.splits["train"].y)
        facts = run_dirs.describe(config, manifest, inputs, model, pretrained, arithmetic, plan)
        config.run_dir.mkdir(parents=True, exist_ok=True)
        write_json(config.run_dir / "config.json", facts)
        state = _fit(_prepare(config, model, inputs, manifest.labels, pretrained, plan))
        with atomic(config.run_dir / WEIGHTS) as partial:
            model.save_weights(partial)
    facts |= {"best_epoch": state["best_epoch"], "seconds": round(state["seconds"], 1)}
    _set_operating_points(config, manifest, inputs)
    write_json(config.run_dir / "config.json", {**facts, "finished": run_dirs.now()})
    return config.run_dir


def device_strategy():
    """Mirrored over the GPUs where there are several, else TensorFlow's default."""
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    return tf.distribute.get_strategy()


def load_training_inputs(config, manifest):
    """`Inputs` of train and val. The photographs of test are read too, to know that they can be.

    Raises:
        DataError: photographs cannot be read (all splits' named at once), or, with
            --on-bad-image skip, none is left in train or val.
    """
    common = {
        "image_size": config.image_size,
        "crop": config.crop,
        "unit": config.unit,
        "on_bad_image": "skip",
    }
    cache_dir = config.cache_dir or config.run_dir.parent / ".pictures"
    inputs = load_inputs(
        manifest,
        config.image_root,
        splits=("train", "val"),
        cache=config.cache,
        cache_dir=cache_dir,
        **common,
    )
    bad = list(inputs.bad)
    if (manifest.table["split"] == "test").any():
        bad += load_inputs(manifest, config.image_root, splits=("test",), **common).bad
    if bad and config.on_bad_image == "fail":
        raise DataError(describe_bad(bad))
    if bad:
        print(f"warning: left out: {describe_bad(bad)}", file=sys.stderr)
    for split, rows in inputs.splits.items():
        if not len(rows.table):
            raise DataError(f"{config.manifest}: no readable photograph in split {split!r}")
    return Inputs(inputs.pictures, inputs.splits, bad)


def sampling_plan(config, y):
    """(row factors (N,), label repeats (L,), positive weights (L,)) of the training rows."""
    repeats = sampling.label_repeats(y, config.oversample_to)
    factors = sampling.row_repeats(y, repeats)
    weighted = config.pos_weight == "median" and config.task == "multi_label"
    weights = sampling.positive_weights(y, factors) if weighted else np.ones(y.shape[1])
    return factors, repeats, weights


@dataclass(frozen=True)
class _Fitting:
    """What stays the same from epoch to epoch; `state` is what goes into the checkpoint."""

    config: TrainConfig
    model: keras.Model
    inputs: Inputs
    labels: list
    pretrained: bool
    factors: np.ndarray
    weights: np.ndarray
    loss: keras.losses.Loss
    val_batches: tf.data.Dataset
    state: dict

    @property
    def folder(self):
        return self.config.run_dir / "checkpoint"

    @property
    def steps(self):
        return max(1, int(self.factors.sum()) // self.config.batch_size)


def _build(config, labels):
    """(classifier, pretrained); the size and name of the encoder are checked on the way."""
    encoder, pretrained = load_encoder(
        config.encoder, config.image_size, config.weights, ENCODERS.get(config.encoder)
    )
    model = build_classifier(
        config.encoder,
        config.image_size,
        len(labels),
        unit=config.unit,
        weights=encoder,
        dropout=config.dropout,
    )
    return model, pretrained


def _prepare(config, model, inputs, labels, pretrained, plan):
    factors, _, weights = plan
    graded = config.task == "grade"
    loss = grade_loss(config.label_smoothing) if graded else WeightedBinaryCrossentropy(weights)
    val = scoring_batches(inputs.pictures, inputs.splits["val"].pictures, config.batch_size)
    state = {"history": [], "best": None, "best_epoch": None, "seconds": 0.0}
    return _Fitting(
        config, model, inputs, list(labels), pretrained, factors, weights, loss, val, state
    )


def _fit(fitting):
    """Runs what is left of both phases and leaves the best weights in the model."""
    config, model, state = fitting.config, fitting.model, fitting.state
    arrays = _load(fitting)
    if arrays is None and not fitting.pretrained:
        rows = fitting.inputs.splits["train"].pictures
        phases.calibrate_batch_norm(
            model, scoring_batches(fitting.inputs.pictures, rows, config.batch_size)
        )
    history = state["history"]
    _write_history(config.run_dir, history)
    board = tf.summary.create_file_writer(str(config.run_dir / "tensorboard"))
    for phase, epochs in ((1, config.phase1_epochs), (2, config.phase2_epochs)):
        if epochs == 0 or (history and history[-1]["phase"] > phase):
            continue
        total = fitting.steps * epochs
        phases.compile_phase(model, phase, config, fitting.loss, total, fitting.pretrained)
        if history and history[-1]["phase"] == phase:
            checkpoint.assign(model.optimizer.variables, arrays["optimizer"], "optimizer")
        while sum(row["phase"] == phase for row in history) < epochs:
            if validation.stopped(history, phase, config.patience):
                break
            _run_epoch(fitting, phase)
            _write_history(config.run_dir, history)
            _write_board(board, history[-1])
        best, _ = checkpoint.load_arrays(fitting.folder / _best_name(state["best_epoch"]))
        checkpoint.assign(model.variables, best["model"], "best weights")
    return state


def _run_epoch(fitting, phase):
    """Fits one epoch, scores `val`, appends to the history and writes the state."""
    config, model, state = fitting.config, fitting.model, fitting.state
    history, started = state["history"], time.monotonic()
    epoch = len(history) + 1
    _reseed(model, [config.seed, epoch])
    rows = fitting.inputs.splits["train"]
    batches = training_batches(
        fitting.inputs.pictures,
        rows.pictures,
        rows.y,
        sampling.draw_epoch(fitting.factors, config.seed, epoch),
        config.batch_size,
        augmentation(config, epoch),
        config.deterministic,
    )
    title = f"epoch {epoch} of {config.phase1_epochs + config.phase2_epochs}, phase {phase}"
    bar = EpochBar(title, fitting.steps, _label_scores(history, fitting.labels))
    fitted = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[bar])
    y = fitting.inputs.splits["val"].y
    with phases.averaged(model):
        logits = model.predict(fitting.val_batches, verbose=0)
        row = {
            "epoch": epoch,
            "phase": phase,
            "learning_rate": float(model.optimizer.learning_rate),
            "loss": float(fitted.history["loss"][-1]),
            "val_loss": float(fitting.loss(y, logits)),
            **validation.epoch_scores(y, logits, fitting.labels, config.task),
        }
        if validation.improves(row["val_composite"], state["best"]):
            state |= {"best": row["val_composite"], "best_epoch": epoch}
            weights = {"model": checkpoint.values(model.variables)}
            checkpoint.save_arrays(fitting.folder, _best_name(epoch), weights)
    if config.reweight:
        confusion = validation.confusion_at_zero(y, logits)
        now = fitting.loss.pos_weight.numpy()
        fitting.loss.pos_weight.assign(
            sampling.reweight_by_sensitivity(now, fitting.weights, confusion, bound=config.reweight)
        )
    history.append(row)
    state["seconds"] += time.monotonic() - started
    _save(fitting)
    print(f"{title}: {_summary(row, fitting.labels)}", file=sys.stderr)


def augmentation(config, epoch):
    """Arguments of `augment.augmenter` for an epoch."""
    return {
        "seed": [config.seed, epoch],
        "geometry": config.augment,
        "colour": config.augment,
        "mixup": config.mixup,
        "cutmix": config.cutmix,
        "rand_augment": config.rand_augment,
    }


def _reseed(model, numbers):
    """Sets the random state of every layer (dropout), so that an epoch can be run again."""
    rng = np.random.default_rng(numbers)
    for variable in model.variables:
        if "seed_generator" in variable.path:
            variable.assign(rng.integers(1 << 31, size=2))


def _save(fitting):
    arrays = {
        "model": checkpoint.values(fitting.model.variables),
        "optimizer": checkpoint.values(fitting.model.optimizer.variables),
    }
    if fitting.config.task == "multi_label":
        arrays["pos_weight"] = [fitting.loss.pos_weight.numpy()]
    keep = [_best_name(fitting.state["best_epoch"])]
    checkpoint.save_state(
        fitting.folder, len(fitting.state["history"]), arrays, fitting.state, keep
    )


def _load(fitting):
    """Takes up the newest state; returns its arrays, or None when there is none."""
    saved = checkpoint.load_state(fitting.folder)
    if saved is None:
        return None
    arrays, facts = saved
    fitting.state.update(facts)
    checkpoint.assign(fitting.model.variables, arrays["model"], "model")
    if "pos_weight" in arrays:
        fitting.loss.pos_weight.assign(arrays["pos_weight"][0])
    print(f"going on after epoch {len(facts['history'])}", file=sys.stderr)
    return arrays


def _set_operating_points(config, manifest, inputs):
    """Fits calibration and thresholds on `val`, in float32 as `predict` will compute."""
    run = load_run(config.run_dir, finished=False)
    rows = inputs.splits["val"]
    logits = predict_logits(run.model, inputs.pictures, rows)
    labels = list(manifest.labels)
    points = calibration.fit_operating_points(
        rows.y, logits, labels, criterion=config.criterion, task=config.task
    )
    calibration.save_operating_points(config.run_dir / "thresholds.json", points)
    probabilities = calibration.apply_calibration(logits, points, labels)
    table = prediction_table(rows, labels, labels, probabilities)
    write_csv(config.run_dir / "predictions_val.csv", table)


def _best_name(epoch):
    return f"best-{epoch:05d}.npz"


def _write_history(run_dir, history):
    write_csv(run_dir / "history.csv", pd.DataFrame(history))


def _write_board(board, row):
    with board.as_default(step=row["epoch"]):
        for name, value in row.items():
            tf.summary.scalar(name.replace("val_", "val/", 1), value)
    board.flush()


def _label_scores(history, labels):
    """ROC AUC on `val` of each label after the last epoch, for the bar."""
    if not history or f"val_roc_auc_{labels[0]}" not in history[-1]:
        return ""
    return " ".join(f"{x} {history[-1][f'val_roc_auc_{x}']:.2f}" for x in labels)


def _summary(row, labels):
    figures = f"loss {row['loss']:.4f}, val loss {row['val_loss']:.4f}, "
    if "val_kappa" in row:
        return figures + f"accuracy {row['val_accuracy']:.3f}, kappa {row['val_kappa']:.3f}"
    figures += f"F1 {row['val_macro_f1']:.3f}, ROC AUC {row['val_macro_roc_auc']:.3f}: "
    return figures + _label_scores([row], labels)
