"""Layers and shortcuts that several models share."""

import math

import keras
from keras import layers, ops


def squeeze_excite(x, ratio, *, name):
    """Scales each channel of x (B, H, W, C) by a gate in (0, 1) computed from the channel means.

    Source: Hu et al. 2018, "Squeeze-and-Excitation Networks", equations 2 to 4,
    https://arxiv.org/abs/1709.01507. `ratio` is the width of the hidden layer over C (the paper's
    1/r).
    """
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    hidden = max(1, int(channels * ratio))
    gate = layers.Dense(hidden, activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Dense(channels, activation="sigmoid", name=f"{name}_expand")(gate)
    return layers.Multiply(name=f"{name}_scale")([x, gate])


@keras.saving.register_keras_serializable("fundus_diag")
class FoldEyes(layers.Layer):
    """(B, 2, ...) to (2 B, ...): both eyes go through one call of every encoder layer."""

    def call(self, x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_shape(self, shape):
        return (None, *shape[2:])


@keras.saving.register_keras_serializable("fundus_diag")
class UnfoldEyes(layers.Layer):
    """(2 B, C) to (B, 2, C): the reverse of `FoldEyes` after pooling."""

    def call(self, x):
        return ops.reshape(x, (-1, 2, x.shape[-1]))

    def compute_output_shape(self, shape):
        return (None, 2, shape[-1])


@keras.saving.register_keras_serializable("fundus_diag")
class OrdinalLogits(layers.Layer):
    """Grades in their order from one score: (B, C) to the log-probabilities of L grades (B, L).

    The score s = w x is cut at rising thresholds t_1 < .. < t_(L-1): grade k or more has the
    probability sigmoid(s - t_k). The softmax of these log-probabilities is the probabilities
    themselves, so whatever reads logits of grades reads these too.

    Source: McCullagh 1980, "Regression Models for Ordinal Data", section 2 (proportional odds),
    https://doi.org/10.1111/j.2517-6161.1980.tb01109.x
    """

    def __init__(self, grades, **kwargs):
        super().__init__(**kwargs)
        self.grades = grades

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 1))
        # The first threshold, then what each lies above the one before, as inverse softplus: they
        # cannot change places. At the start they lie 1 apart about 0.
        self.first = self.add_weight(
            name="bias", shape=(1,), initializer=keras.initializers.Constant(1 - self.grades / 2)
        )
        self.gaps = self.add_weight(
            name="gap_bias",
            shape=(self.grades - 2,),
            initializer=keras.initializers.Constant(math.log(math.e - 1)),
        )

    def call(self, x):
        rising = ops.cumsum(ops.concatenate([self.first, ops.softplus(self.gaps)]))
        above = ops.matmul(x, self.kernel) - rising  # (B, L - 1), falling
        # With a > b: log(sigmoid(a) - sigmoid(b)) = ls(a) + ls(-b) + log(1 - exp(b - a)), finite
        # however far the score lies from the thresholds.
        log_or_more = ops.log_sigmoid(above)
        log_less = ops.log_sigmoid(-above)
        between = ops.log(-ops.expm1(-ops.softplus(self.gaps)))
        middle = log_or_more[:, :-1] + log_less[:, 1:] + between
        return ops.concatenate([log_less[:, :1], middle, log_or_more[:, -1:]], axis=1)

    def compute_output_shape(self, shape):
        return (shape[0], self.grades)

    def get_config(self):
        return {**super().get_config(), "grades": self.grades}


def relate_eyes(features, mask, *, ratio=1 / 16, name="head_eyes"):
    """Joins the features of two eyes (B, 2, C) and gates them by what both show: (B, 2 C).

    `mask` (B, 2) is 1 where the eye was photographed. A missing eye's features are zeroed before
    they are joined, so nothing that stands in its place reaches the head; the gate sees the mask.
    The gate is squeeze-and-excitation over the channels of both eyes.
    """
    joined = layers.Multiply(name=f"{name}_masked")(
        [features, layers.Reshape((2, 1), name=f"{name}_mask")(mask)]
    )
    joined = layers.Flatten(name=f"{name}_joined")(joined)
    width = joined.shape[-1]
    gate = layers.Concatenate(name=f"{name}_squeeze")([joined, mask])
    gate = layers.Dense(max(1, int(width * ratio)), activation="relu", name=f"{name}_reduce")(gate)
    gate = layers.Dense(width, activation="sigmoid", name=f"{name}_expand")(gate)
    return layers.Multiply(name=f"{name}_scale")([joined, gate])
