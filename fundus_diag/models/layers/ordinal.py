"""Logits of grades in their order."""

import math

import keras
from keras import layers, ops


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
