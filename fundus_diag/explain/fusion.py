"""Maps of several layers as one, and side by side on one grid."""

import numpy as np
import tensorflow as tf

from fundus_diag.explain.laying import on_grid, reached

SHALLOW = 12  # pixels of the picture from cell to cell; finer layers are shallow
GAMMA = 2.0  # of the shallow layers' scaling, LayerCAM section III-C


def finest(grids):
    """The grid with the most cells: that of fused maps."""
    return max(grids, key=lambda grid: grid.shape)


def fused(layers, grids, inside=None, shallow=True):
    """One map (N, h, w, K) in [0, 1] from several, on the finest of their grids; see `maps`.

    Args:
        layers: maps (N, h, w, K), not below 0, one a layer.
        grids: where their cells stand, `geometry.Grid`s.
        inside: (N, S, S) bool, where pictures show the field of view; None is everywhere. A layer
            is divided by its maximum there; what is higher outside becomes 1, so that it cannot
            outshine at the rim what is inside.
        shallow: whether fine layers are scaled.
    """
    onto, scaled = finest(grids), []
    for one, grid in zip(layers, grids, strict=True):
        # A map without any positive gradient stays zero.
        share = tf.math.divide_no_nan(on_grid(one, grid, onto), _top(one, grid, inside))
        share = tf.minimum(share, 1.0)
        shallow_one = shallow and max(grid.stride) < SHALLOW
        scaled.append(tf.tanh(GAMMA * share) if shallow_one else share)
    return tf.reduce_max(tf.stack(scaled), axis=0)


def _top(maps, grid, inside):
    """The highest value (N, 1, 1, K) of the cells whose middles lie inside the field.

    Where there are none, of those that have a part in it.
    """
    if inside is not None:
        y, x = (
            np.clip(first + np.arange(n) * step, 0, grid.size - 1).astype(int)
            for first, n, step in zip(grid.offset, grid.shape, grid.stride, strict=True)
        )
        counted = tf.gather(tf.gather(inside, y, axis=1), x, axis=2)
        some = tf.reduce_any(counted, axis=(1, 2), keepdims=True)
        maps = tf.where(tf.where(some, counted, reached(inside, grid))[..., None], maps, 0.0)
    return tf.reduce_max(maps, axis=(1, 2), keepdims=True)


def stacked(layers, grids):
    """(N, layers, h, w, K): all maps on the finest of their grids."""
    onto = finest(grids)
    each = [on_grid(one, grid, onto) for one, grid in zip(layers, grids, strict=True)]
    return tf.stack(each, axis=1)
