"""The epochs of pretraining: their batches, losses, pictures and state.

The masks of an epoch are among its random numbers (`training.epochs`). Those of the pictures and of
`val` are drawn from (seed, 0): the same after every epoch.
"""

import time
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from fundus_diag.data.pictures import Pictures
from fundus_diag.data.pipeline import scoring_batches, training_batches
from fundus_diag.runs.freeze import inference
from fundus_diag.training import epochs
from fundus_diag.training.optimizers import AdamW
from fundus_diag.training.pace import Pace
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.pretraining.reconstructions import reconstruction_png
from fundus_diag.training.sampling import draw_epoch
from fundus_diag.utils.files import make_folder, write_bytes
from fundus_diag.utils.mixed_precision import has_gpu
from fundus_diag.utils.plotting import curve_png
from fundus_diag.utils.variables import assign, reseed

SHOWN = 6  # photographs whose reconstruction is drawn


@dataclass(frozen=True)
class Pretraining:
    """What stays the same from epoch to epoch; `state` is what goes into the checkpoint.

    Attributes:
        rows: (N,) picture numbers to learn from.
        val: picture numbers of `val`, or None.
        shown: ((n, S, S, 3) pictures, their names).
    """

    config: PretrainConfig
    model: keras.Model
    pictures: Pictures
    rows: np.ndarray
    val: np.ndarray | None
    shown: tuple
    state: dict

    @property
    def folder(self):
        return self.config.run_dir / "checkpoint"

    @property
    def batch_size(self):
        return min(self.config.batch_size, len(self.rows))

    @property
    def steps(self):
        return len(self.rows) // self.batch_size


def prepare(config, model, pictures, splits):
    """`Pretraining` of a new run; which photographs are shown is drawn here, once."""
    learned = {x: r for x, r in splits.items() if not (config.val_loss and x == "val")}
    rows = np.concatenate([x.pictures for x in learned.values()])
    names = np.concatenate([x.table["image"].to_numpy() for x in learned.values()])
    chosen = np.sort(np.random.default_rng([config.seed, 0]).permutation(len(rows))[:SHOWN])
    (shown,) = _as_seen(scoring_batches(pictures, rows[chosen], len(chosen)), config.image_size)
    val = splits["val"].pictures if config.val_loss else None
    return Pretraining(
        config,
        model,
        pictures,
        rows,
        val,
        (shown.numpy(), names[chosen].tolist()),
        {"history": [], "seconds": 0.0},
    )


def fit(run):
    """Runs the epochs that are left."""
    config, model, state = run.config, run.model, run.state
    compile_model(model, config, run.steps)
    arrays = epochs.take_up(run.folder, model, state)
    if arrays is not None:
        assign(model.optimizer.variables, arrays["optimizer"], "optimizer")
    epochs.write_history(config.run_dir, state["history"])
    see = inference(model)
    pace = Pace({1: config.epochs - len(state["history"])}, run.steps, run.batch_size)
    while len(state["history"]) < config.epochs:
        _run_epoch(run, see, pace)
        epochs.write_history(config.run_dir, state["history"])


def compile_model(model, config, steps):
    """Compiles with AdamW: linear warm-up, then a cosine to 0 (He et al. 2022, table 8).

    Args:
        config: `PretrainConfig`, resolved.
        steps: steps of an epoch.
    """
    warmup = config.warmup_epochs * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config.rate,
        decay_steps=config.epochs * steps - warmup,
        alpha=0.0,
        warmup_target=config.rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = AdamW(schedule, decay=config.weight_decay, beta_1=0.9, beta_2=0.95, epsilon=1e-8)
    # XLA is slow on a CPU, see `phases.compile_phase`.
    model.compile(optimizer, jit_compile="auto" if has_gpu() else False)
    # Mixed float16 wraps the optimizer to scale the loss.
    model.optimizer.build(model.trainable_variables)


def epoch_batches(run, epoch):
    """The training batches of an epoch: pictures (B, S, S, 3) float32."""
    config = run.config
    whole = run.pictures.image_size == config.image_size and not config.augment
    crop = None if whole else (config.smallest_crop, config.image_size)
    batches = training_batches(
        run.pictures,
        run.rows,
        np.zeros((len(run.rows), 0), np.float32),
        draw_epoch(np.ones(len(run.rows)), config.seed, epoch),
        run.batch_size,
        {"seed": [config.seed, epoch], "geometry": False, "colour": False, "crop": crop},
    )
    return batches.map(lambda images, _: images)


def _run_epoch(run, see, pace):
    """Fits one epoch, draws what is due, appends to the history and writes the state."""
    config, model, state = run.config, run.model, run.state
    history, started = state["history"], time.monotonic()
    epoch = len(history) + 1
    title = f"epoch {epoch} of {config.epochs}"
    batches = epoch_batches(run, epoch)

    def told(step):
        line = pace.stepped(1, step)
        if line:
            epochs.say(line)

    numbers = [config.seed, epoch]
    loss = epochs.fit_epoch(model, batches, numbers, title, run.steps, told=told)
    epochs.stop_unless_finite(loss, "loss", epoch, config, "rate")
    row = {"epoch": epoch, "learning_rate": float(model.optimizer.learning_rate), "loss": loss}
    if run.val is not None:
        row["val_loss"] = _val_loss(run, see)
        epochs.stop_unless_finite(row["val_loss"], "val loss", epoch, config, "rate")
    history.append(row)
    # Before the state is written: what a kill leaves undone is done again.
    if epoch == config.epochs or (config.pictures_every and epoch % config.pictures_every == 0):
        _draw(run, see)
    seconds = time.monotonic() - started
    state["seconds"] += seconds
    pace.epoch(1, seconds)
    epochs.keep(run.folder, model, model.optimizer, state)
    figures = ", ".join(f"{k.replace('_', ' ')} {row[k]:.4f}" for k in row if "loss" in k)
    left = pace.time_left()
    rest = f"; about {left} left" if left else ""
    epochs.say(f"  {title}, {seconds:.0f} s: {figures}{rest}")


def _val_loss(run, see):
    reseed(run.model, [run.config.seed, 0])
    batches = scoring_batches(run.pictures, run.val, run.batch_size)
    losses = [
        run.model.patch_loss.call(images, see(images))
        for images in _as_seen(batches, run.config.image_size)
    ]
    return float(np.mean(np.concatenate(losses)))


def _draw(run, see):
    config, history = run.config, pd.DataFrame(run.state["history"])
    reseed(run.model, [config.seed, 0])
    images, names = run.shown
    outputs = {k: v.numpy() for k, v in see(tf.constant(images)).items()}
    epoch = len(history)
    page = reconstruction_png(
        images, outputs, names, run.model.patch_loss, f"{config.encoder}, epoch {epoch}"
    )
    curves = {"loss": "training", "val_loss": "val"}
    loss = curve_png(history.assign(phase=1), curves, "loss of the hidden patches", None)
    folder = config.run_dir / "reconstructions"
    make_folder(folder)
    write_bytes(folder / f"epoch-{epoch:04d}.png", page)
    write_bytes(config.run_dir / "loss.png", loss)


def _as_seen(batches, size):
    """Whole pictures at the size that the network sees."""

    def resize(images):
        if images.shape[1] == size:
            return images
        return tf.image.resize(images, (size, size), antialias=True)

    return batches.map(resize)
