"""Tokens of a map and back, and the class token beside them."""

import math

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("fundus_diag")
class ClassToken(layers.Layer):
    """Puts a learned token before the others: (B, t, C) to (B, 1 + t, C)."""

    def build(self, shape):
        self.token = self.add_weight(
            name="token",
            shape=(1, 1, shape[-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, x):
        first = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([ops.cast(first, x.dtype), x], axis=1)

    def compute_output_shape(self, shape):
        return (shape[0], None if shape[1] is None else shape[1] + 1, shape[2])


@keras.saving.register_keras_serializable("fundus_diag")
class FirstToken(layers.Layer):
    """The class token alone: (B, 1 + t, C) to (B, C)."""

    def call(self, x):
        return x[:, 0]

    def compute_output_shape(self, shape):
        return (shape[0], shape[2])


@keras.saving.register_keras_serializable("fundus_diag")
class WithClassToken(layers.Layer):
    """[x (B, 1 + s, C), tokens (B, t, C)] to (B, 1 + t, C): the first of x before the tokens."""

    def call(self, inputs):
        x, tokens = inputs
        return ops.concatenate([x[:, :1], tokens], axis=1)

    def compute_output_shape(self, shapes):
        return (shapes[1][0], 1 + shapes[1][1], shapes[1][2])


@keras.saving.register_keras_serializable("fundus_diag")
class TokensToMap(layers.Layer):
    """Tokens (B, t, C), row by row, to their square map (B, h, h, C), without the class token."""

    def call(self, x):
        side = math.isqrt(x.shape[1])
        return ops.reshape(x[:, x.shape[1] - side * side :], (-1, side, side, x.shape[2]))

    def compute_output_shape(self, shape):
        side = math.isqrt(shape[1])
        return (shape[0], side, side, shape[2])


def map_to_tokens(x, *, name):
    """A map (B, h, w, C) to tokens (B, h w, C), row by row; a layer `name`."""
    return layers.Reshape((x.shape[1] * x.shape[2], x.shape[3]), name=name)(x)
