"""Parts that transformers share: attention whose weights can be read, tokens, stochastic depth.

Attention itself holds no weights (the projections around it are plain dense layers), so a network
built to be read has the same weights as one built to be fast.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from fundus_diag.utils.errors import UsageError

SMALLEST, LARGEST = 16, 2048  # sides of pictures, px

# Mean and standard deviation of ImageNet's RGB, of 255:
# https://docs.pytorch.org/vision/stable/models.html
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def imagenet_normalization(images):
    """Pictures (B, S, S, 3), RGB in [0, 255], standardised as ImageNet is; a layer `normalize`."""
    # float32 whatever the precision policy: bfloat16 cannot tell 254 from 255.
    return layers.Normalization(
        mean=IMAGENET_MEAN,
        variance=[s * s for s in IMAGENET_STD],
        dtype="float32",
        name="normalize",
    )(images)


def nearest_side(side, factor, least=SMALLEST):
    """The multiple of a factor that is nearest to a side, of those that pictures may have, px."""
    lowest, highest = -(-max(SMALLEST, least) // factor), LARGEST // factor
    return min(max(round(side / factor), lowest), highest) * factor


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
