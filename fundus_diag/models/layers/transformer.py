"""Parts that transformers share: their MLP, residual branches and stochastic depth."""

import keras
import numpy as np
from keras import layers, ops


def mlp(x, hidden, activation, *, name):
    """Two dense layers `<name>.fc1` and `<name>.fc2` on every token, back to the same width."""
    width = x.shape[-1]
    x = layers.Dense(hidden, activation=activation, name=f"{name}.fc1")(x)
    return layers.Dense(width, name=f"{name}.fc2")(x)


@keras.saving.register_keras_serializable("fundus_diag")
def exact_gelu(x):
    """x times the normal distribution function of x."""
    return ops.gelu(x, approximate=False)


@keras.saving.register_keras_serializable("fundus_diag")
def quick_gelu(x):
    """x sigmoid(1.702 x), an approximation of `exact_gelu` that some networks are trained with."""
    return x * ops.sigmoid(1.702 * x)


def residual(x, branch, drop_path, *, name):
    """x + branch; in training the branch of a picture is left out at the rate `drop_path`."""
    if drop_path:
        branch = DropPath(drop_path, name=f"{name}.drop_path")(branch)
    return layers.Add(name=f"{name}.add")([x, branch])


def drop_path_rates(highest, depth):
    """Rates that rise linearly from 0 at the first block to `highest` at the last."""
    return [float(r) for r in np.linspace(0, highest, depth)]


@keras.saving.register_keras_serializable("fundus_diag")
class DropPath(layers.Layer):
    """Stochastic depth: in training, zero for a share `rate` of the pictures, the rest scaled up.

    Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382; scaled in training instead of in
    inference.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x, training=False):
        if not training:
            return x
        shape = (ops.shape(x)[0], *(1 for _ in x.shape[1:]))
        kept = keras.random.uniform(shape, seed=self.seed_generator) >= self.rate
        return x * ops.cast(kept, x.dtype) / (1 - self.rate)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}
