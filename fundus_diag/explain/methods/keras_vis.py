"""Class activation maps of one layer, computed by tf-keras-vis.

The library normalises and resizes by itself, and its Score-CAM takes the softmax of whatever the
model puts out. Here it is asked for raw maps of logits.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

CHANNELS = 32  # of Score-CAM: those that vary most (Faster Score-CAM)


def no_pairs(model):
    """Why there is no Score-CAM of a classifier; empty where there is."""
    return "not for runs over two eyes" if isinstance(model.input, dict) else ""


def make(method, model, layers, settings):
    """Raw maps of one layer by any of the library's methods; see `registry.Method`."""
    (layer,) = layers
    if method == "score_cam":
        explain = functools.partial(_score_cam, model, layer)
    else:
        explain = functools.partial(_gradient_cam, _visualizer(model, method), layer)

    def raw(inputs, chosen):
        chosen = np.asarray(chosen)
        # A pair is two maps a logit, which the library's Grad-CAM++ cannot match but one by one.
        step = 1 if isinstance(inputs, dict) else len(chosen)
        found = []
        for start in range(0, len(chosen), step):
            rows = slice(start, start + step)
            seeds = [x[rows] for x in tf.nest.flatten(inputs)]  # a dict in the model's own order
            columns = [explain(seeds, column) for column in chosen[rows].T]
            found.append(np.stack(columns, axis=-1))
        return [np.concatenate(found)]

    return raw


@functools.lru_cache(maxsize=4)
def _visualizer(model, method):
    # Slow to import, and only needed here.
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam

    kinds = {"layer_cam": Layercam, "grad_cam": Gradcam, "grad_cam_pp": GradcamPlusPlus}
    return kinds[method](model)


def _gradient_cam(visualizer, layer, seeds, labels):
    """(N, h, w) maps of each row's label."""
    return np.asarray(
        visualizer(
            lambda logits: tf.gather(logits, labels, batch_dims=1),
            seeds,
            penultimate_layer=layer,
            seek_penultimate_conv_layer=False,
            expand_cam=False,
            normalize_cam=False,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
    )


def _score_cam(model, layer, seeds, labels):
    """(N, h, w) maps of each row's label.

    A channel is weighed by how far the logit rises above that of a black picture (Wang et al. 2020,
    definition 1, https://arxiv.org/abs/1910.01279): the logit itself is below 0 for most labels.
    """
    from tf_keras_vis.scorecam import Scorecam

    black = model(tf.zeros((1, *model.input.shape[1:])))[0]
    grid = model.get_layer(layer).output.shape[1:]
    found = np.zeros((len(labels), *grid[:2]), np.float32)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        maps = Scorecam(_against_zero(model, int(label)))(
            lambda p, label=label: _logit(p) - black[label],
            [tf.gather(x, rows) for x in seeds],
            penultimate_layer=layer,
            seek_penultimate_conv_layer=False,
            max_N=min(CHANNELS, grid[2]),
            expand_cam=False,
            normalize_cam=False,
        )
        found[rows] = np.asarray(maps)
    return found


@functools.lru_cache(maxsize=16)
def _against_zero(model, label):
    """The model with outputs (N, 2): one logit, and 0. Their softmax has lost nothing of it."""
    logit = model.output[:, label]
    pair = keras.Model(model.input, ops.stack([logit, ops.zeros_like(logit)], axis=-1))
    predict = pair.predict
    # The library hands over a list even of one input, and leaves Keras's progress bar on.
    pair.predict = lambda x, **options: predict(x[0], verbose=0, **options)
    return pair


def _logit(probabilities):
    """The logit that `_against_zero` was made of, from its softmax (N, 2)."""
    return tf.math.log(probabilities[:, 0]) - tf.math.log(probabilities[:, 1])
