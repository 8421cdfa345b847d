"""Class activation maps by tf-keras-vis, a layer and a label at a time.

With `--engine tf_keras_vis`, or `explain.maps(.., engine="tf_keras_vis")`; and what the graphs of
`gradients` and `score_cam` are tested against. The library normalises and resizes by itself, and
its Score-CAM takes the softmax of whatever the model puts out. Here it is asked for raw maps of
logits. It is several times slower; its Grad-CAM++ is no number at logits beyond about 88.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from fundus_diag.explain.methods.layers import has_tokens
from fundus_diag.utils.errors import UsageError

CHANNELS = 32  # of Score-CAM; of several pictures at once all that vary most in any of them
SCALE = 16.0  # Score-CAM's logits are divided by it: a softmax of 0 and 100 has lost the 0


def asked_for(settings):
    """Whether the maps shall come from the library.

    Raises:
        UsageError: there is no such engine.
    """
    if settings.engine not in ("own", "tf_keras_vis"):
        raise UsageError(f"engine {settings.engine!r}: there are own, tf_keras_vis")
    return settings.engine == "tf_keras_vis"


def make(method, model, layers, settings):
    """Raw maps by any of the library's methods; see `registry.Method`.

    Raises:
        UsageError: what the library does not have.
    """
    tokens = [x for x in layers if has_tokens(model, x)]
    if tokens:  # which it would take for a picture
        raise UsageError(f"--engine tf_keras_vis: {tokens[0]} has tokens, not a map")
    if settings.eigen_smooth:
        raise UsageError("--engine tf_keras_vis: has no --eigen-smooth")
    by_name = {"score_cam": _score_cam}
    one = by_name.get(method) or functools.partial(_gradient_cam, method)

    def raw(inputs, chosen):
        chosen = np.asarray(chosen)
        # A pair is two maps a logit, which the library's Grad-CAM++ cannot match but one by one.
        step = 1 if isinstance(inputs, dict) else len(chosen)
        found = []
        for layer in layers:
            parts = []
            for start in range(0, len(chosen), step):
                rows = slice(start, start + step)
                seeds = [x[rows] for x in tf.nest.flatten(inputs)]  # a dict in the model's order
                columns = [one(model, layer, seeds, column) for column in chosen[rows].T]
                parts.append(np.stack(columns, axis=-1))
            found.append(np.concatenate(parts))
        return found

    return raw


def _gradient_cam(method, model, layer, seeds, labels):
    """(N, h, w) maps of each row's label."""
    # Slow to import, and only needed here.
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam

    kinds = {"layer_cam": Layercam, "grad_cam": Gradcam, "grad_cam_pp": GradcamPlusPlus}
    return np.asarray(
        kinds[method](model)(
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
    """(N, h, w) maps of each row's label; see `score_cam`."""
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


def _against_zero(model, label):
    """The model with outputs (N, 2): one scaled logit, and 0, whose softmax has lost nothing."""
    logit = model.output[:, label] / SCALE
    pair = keras.Model(model.input, ops.stack([logit, ops.zeros_like(logit)], axis=-1))
    predict = pair.predict
    # The library hands over a list even of one input, and leaves Keras's progress bar on.
    pair.predict = lambda x, **options: predict(x[0], verbose=0, **options)
    return pair


def _logit(probabilities):
    """The logit that `_against_zero` was made of, from its softmax (N, 2)."""
    return SCALE * (tf.math.log(probabilities[:, 0]) - tf.math.log(probabilities[:, 1]))
