"""The epochs of both phases.

The loop is written out: draw the epoch's rows, fit them, score `val`, write the state, decide.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from fundus_diag.data.inputs import Inputs
from fundus_diag.data.pipeline import scoring_batches, training_batches
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.runs.freeze import inference
from fundus_diag.training import (
    checkpoint,
    epochs,
    features,
    jax_hosts,
    phases,
    sampling,
    validation,
)
from fundus_diag.training.callbacks import label_scores, summary_line
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.losses import WeightedBinaryCrossentropy, grade_loss
from fundus_diag.utils.variables import assign, values

RATES = {1: "phase1_rate", 2: "phase2_rate"}
# Batches of train that the statistics of averaged weights are taken from: a forward pass of 512
# photographs at 32 a step, where an epoch of ODIR takes 4,000 forth and back.
STATISTICS_BATCHES = 16


@dataclass(frozen=True)
class Fitting:
    """What stays the same from epoch to epoch; `state` is what goes into the checkpoint."""

    config: TrainConfig
    model: keras.Model
    inputs: Inputs
    labels: list
    pretrained: bool
    factors: np.ndarray
    weights: np.ndarray
    loss: keras.losses.Loss
    state: dict
    hosts: jax_hosts.Hosts = jax_hosts.ALONE

    @property
    def folder(self):
        return self.config.run_dir / "checkpoint"

    @property
    def steps(self):
        return max(1, int(self.factors.sum()) // self.config.batch_size)


@dataclass(frozen=True)
class Learner:
    """What a phase fits and scores: the whole network on pictures, or its head on features.

    Attributes:
        model: that is fitted; its variables are of `Fitting.model`.
        batches: function of the epoch's number, from 1, and of its row numbers, that gives its
            training batches.
        val: inputs of val, in order.
        some: inputs of train that statistics of averaged weights are taken from.
        score: function from inputs to logits.
    """

    model: keras.Model
    batches: Callable
    val: Iterable
    some: Iterable
    score: Callable


def prepare(config, model, inputs, labels, pretrained, plan, hosts=jax_hosts.ALONE):
    """`Fitting` of a new run; `plan` is what `sampling.sampling_plan` gives."""
    factors, _, weights = plan
    graded = config.task == "grade"
    smoothing = config.label_smoothing
    loss = grade_loss(smoothing) if graded else WeightedBinaryCrossentropy(weights, smoothing)
    state = {"history": [], "best": None, "best_epoch": None, "seconds": 0.0}
    labels = list(labels)
    return Fitting(config, model, inputs, labels, pretrained, factors, weights, loss, state, hosts)


def _learner(fitting, phase):
    """The `Learner` of a phase: the head alone where a pretrained encoder is frozen."""
    if phase == 2 or not fitting.pretrained or not fitting.config.phase1_views:
        return _whole(fitting)
    started = time.monotonic()
    learner = _head(fitting)
    fitting.state["seconds"] += time.monotonic() - started
    return learner


def _whole(fitting):
    """The `Learner` of all of the network."""
    config, inputs = fitting.config, fitting.inputs
    train, val = inputs.splits["train"], inputs.splits["val"]
    rows = train.pictures
    some = rows[statistics_rows(len(rows), config.batch_size, config.seed)]

    def batches(epoch, order):
        augmented = augmentation(config, epoch)
        found = training_batches(
            inputs.pictures, rows, train.y, order, config.batch_size, augmented
        )
        return jax_hosts.part(fitting.hosts, found)

    return Learner(
        fitting.model,
        batches,
        scoring_batches(inputs.pictures, val.pictures, config.batch_size),
        scoring_batches(inputs.pictures, some, config.batch_size),
        # Not `model.predict`: over several devices it hands one of them the empty rest of the last
        # batch, on which BatchNorm fails.
        inference(fitting.model),
    )


def _head(fitting):
    """The `Learner` of the head, on features that are computed here."""
    config, inputs = fitting.config, fitting.inputs
    # Of pictures, not of features: there is nothing to mix in them.
    changes = {**augmentation(config, 0), "mixup": 0.0, "cutmix": 0.0}
    del changes["seed"]
    found = {}
    for split, views in (("train", config.phase1_views), ("val", 1)):
        found[split] = features.of_rows(
            *(config, fitting.model, inputs.pictures, inputs.splits[split].pictures),
            *(views, changes, f"features of {split}"),
        )
    head, y = features.head_alone(fitting.model), inputs.splits["train"].y

    def batches(epoch, order):
        numbers = [config.seed, epoch, 1]
        made = features.batches(found["train"], y, order, config.batch_size, numbers)
        return jax_hosts.part(fitting.hosts, made)

    val = features.scoring(found["val"], config.batch_size)
    return Learner(head, batches, val, (), inference(head))


def statistics_rows(count, batch_size, seed):
    """The training rows, whole batches of them, that statistics of averaged weights are taken from.

    The same in every epoch, so that one differs from the other by its weights alone.
    """
    batches = min(STATISTICS_BATCHES, count // batch_size)
    rows = np.random.default_rng([seed, 0]).permutation(count)
    return np.sort(rows[: batches * batch_size or count])


def fit(fitting):
    """Runs what is left of both phases and leaves the best weights in the model."""
    config, model, state = fitting.config, fitting.model, fitting.state
    arrays = epochs.take_up(fitting.folder, model, state)
    if arrays is not None and "pos_weight" in arrays:
        fitting.loss.pos_weight.assign(arrays["pos_weight"][0])
    if arrays is None and not fitting.pretrained:
        rows = fitting.inputs.splits["train"].pictures
        calibrate_batch_norm(
            model, scoring_batches(fitting.inputs.pictures, rows, config.batch_size)
        )
    history = state["history"]
    write = _writer(config.run_dir) if fitting.hosts.first else None
    if write:
        epochs.write_history(config.run_dir, history)
    for phase, length in ((1, config.phase1_epochs), (2, config.phase2_epochs)):
        if length == 0 or (history and history[-1]["phase"] > phase):
            continue

        def over(phase=phase, length=length):
            finished = sum(row["phase"] == phase for row in history) >= length
            return finished or validation.stopped(history, phase, config.patience, config.select)

        if not over():
            learner = _learner(fitting, phase)
            phases.compile_phase(
                learner.model, phase, config, fitting.loss, fitting.steps, fitting.pretrained
            )
            if history and history[-1]["phase"] == phase:
                assign(learner.model.optimizer.variables, arrays["optimizer"], "optimizer")
        while not over():
            _run_epoch(fitting, learner, phase)
            if write:
                write(history)
        jax_hosts.wait(fitting.hosts)  # until the first has written them
        best, _ = checkpoint.load_arrays(fitting.folder / _best_name(state["best_epoch"]))
        assign(model.variables, best["model"], "best weights")
    return state


def _run_epoch(fitting, learner, phase):
    """Fits one epoch, scores `val`, appends to the history and writes the state."""
    config, model, state, hosts = fitting.config, learner.model, fitting.state, fitting.hosts
    history, started = state["history"], time.monotonic()
    epoch = len(history) + 1
    order = sampling.draw_epoch(fitting.factors, config.seed, epoch)
    title = f"epoch {epoch} of {config.phase1_epochs + config.phase2_epochs}, phase {phase}"
    scores = label_scores(history, fitting.labels)
    numbers = [config.seed, epoch]
    rate, judge = RATES[phase], validation.JUDGES[config.select]
    batches = learner.batches(epoch, order)
    loss = epochs.fit_epoch(model, batches, numbers, title, fitting.steps, scores)
    epochs.stop_unless_finite(loss, "loss", epoch, config, rate)
    y = fitting.inputs.splits["val"].y
    with phases.averaged(model, learner.some):
        logits = np.zeros(y.shape, np.float32)
        if hosts.first:
            logits = np.concatenate([learner.score(inputs) for inputs in learner.val])
        logits = jax_hosts.shared(hosts, logits)
        # Not `loss(..)`: inside a strategy Keras divides that by the number of devices.
        known, said = (keras.ops.convert_to_tensor(x) for x in (y, logits))
        val_loss = float(np.mean(fitting.loss.call(known, said)))
        epochs.stop_unless_finite(val_loss, "val loss", epoch, config, rate)
        row = {
            "epoch": epoch,
            "phase": phase,
            "learning_rate": float(model.optimizer.learning_rate),
            "loss": loss,
            "val_loss": val_loss,
            **validation.epoch_scores(y, logits, fitting.labels, config.task),
        }
        if validation.improves(row[judge], state["best"]):
            state |= {"best": row[judge], "best_epoch": epoch}
        if state["best_epoch"] == epoch and hosts.first:
            weights = {"model": values(fitting.model.variables)}
            checkpoint.save_arrays(fitting.folder, _best_name(epoch), weights)
    if config.reweight:
        confusion = validation.confusion_at_zero(y, logits)
        now = fitting.loss.pos_weight.numpy()
        fitting.loss.pos_weight.assign(
            sampling.reweight_by_sensitivity(now, fitting.weights, confusion, bound=config.reweight)
        )
    history.append(row)
    seconds = time.monotonic() - started
    state["seconds"] += seconds
    if not hosts.first:
        return
    others = {}
    if config.task == "multi_label":
        others["pos_weight"] = [fitting.loss.pos_weight.numpy()]
    files = [_best_name(state["best_epoch"])]
    epochs.keep(fitting.folder, fitting.model, model.optimizer, state, others, files)
    epochs.say(f"{title}, {seconds:.0f} s: {summary_line(row, fitting.labels)}")


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


def _best_name(epoch):
    return f"best-{epoch:05d}.npz"


def _writer(run_dir):
    """A function that writes the history, and its last row for TensorBoard."""
    board = tf.summary.create_file_writer(str(run_dir / "tensorboard"))

    def write(history):
        epochs.write_history(run_dir, history)
        with board.as_default(step=history[-1]["epoch"]):
            for name, value in history[-1].items():
                tf.summary.scalar(name.replace("val_", "val/", 1), value)
        board.flush()

    return write
