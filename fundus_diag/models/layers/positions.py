"""Where a token stands: learned embeddings that start from sines, and their resizing."""

import math

import keras
import numpy as np
from keras import layers, ops

from fundus_diag.utils.errors import UsageError


@keras.saving.register_keras_serializable("fundus_diag")
class PositionEmbedding(layers.Layer):
    """Adds an embedding of its place to every token: (B, g g, C), or with a class token first.

    It starts from the sines and cosines of `sine_positions`; the class token's starts from 0.
    """

    def build(self, shape):
        def start(shape, dtype=None):
            side = math.isqrt(shape[1])
            table = sine_positions(side, shape[2])
            first = np.zeros((shape[1] - side * side, shape[2]))
            return ops.cast(np.concatenate([first, table])[None], dtype)

        self.embedding = self.add_weight(name="embedding", shape=(1, *shape[1:]), initializer=start)

    def call(self, x):
        return x + ops.cast(self.embedding, x.dtype)

    def compute_output_shape(self, shape):
        return shape


def sine_positions(side, width):
    """Sines and cosines of the places of a grid, (side side, width) float32, row by row.

    The first half of the channels tells the column, the second the row; in each, the sines of all
    frequencies 10000 ** (-4 i / width) come first, then the cosines.

    Source: He et al. 2022, "Masked Autoencoders", appendix A.1, https://arxiv.org/abs/2111.06377;
    frequencies by Vaswani et al. 2017, section 3.5.
    """
    if width % 4:
        raise UsageError(f"width {width}: must be a multiple of 4")
    frequencies = 10000.0 ** (-np.arange(width // 4) / (width // 4))
    angles = np.arange(side)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # (side, width / 2)
    rows, columns = np.indices((side, side)).reshape(2, -1)
    return np.concatenate([waves[columns], waves[rows]], axis=1).astype(np.float32)


def resize_positions(embedding, side):
    """A position embedding (1, 1 + g g, C) for a grid of side x side, by bicubic interpolation.

    The class token's stays as it is. Source: Dosovitskiy et al. 2021, section 3.2,
    https://arxiv.org/abs/2010.11929; as timm does it: Keys's kernel (a = -.5), half-pixel centres,
    widened where the grid becomes smaller (antialiasing).
    """
    grid = round((embedding.shape[1] - 1) ** 0.5)
    if grid == side:
        return embedding
    table = np.reshape(embedding[:, 1:], (1, grid, grid, -1))
    table = ops.image.resize(
        table, (side, side), "bicubic", antialias=True, data_format="channels_last"
    )
    places = np.reshape(ops.convert_to_numpy(table), (1, side * side, -1))
    return np.concatenate([embedding[:, :1], places], axis=1)
