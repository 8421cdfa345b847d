"""Statistics of BatchNorm from pictures: for fresh weights, and for weights that were averaged."""

import keras
import numpy as np

from fundus_diag.utils.kept import kept
from fundus_diag.utils.variables import assign, values


def batch_norms(model):
    """The BatchNorm layers of a model."""
    return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]


def calibrate_batch_norm(model, batches, norms=None):
    """Sets BatchNorm's statistics to the mean over `batches` of their batch statistics.

    A network with fresh statistics lets the signal die out: its output hardly depends on its
    input, and a head trained on it learns nothing.

    Args:
        model: network.
        batches: its inputs; of one size, for each batch counts alike.
        norms: the layers to set, by default all; the others keep their statistics and use them
            where they do not train.
    """
    norms = batch_norms(model) if norms is None else norms
    if not norms:
        return
    momenta, trainable = [x.momentum for x in norms], [x.trainable for x in norms]
    statistics = [v for x in norms for v in (x.moving_mean, x.moving_variance)]
    sums, count = None, 0
    for norm in norms:
        norm.momentum, norm.trainable = 0.0, True  # each batch leaves its own statistics
    # Every layer of a head but BatchNorm behaves the same for this purpose; gradients are not
    # taken, so nothing else changes.
    # Traced with the momenta above, for these layers alone.
    step = kept(model, ("batch norm", *(x.name for x in norms)), lambda: _training_mode(model))
    for inputs in batches:
        step(inputs)
        new = values(statistics)
        sums = new if sums is None else [s + n for s, n in zip(sums, new, strict=True)]
        count += 1
    for norm, momentum, flag in zip(norms, momenta, trainable, strict=True):
        norm.momentum, norm.trainable = momentum, flag
    assign(statistics, [np.asarray(s / count, np.float32) for s in sums], "statistics")


def _training_mode(model):
    if keras.backend.backend() == "jax":
        return _training_mode_of_jax(model)
    import tensorflow as tf

    return tf.function(
        lambda inputs: model(inputs, training=True), autograph=False, reduce_retracing=True
    )


def _training_mode_of_jax(model):
    import jax

    @jax.jit
    def step(trained, others, inputs):
        return model.stateless_call(trained, others, inputs, training=True)[1]

    def see(inputs):
        trained, others = model.trainable_variables, model.non_trainable_variables
        found = step(*([v.value for v in x] for x in (trained, others)), _arrays(inputs))
        for variable, value in zip(others, found, strict=True):
            variable.assign(value)

    return see


def _arrays(inputs):
    if isinstance(inputs, dict):
        return {name: np.asarray(x) for name, x in inputs.items()}
    return np.asarray(inputs)
