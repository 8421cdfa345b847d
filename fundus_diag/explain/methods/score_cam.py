"""Score-CAM: how far the logit rises where a picture shows only what a channel sees.

Source: Wang et al. 2020, "Score-CAM", definition 1, https://arxiv.org/abs/1910.01279, with the
`CHANNELS` of a picture that vary most (Faster Score-CAM). The pictures that a channel shows are
predicted once for all labels.

A channel shows the picture where its cells stand (`models.geometry`); tf-keras-vis lays the first
and the last cell on the picture's edges.
"""

import keras
import tensorflow as tf

from fundus_diag.explain.laying import on_grid
from fundus_diag.explain.methods import keras_vis
from fundus_diag.models import geometry
from fundus_diag.utils.kept import kept

CHANNELS = 32
AT_ONCE = 16  # pictures in the network at a time, however many channels there are


def no_pairs(model):
    """Why there is no Score-CAM of a classifier; empty where there is."""
    return "not for runs over two eyes" if isinstance(model.input, dict) else ""


def make(method, model, layers, settings):
    """Raw maps of one layer; see `registry.Method`."""
    if keras_vis.asked_for(settings):
        return keras_vis.make(method, model, layers, settings)
    (layer,), (grid,) = layers, geometry.grids(model, layers)

    def raw(inputs, chosen):
        network = _network(model, layer)
        black = network(tf.zeros_like(inputs[:1]))[0][0]
        weighed = [explain(network, picture, black, grid) for picture in inputs]
        return [tf.gather(tf.stack(weighed), chosen, axis=-1, batch_dims=1)]

    return raw


def explain(network, picture, black, grid):
    """Map of one picture for every logit: (h, w, L) float32, not below 0.

    A channel is weighed by how far the logit rises above that of a black picture: the logit itself
    is below 0 for most labels.

    Args:
        network: pictures (n, S, S, 3) to logits (n, L) and maps (n, h, w, C).
        picture: (S, S, 3).
        black: (L,) logits of a black picture.
        grid: where the cells of the maps stand in the picture, `geometry.Grid`.
    """
    (channels,) = network(picture[None])[1]
    _, varied = tf.math.top_k(tf.math.reduce_std(channels, axis=(0, 1)),
                              min(CHANNELS, channels.shape[-1]))  # fmt: skip
    channels = tf.gather(channels, varied, axis=-1)
    shown = tf.transpose(over_picture(channels, grid), (2, 0, 1))[..., None]
    low, high = (f(shown, axis=(1, 2), keepdims=True) for f in (tf.reduce_min, tf.reduce_max))
    shown = (shown - low) / (high - low + keras.config.epsilon())
    logits = [network(picture * shown[k : k + AT_ONCE])[0] for k in range(0, len(shown), AT_ONCE)]
    rise = tf.concat(logits, axis=0) - black  # (channels, L)
    return tf.nn.relu(tf.tensordot(channels, rise, 1))


def over_picture(channels, grid):
    """Channels (h, w, C) at each pixel of the picture, (S, S, C)."""
    return on_grid(channels[None], grid, geometry.pixels(grid.size))[0]


def _network(model, layer):
    """A compiled function of pictures to logits and the layer's map, float32."""

    def compiled():
        both = keras.Model(model.input, [model.output, model.get_layer(layer).output])
        signature = [tf.TensorSpec(model.input.shape, tf.float32)]

        @tf.function(input_signature=signature, autograph=False)
        def network(pictures):
            return [tf.cast(x, tf.float32) for x in both(pictures, training=False)]

        return network

    return kept(model, ("score_cam", layer), compiled)
