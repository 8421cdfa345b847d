"""Phase 1 on what the frozen encoder says of each photograph, computed once.

The encoder of phase 1 is frozen: what it says of a picture is the same in every epoch. So it is
asked once for every row of train (and for a few augmented views of it) and of val, and the head
learns from the answers.
"""

import hashlib
import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from fundus_diag.data import pictures as photographs
from fundus_diag.data.cache_files import (
    cache_files,
    finished_array,
    in_memory,
    removed_unless_whole,
    reserved,
    unnamed,
)
from fundus_diag.data.pipeline import scoring_batches, training_batches
from fundus_diag.models.classifier import encoder_layers
from fundus_diag.models.layers.eyes import FoldEyes
from fundus_diag.runs.freeze import inference_frozen
from fundus_diag.utils.files import writing
from fundus_diag.utils.mixed_precision import ONEDNN_OPTION
from fundus_diag.utils.progress import track


@dataclass(frozen=True)
class Features:
    """What the encoder says of rows, pooled.

    Attributes:
        array: (N, V, C) float32 of V views of each row; of pairs (N, V, 2, C).
        mask: (N, 2) float32, 1 where the eye was photographed; None for single eyes.
        look: seconds that a view of a row took; None where all had been computed before.
    """

    array: np.ndarray
    mask: np.ndarray | None
    look: float | None = None


def head_alone(model):
    """The head of a classifier as a network of its own: the same layers, the same weights.

    Its input is what `head_pool` gives: features (B, C), or for pairs a dict of `features`
    (B, 2, C) and `mask` (B, 2).
    """
    pooled = model.get_layer("head_pool").output
    if not isinstance(model.input, dict):
        return keras.Model(pooled, model.output, name="head")
    mask = model.input["mask"]
    folded = keras.Model([pooled, mask], model.output, name="head_folded")
    inputs = {
        "features": keras.Input((2, pooled.shape[-1]), name="features"),
        "mask": keras.Input((2,), name="mask"),
    }
    both = FoldEyes(name="head_fold")(inputs["features"])
    logits = folded([both, inputs["mask"]])
    return keras.Model(inputs, logits, name="head")


def asking(model):
    """A function from pictures to what a classifier's frozen encoder says of them, pooled.

    It is made at its first call: what lies in the cache needs none.
    """
    made = []

    def ask(images):
        if not made:
            taken = model.input["images"] if isinstance(model.input, dict) else model.input
            pooled = model.get_layer("head_pool").output
            made.append(inference_frozen(keras.Model(taken, pooled)))
        return np.asarray(made[0](images), np.float32)

    return ask


def of_rows(config, model, ask, pictures, rows, views, augmentation, title):
    """`Features` of rows, computed now or by an earlier run that shares the disk cache.

    With --cache ram they are kept in memory, otherwise mapped from a file: of the cache, or with
    --cache none one that nobody else sees.

    Args:
        config: `TrainConfig`, resolved.
        model: classifier whose encoder is asked, as in inference.
        ask: of `asking`, of this model.
        pictures, rows: see `pipeline.scoring_batches`.
        views: of each row: the photograph, then augmented ones.
        augmentation: arguments of `augmenter`, without its seed.
        title: of the bar.

    Raises:
        DataError: the disk has no room for the file.
        UsageError: there is not enough memory.
    """
    rows = np.asarray(rows)
    mask = (rows >= 0).astype(np.float32) if rows.ndim == 2 else None
    channels = model.get_layer("head_pool").output.shape[-1]
    shape = (len(rows), views, *rows.shape[1:], channels)

    look = None

    def fill(array):
        nonlocal look
        started = time.monotonic()
        _compute(array, config, ask, pictures, rows, augmentation, title)
        look = (time.monotonic() - started) / max(1, len(rows) * views)

    if config.cache == "ram":
        array = in_memory(shape, np.float32)
        fill(array)
    elif config.cache == "none":
        array = unnamed(config.run_dir, shape, np.float32)
        fill(array)
    else:
        key = _key(config, model, pictures, rows, views, augmentation)
        finished, partial = cache_files(config.reading["cache_dir"], "features", key)
        array = finished_array(finished, shape, np.float32)
        if array is None:
            with removed_unless_whole(partial):
                array = reserved(partial, shape, np.float32)
                fill(array)
                with writing(finished):
                    array.flush()
                    partial.replace(finished)
    return Features(array, mask, look)


def batches(features, y, order, batch_size, seed):
    """One epoch of training batches of features, a view of each row drawn at random.

    Args:
        features: `Features` of the rows.
        y: (N, L) float32 of 1, 0, NaN.
        order: row numbers of this epoch, with repetitions.
        batch_size: as of `pipeline.training_batches`.
        seed: list of int.
    """
    batch_size = min(batch_size, len(order))
    views = np.random.default_rng(seed).integers(features.array.shape[1], size=len(order))
    chosen = tf.data.Dataset.from_tensor_slices((np.asarray(order, np.int64), views))
    chosen = chosen.batch(batch_size, drop_remainder=True)
    y = tf.constant(y, tf.float32)
    return chosen.map(lambda row, view: (_taken(features, row, view), tf.gather(y, row)))


def scoring(features, batch_size):
    """Inputs of the head in order, each row once, of the photographs as they are."""
    rows = tf.data.Dataset.range(len(features.array)).batch(batch_size)
    return rows.map(lambda row: _taken(features, row, tf.zeros_like(row)))


def _taken(features, row, view):
    array, mask = features.array, features.mask
    found = tf.numpy_function(lambda i, j: array[i, j], [row, view], tf.float32)
    found = tf.ensure_shape(found, (None, *array.shape[2:]))
    return found if mask is None else {"features": found, "mask": tf.gather(mask, row)}


def _compute(array, config, ask, pictures, rows, augmentation, title):
    count, size = len(rows), config.batch_size
    nothing = np.zeros((count, 1), np.float32)  # labels, which nothing mixes here

    def of_view(view):
        if not view:
            return scoring_batches(pictures, rows, size)
        settings = {**augmentation, "seed": [config.seed, 0, view]}
        order = np.arange(count)
        found = training_batches(
            pictures, rows, nothing, order, size, settings, drop_remainder=False
        )
        return found.map(lambda inputs, _: inputs)

    def all_batches():
        for view in range(array.shape[1]):
            done = 0
            for inputs in of_view(view):
                inputs = inputs["images"] if isinstance(inputs, dict) else inputs
                found = ask(inputs).reshape(-1, *array.shape[2:])
                array[done : done + len(found), view] = found
                done += len(found)
                yield

    for _ in track(all_batches(), title, array.shape[1] * -(-count // size)):
        pass


def _key(config, model, pictures, rows, views, augmentation):
    """16 digits that change with anything that the features depend on."""
    digest = hashlib.sha256()
    facts = [
        photographs.key(pictures.paths, pictures.image_size, pictures.crop),
        *(config.encoder, config.encoder_options, config.pool),
        # The arithmetic at work: "auto" is another one on another machine.
        keras.config.dtype_policy().name,
        tf.config.optimizer.get_experimental_options().get(ONEDNN_OPTION, False),
        *((views, sorted(augmentation.items()), config.seed) if views > 1 else ()),
    ]
    digest.update(repr(facts).encode())
    digest.update(np.ascontiguousarray(rows, np.int64).tobytes())
    for layer in encoder_layers(model):
        for weight in layer.weights:
            digest.update(weight.path.encode())
            digest.update(weight.numpy().tobytes())
    return digest.hexdigest()[:16]
