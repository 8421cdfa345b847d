"""LayerCAM and Grad-CAM of several layers and labels, in one graph with one forward pass."""

import functools

import keras
import tensorflow as tf

from fundus_diag.explain.methods import keras_vis
from fundus_diag.explain.methods.layers import has_tokens
from fundus_diag.explain.smoothing import first_component


def make(method, model, layers, settings):
    """Raw maps by "layer_cam" or "grad_cam"; see `registry.Method`.

    Several layers, tokens and `eigen_smooth` go through one graph, a single map by tf-keras-vis.
    """
    eigen = settings.eigen_smooth
    if len(layers) == 1 and not eigen and not has_tokens(model, layers[0]):
        return keras_vis.make(method, model, layers, settings)

    def raw(inputs, chosen):
        return _engine(model, method, tuple(layers), eigen, chosen.shape[1])(inputs, chosen)

    return raw


@functools.lru_cache(maxsize=16)  # a compiled graph for each number of labels
def _engine(model, method, layers, eigen_smooth, count):
    """A compiled function (inputs, chosen (B, count)) to a list of (N, h, w, count), one a layer.

    N is B, or 2 B where the model folds pairs of eyes into the batch.
    """
    network = keras.Model(model.input, [*(model.get_layer(x).output for x in layers), model.output])
    inputs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, tf.float32), model.input)
    # Any number of pictures without another trace, which takes longer than many maps.
    signature = [inputs, tf.TensorSpec((None, count), tf.int32)]

    @tf.function(input_signature=signature, autograph=False)
    def raw(inputs, chosen):
        return raw_maps(network, inputs, chosen, method, eigen_smooth)

    return raw


def raw_maps(network, inputs, chosen, method="layer_cam", eigen_smooth=False):
    """Maps of each layer by itself, in TensorFlow ops: list of (N, h, w, K).

    Args:
        network: model from pictures to [map of each layer .., logits].
        inputs: of the model.
        chosen: (B, K) numbers of logits, or a function of the logits to them; K has to be known.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        *features, logits = network(inputs, training=False)
        chosen = chosen(logits) if callable(chosen) else chosen
        scores = [tf.gather(logits, x, batch_dims=1) for x in tf.unstack(chosen, axis=1)]
    found = [[] for _ in features]
    for score in scores:
        # The sum over pictures: each picture's logit depends on that picture alone.
        slopes = tape.gradient(score, features, unconnected_gradients="zero")
        for layer, (feature, slope) in enumerate(zip(features, slopes, strict=True)):
            found[layer].append(_cam(_laid_out(feature), _laid_out(slope), method, eigen_smooth))
    del tape
    return [tf.stack(one, axis=-1) for one in found]


def _cam(feature, slope, method, eigen_smooth):
    """(N, h, w) from activations and gradients (N, h, w, C)."""
    if method == "layer_cam":
        weights = tf.nn.relu(slope)  # equation 5: every place has its own
    else:
        weights = tf.reduce_mean(slope, axis=(1, 2), keepdims=True)  # equation 1
    weighted = weights * feature
    return tf.nn.relu(first_component(weighted) if eigen_smooth else tf.reduce_sum(weighted, -1))


def _laid_out(x):
    """A map (N, h, w, C) as it is; tokens (N, t, C) as a square map, a class token left out."""
    if len(x.shape) == 4:
        return x
    side = int(x.shape[1] ** 0.5)
    return tf.reshape(x[:, x.shape[1] - side * side :], (-1, side, side, x.shape[2]))
