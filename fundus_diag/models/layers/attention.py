"""Attention over heads, and its weights where they can be read."""

import keras
from keras import layers, ops

from fundus_diag.utils.errors import UsageError


def attend(q, k, v, heads, *, scale, readable=False, name):
    """Attention of several heads: softmax(scale q k^T) v for each, joined.

    Source: Vaswani et al. 2017, equation 1, https://arxiv.org/abs/1706.03762.

    Args:
        q: queries (B, t, C).
        k, v: keys and values (B, s, C).
        heads: number of heads; each has C / heads channels.
        scale: factor on the products; the paper's is (C / heads) ** -.5.
        readable: whether the weights (B, heads, t, s) are the output of a layer `<name>.weights`;
            otherwise the fused operation of the backend computes them and keeps them.
        name: prefix of the layers.

    Returns:
        (B, t, C), from a layer `<name>.attend`.
    """
    check_heads(heads, q.shape[-1])
    if not readable:
        return FusedAttention(heads, scale, name=f"{name}.attend")([q, k, v])
    weights = AttentionWeights(heads, scale, name=f"{name}.weights")([q, k])
    return WeightedValues(heads, name=f"{name}.attend")([weights, v])


@keras.saving.register_keras_serializable("fundus_diag")
class FusedAttention(layers.Layer):
    """[q (B, t, C), k (B, s, C), v (B, s, C)] to (B, t, C); see `attend`."""

    def __init__(self, heads, scale, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.scale = heads, scale

    def call(self, inputs):
        split = [split_heads(x, self.heads) for x in inputs]
        return join_heads(ops.dot_product_attention(*split, scale=self.scale))

    def compute_output_shape(self, shapes):
        return shapes[0]

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "scale": self.scale}


@keras.saving.register_keras_serializable("fundus_diag")
class AttentionWeights(layers.Layer):
    """[q (B, t, C), k (B, s, C)] to the weights (B, heads, t, s), rows of which sum to 1."""

    def __init__(self, heads, scale, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.scale = heads, scale

    def call(self, inputs):
        q, k = (split_heads(x, self.heads) for x in inputs)
        products = ops.cast(ops.einsum("bthc,bshc->bhts", q, k), "float32")
        return ops.cast(ops.softmax(self.scale * products, axis=-1), self.compute_dtype)

    def compute_output_shape(self, shapes):
        return (shapes[0][0], self.heads, shapes[0][1], shapes[1][1])

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "scale": self.scale}


@keras.saving.register_keras_serializable("fundus_diag")
class WeightedValues(layers.Layer):
    """[weights (B, heads, t, s), v (B, s, C)] to (B, t, C)."""

    def __init__(self, heads, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, inputs):
        weights, v = inputs
        return join_heads(ops.einsum("bhts,bshc->bthc", weights, split_heads(v, self.heads)))

    def compute_output_shape(self, shapes):
        return (shapes[0][0], shapes[0][2], shapes[1][2])

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


def check_heads(heads, width):
    """Refuses a number of heads that does not divide the channels, with a UsageError."""
    if width % heads:
        raise UsageError(f"{heads} heads: must divide the width {width}")


def split_heads(x, heads):
    """(B, t, C) to (B, t, heads, C / heads)."""
    return ops.reshape(x, (-1, x.shape[1], heads, x.shape[2] // heads))


def join_heads(x):
    """(B, t, heads, c) to (B, t, heads c)."""
    return ops.reshape(x, (-1, x.shape[1], x.shape[2] * x.shape[3]))
