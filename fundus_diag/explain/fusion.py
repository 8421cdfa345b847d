"""Maps of several layers as one, and side by side on one grid."""

import tensorflow as tf

SHALLOW = 12  # pixels of the picture a cell of the map; finer layers are shallow
GAMMA = 2.0  # of the shallow layers' scaling, LayerCAM section III-C


def fused(layers, size):
    """One map (N, h, w, K) in [0, 1] from several; see `maps`.

    `size`: of the picture, px; infinite where no layer is shallow.
    """
    scaled = []
    for one in layers:
        # A map without any positive gradient stays zero.
        one = tf.math.divide_no_nan(one, tf.reduce_max(one, axis=(1, 2), keepdims=True))
        scaled.append(tf.tanh(GAMMA * one) if size / one.shape[1] < SHALLOW else one)
    return tf.reduce_max(stacked(scaled), axis=1)


def stacked(layers):
    """(N, layers, h, w, K): all maps on the largest of their grids."""
    grid = max((x.shape[1], x.shape[2]) for x in layers)
    return tf.stack([tf.image.resize(x, grid) for x in layers], axis=1)
