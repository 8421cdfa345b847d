"""The epochs of both phases, whatever is learned.

The loop is written out: fit the epoch's batches, score `val`, write the state, decide. What the
batches are and what `val` is judged by is the task's: `classify`, `segment`.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.training import checkpoint, epochs, jax_hosts, phases, validation
from fundus_diag.training.pace import Pace
from fundus_diag.utils.variables import assign, values

RATES = {1: "phase1_rate", 2: "phase2_rate"}
# Batches of train that the statistics of averaged weights are taken from: a forward pass of 512
# photographs at 32 a step, where an epoch of ODIR takes 4,000 forth and back.
STATISTICS_BATCHES = 16


@dataclass(frozen=True)
class Learner:
    """What a phase fits and scores: the whole network on pictures, or its head on features.

    Attributes:
        model: that is fitted; its variables are of `Fitting.model`.
        batches: function of the epoch's number, from 1, that gives its training batches.
        val: inputs of val, in order.
        some: inputs of train that statistics of averaged weights are taken from.
        score: function from inputs to logits.
        look: seconds that the encoder took for a picture before the first epoch, where it did.
    """

    model: keras.Model
    batches: Callable
    val: Iterable
    some: Iterable
    score: Callable
    look: float | None = None


@dataclass(frozen=True)
class Task:
    """What is learned, and what an epoch is judged by: all that the loop does not know.

    Attributes:
        loss: Keras loss.
        steps: of an epoch.
        learner: function of the phase that gives its `Learner`.
        score: function of a `Learner` that gives the figures of val, a dict of floats; `val_loss`
            is the first.
        judge: which of them chooses the epoch.
        judged: what people call that.
        line: function of a row of the history: a text for who watches.
        bar: function of the history: a text beside the bar of the next epoch.
        first_look: function that gives inputs of train, which the statistics of BatchNorm of a
            network that starts from nothing are taken from.
        kept: {name: variables} that an interrupted run needs beside network and optimizer.
    """

    loss: keras.losses.Loss
    steps: int
    learner: Callable
    score: Callable
    judge: str
    judged: str
    line: Callable
    bar: Callable
    first_look: Callable
    kept: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Fitting:
    """What stays the same from epoch to epoch; `state` is what goes into the checkpoint."""

    config: object
    model: keras.Model
    pretrained: bool
    task: Task
    state: dict = field(
        default_factory=lambda: {"history": [], "best": None, "best_epoch": None, "seconds": 0.0}
    )
    hosts: jax_hosts.Hosts = jax_hosts.ALONE

    @property
    def folder(self):
        return self.config.run_dir / "checkpoint"


def fit(fitting):
    """Runs what is left of both phases and leaves the best weights in the model."""
    config, model, task, state = fitting.config, fitting.model, fitting.task, fitting.state
    arrays = epochs.take_up(fitting.folder, model, state)
    for name, variables in task.kept.items():
        if arrays is not None and name in arrays:
            assign(variables, arrays[name], name)
    if arrays is None and not fitting.pretrained:
        calibrate_batch_norm(model, task.first_look())
    history = state["history"]
    write = _writer(config.run_dir) if fitting.hosts.first else None
    if write:
        epochs.write_history(config.run_dir, history)
    pace = Pace(_epochs_left(config, history), task.steps, config.batch_size)
    for phase, length in ((1, config.phase1_epochs), (2, config.phase2_epochs)):
        if length == 0 or (history and history[-1]["phase"] > phase):
            continue

        def over(phase=phase, length=length):
            finished = sum(row["phase"] == phase for row in history) >= length
            return finished or validation.stopped(history, phase, config.patience, task.judge)

        if not over():
            started = time.monotonic()
            learner = task.learner(phase)
            state["seconds"] += time.monotonic() - started
            if learner.look:
                pace.looked(2, learner.look)
            phases.compile_phase(
                learner.model, phase, config, task.loss, task.steps, fitting.pretrained
            )
            if history and history[-1]["phase"] == phase:
                assign(learner.model.optimizer.variables, arrays["optimizer"], "optimizer")
        while not over():
            _run_epoch(fitting, learner, phase, pace)
            if write:
                write(history)
        pace.ended(phase)
        if write and sum(row["phase"] == phase for row in history) < length:
            epochs.say(f"phase {phase} is over: {config.patience} epochs without a better score")
        jax_hosts.wait(fitting.hosts)  # until the first has written them
        best, _ = checkpoint.load_arrays(fitting.folder / _best_name(state["best_epoch"]))
        assign(model.variables, best["model"], "best weights")
    if write and state["best_epoch"]:
        number, best = state["best_epoch"], state["best"]
        epochs.say(f"epoch {number} is kept: {task.judged} {best:.3f} on val, the best")
    return state


def _epochs_left(config, history):
    """{phase: epochs that are left of it}."""
    done = {phase: sum(row["phase"] == phase for row in history) for phase in (1, 2)}
    first = 0 if done[2] else config.phase1_epochs - done[1]
    return {1: first, 2: config.phase2_epochs - done[2]}


def _run_epoch(fitting, learner, phase, pace):
    """Fits one epoch, scores `val`, appends to the history and writes the state."""
    config, task, model, state = fitting.config, fitting.task, learner.model, fitting.state
    history, started = state["history"], time.monotonic()
    epoch = len(history) + 1
    title = f"epoch {epoch} of {config.phase1_epochs + config.phase2_epochs}, phase {phase}"
    numbers, rate = [config.seed, epoch], RATES[phase]
    batches = learner.batches(epoch)

    def told(step):
        if phase == 1 and model is fitting.model:  # the encoder does no more than look
            pace.looked(2, step / config.batch_size)
        line = pace.stepped(phase, step)
        if line and fitting.hosts.first:
            epochs.say(line)

    loss = epochs.fit_epoch(model, batches, numbers, title, task.steps, task.bar(history), told)
    epochs.stop_unless_finite(loss, "loss", epoch, config, rate)
    with phases.averaged(model, learner.some):
        figures = task.score(learner)
        epochs.stop_unless_finite(figures["val_loss"], "val loss", epoch, config, rate)
        row = {
            "epoch": epoch,
            "phase": phase,
            "learning_rate": float(model.optimizer.learning_rate),
            "loss": loss,
            **figures,
        }
        if validation.improves(row[task.judge], state["best"]):
            state |= {"best": row[task.judge], "best_epoch": epoch}
        if state["best_epoch"] == epoch and fitting.hosts.first:
            weights = {"model": values(fitting.model.variables)}
            checkpoint.save_arrays(fitting.folder, _best_name(epoch), weights)
    history.append(row)
    seconds = time.monotonic() - started
    state["seconds"] += seconds
    pace.epoch(phase, seconds)
    if not fitting.hosts.first:
        return
    others = {name: values(variables) for name, variables in task.kept.items()}
    files = [_best_name(state["best_epoch"])]
    epochs.keep(fitting.folder, fitting.model, model.optimizer, state, others, files)
    best = state["best_epoch"] == epoch
    score = f"{task.judged} {row[task.judge]:.3f}"
    score += (
        ", the best so far" if best else f" (best {state['best']:.3f}, epoch {state['best_epoch']})"
    )
    left = pace.time_left()
    rest = f"; about {left} left" if left else ""
    epochs.say(f"{'*' if best else ' '} {title}, {seconds:.0f} s: {score}; {task.line(row)}{rest}")


def statistics_rows(count, batch_size, seed):
    """The training rows, whole batches of them, that statistics of averaged weights are taken from.

    The same in every epoch, so that one differs from the other by its weights alone.
    """
    batches = min(STATISTICS_BATCHES, count // batch_size)
    rows = np.random.default_rng([seed, 0]).permutation(count)
    return np.sort(rows[: batches * batch_size or count])


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
