"""Self-attention within the windows of a map, which may be shifted; with relative positions.

Source: Liu et al. 2021, "Swin Transformer", section 3.2 and equation 4,
https://arxiv.org/abs/2103.14030

A shifted partition begins half a window further up and left, so it cuts the windows at the rim.
They are computed as whole ones: the map is rolled, and a mask keeps apart what only the roll
brought together. A map that its windows do not divide is padded at the bottom and the right;
nothing attends to the padding.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from fundus_diag.models.layers.attention import check_heads


def window_attention(x, heads, window, *, shifted=False, name):
    """Attention of several heads within the windows of a square map.

    Args:
        x: map (B, h, h, C).
        heads: number of heads; each has C / heads channels.
        window: side of a window, cells of the map. A map that is no larger is one window, and
            there is nothing to shift.
        shifted: whether the windows begin half a window further up and left.
        name: prefix of the layers.

    Returns:
        (B, h, h, C), from a layer `<name>.proj`. The weights (B, windows, heads, t, t) are the
        output of the layer `<name>.weights`, t = window^2, windows row by row.
    """
    check_heads(heads, x.shape[-1])
    qkv = layers.Dense(3 * x.shape[-1], name=f"{name}.qkv")(x)
    weights = WindowWeights(heads, window, shifted, name=f"{name}.weights")(qkv)
    values = WindowValues(window, shifted, name=f"{name}.attend")([weights, qkv])
    return layers.Dense(x.shape[-1], name=f"{name}.proj")(values)


@keras.saving.register_keras_serializable("fundus_diag")
class WindowWeights(layers.Layer):
    """Queries, keys, values (B, h, h, 3 C) to the weights (B, windows, heads, t, t) of each window.

    softmax(q k^T / sqrt(C / heads) + bias): the bias of a head is learned for each distance in rows
    and columns. The table covers the whole `window`, so that the same weights fit any map.
    """

    def __init__(self, heads, window, shifted=False, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.window, self.shifted = heads, window, shifted

    def build(self, shape):
        # Heads first: a gather along the first axis would have a sparse gradient.
        self.bias = self.add_weight(
            name="bias",
            shape=(self.heads, (2 * self.window - 1) ** 2),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, qkv):
        side = qkv.shape[1]
        window, shift = fit_window(side, self.window, self.shifted)
        q, k, _ = ops.split(qkv, 3, axis=-1)
        q, k = (split_heads(to_windows(x, window, shift), self.heads) for x in (q, k))
        products = ops.cast(ops.einsum("bwthc,bwshc->bwhts", q, k), "float32")
        index = relative_index(window, self.window)
        bias = ops.cast(ops.take(self.bias, index, axis=1), "float32")  # (heads, t, t)
        scores = products * q.shape[-1] ** -0.5 + bias
        together = same_region(side, window, shift)[:, None]  # (windows, 1, t, t)
        if not together.all():
            scores = ops.where(together, scores, -1e9)
        return ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)

    def compute_output_shape(self, shape):
        window, _ = fit_window(shape[1], self.window, self.shifted)
        count = math.ceil(shape[1] / window) ** 2
        return (shape[0], count, self.heads, window**2, window**2)


@keras.saving.register_keras_serializable("fundus_diag")
class WindowValues(layers.Layer):
    """[weights (B, windows, heads, t, t), queries, keys, values (B, h, h, 3 C)] to (B, h, h, C)."""

    def __init__(self, window, shifted=False, **kwargs):
        super().__init__(**kwargs)
        self.window, self.shifted = window, shifted

    def call(self, inputs):
        weights, qkv = inputs
        side = qkv.shape[1]
        window, shift = fit_window(side, self.window, self.shifted)
        v = to_windows(ops.split(qkv, 3, axis=-1)[2], window, shift)  # (B, windows, t, C)
        x = ops.einsum("bwhts,bwshc->bwthc", weights, split_heads(v, weights.shape[2]))
        return from_windows(ops.reshape(x, (-1, *v.shape[1:])), side, window, shift)

    def compute_output_shape(self, shapes):
        return (*shapes[1][:3], shapes[1][3] // 3)


def fit_window(side, window, shifted):
    """Side and shift of the windows on a map of `side` cells: never larger than the map."""
    if side <= window:
        return side, 0
    return window, window // 2 if shifted else 0


def to_windows(x, window, shift):
    """(B, h, h, C) to (B, windows, window^2, C), windows and their cells row by row."""
    side, count = x.shape[1], math.ceil(x.shape[1] / window)
    missing = count * window - side
    if missing:
        x = ops.pad(x, ((0, 0), (0, missing), (0, missing), (0, 0)))
    if shift:
        x = ops.roll(x, (-shift, -shift), axis=(1, 2))
    x = ops.reshape(x, (-1, count, window, count, window, x.shape[3]))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, count**2, window**2, x.shape[5]))


def from_windows(x, side, window, shift):
    """(B, windows, window^2, C) to (B, side, side, C): the reverse of `to_windows`."""
    count = math.ceil(side / window)
    x = ops.reshape(x, (-1, count, count, window, window, x.shape[3]))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    x = ops.reshape(x, (-1, count * window, count * window, x.shape[5]))
    if shift:
        x = ops.roll(x, (shift, shift), axis=(1, 2))
    return x[:, :side, :side]


def split_heads(x, heads):
    """(B, windows, t, C) to (B, windows, t, heads, C / heads)."""
    return ops.reshape(x, (-1, *x.shape[1:3], heads, x.shape[3] // heads))


def same_region(side, window, shift):
    """Which cells of the windows of `to_windows` may attend to which: (windows, t, t) bool.

    Those that lie in one window of the shifted partition; padding only to padding, so that every
    row has something to attend to.
    """
    count = math.ceil(side / window)
    cell = (np.arange(count * window) + shift) % (count * window)  # that stands here after the roll
    region = np.where(cell < side, (cell - shift) // window + 1, count + 1)  # of rows and columns
    region = region[:, None] * (count + 2) + region
    region = region.reshape(count, window, count, window).transpose(0, 2, 1, 3)
    region = region.reshape(count**2, window**2)
    return region[:, :, None] == region[:, None]


def relative_index(window, largest):
    """Place in the table of `WindowWeights` for each pair of a window's cells: (t, t) int.

    The table has (2 largest - 1)^2 places, by distance in rows, then in columns, query less key.
    """
    cells = np.indices((window, window)).reshape(2, -1)
    rows, columns = cells[:, :, None] - cells[:, None] + largest - 1
    return rows * (2 * largest - 1) + columns
