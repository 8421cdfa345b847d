"""LayerCAM, Grad-CAM and Grad-CAM++ of all layers and labels, in one graph with one forward pass.

Sources, beside those of `explainer`:
    Chattopadhay et al. 2018, "Grad-CAM++", equations 10 and 19, https://arxiv.org/abs/1710.11063
"""

import keras
import tensorflow as tf

from fundus_diag.explain.methods import keras_vis
from fundus_diag.explain.smoothing import first_component
from fundus_diag.utils.kept import kept

SATURATED = 40.0  # logits of which the exponential, and a sum of them, is far from float32's ends


def make(method, model, layers, settings):
    """Raw maps by "layer_cam", "grad_cam" or "grad_cam_pp"; see `registry.Method`."""
    if keras_vis.asked_for(settings):
        return keras_vis.make(method, model, layers, settings)

    def raw(inputs, chosen):
        return _engine(model, method, tuple(layers), settings.eigen_smooth, chosen.shape[1])(
            inputs, chosen
        )

    return raw


def _engine(model, method, layers, eigen_smooth, count):
    """A compiled function (inputs, chosen (B, count)) to a list of (N, h, w, count), one a layer.

    N is B, or 2 B where the model folds pairs of eyes into the batch.
    """

    def compiled():
        outputs = [*(model.get_layer(x).output for x in layers), model.output]
        network = keras.Model(model.input, outputs)
        inputs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, tf.float32), model.input)
        # Any number of pictures without another trace, which takes longer than many maps.
        signature = [inputs, tf.TensorSpec((None, count), tf.int32)]

        @tf.function(input_signature=signature, autograph=False)
        def raw(inputs, chosen):
            return raw_maps(network, inputs, chosen, method, eigen_smooth)

        return raw

    return kept(model, ("gradients", method, layers, eigen_smooth, count), compiled)


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
            # Where the network computes in half precision, sums over places and channels do not.
            feature, slope = (tf.cast(_laid_out(x), tf.float32) for x in (feature, slope))
            found[layer].append(_cam(feature, slope, score, method, eigen_smooth))
    del tape
    return [tf.stack(one, axis=-1) for one in found]


def _cam(feature, slope, score, method, eigen_smooth):
    """(N, h, w) from activations and gradients (N, h, w, C), and the logits (B,)."""
    if method == "layer_cam":
        weights = tf.nn.relu(slope)  # equation 5: every place has its own
    elif method == "grad_cam":
        weights = tf.reduce_mean(slope, axis=(1, 2), keepdims=True)  # equation 1
    else:
        weights = _plus_plus(feature, slope, score)
    weighted = weights * feature
    return tf.nn.relu(first_component(weighted) if eigen_smooth else tf.reduce_sum(weighted, -1))


def _plus_plus(feature, slope, score):
    """Weights (N, 1, 1, C) of Grad-CAM++ for a score that is the exponential of the logit.

    Its derivatives are exp(logit) times powers of the slope, so that in equation 19 the exponential
    cancels out; as a factor of the whole map it is held within `SATURATED`.
    """
    whole = tf.reduce_sum(feature, axis=(1, 2), keepdims=True)
    shares = tf.math.divide_no_nan(slope**2, 2 * slope**2 + slope**3 * whole)
    shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares, axis=(1, 2), keepdims=True))
    rise = tf.exp(tf.clip_by_value(tf.cast(score, tf.float32), -SATURATED, SATURATED))
    rise = tf.repeat(rise, tf.shape(slope)[0] // tf.shape(rise)[0])[:, None, None, None]
    return rise * tf.reduce_sum(shares * tf.nn.relu(slope), axis=(1, 2), keepdims=True)


def _laid_out(x):
    """A map (N, h, w, C) as it is; tokens (N, t, C) as a square map, a class token left out."""
    if len(x.shape) == 4:
        return x
    side = int(x.shape[1] ** 0.5)
    return tf.reshape(x[:, x.shape[1] - side * side :], (-1, side, side, x.shape[2]))
