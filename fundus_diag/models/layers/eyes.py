"""Two eyes through one encoder: folded into the batch, unfolded again, related to each other."""

import keras
from keras import layers, ops


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
