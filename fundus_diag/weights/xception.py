"""ImageNet weights of `keras.applications.Xception` for `se_xception`.

The weights are published with Keras (https://keras.io/api/applications/xception/), trained on
ImageNet; layer names are the same but for the four shortcut convolutions, which upstream leaves
unnamed and which are matched in order.
"""

import keras
import numpy as np

from fundus_diag.errors import DataError

SHORTCUT_BLOCKS = ("block2", "block3", "block4", "block13")
OPEN_GATE = 4.0  # bias of a gate's sigmoid: .982, nearly the network without gates


def port_xception(upstream, encoder):
    """Copies every array of Keras's Xception (without top) into `se_xception`, by layer name.

    The gates have no counterpart there. Left at their random start they would halve each branch
    and spoil what was learned; they start open instead and learn from there.

    Raises:
        ValueError: an array of either side is left over or has another shape.
    """
    source = {x.name: x for x in upstream.layers if x.weights}
    for kind, suffix in ((keras.layers.Conv2D, ""), (keras.layers.BatchNormalization, "_bn")):
        unnamed = [n for n, x in source.items() if type(x) is kind and not n.startswith("block")]
        for name, block in zip(unnamed, SHORTCUT_BLOCKS, strict=True):
            source[f"{block}_shortcut{suffix}"] = source.pop(name)
    target = {x.name: x for x in encoder.layers if x.weights and "_se_" not in x.name}
    if source.keys() != target.keys():
        raise ValueError(f"layers differ: {sorted(source.keys() ^ target.keys())}")
    for name, layer in target.items():
        layer.set_weights(source[name].get_weights())
    for layer in encoder.layers:
        if layer.name.endswith("_se_expand"):
            kernel, bias = layer.get_weights()
            layer.set_weights([0.1 * kernel, np.full_like(bias, OPEN_GATE)])


def imagenet_xception():
    """Keras's Xception without top with its ImageNet weights, downloaded by Keras or cached."""
    try:
        return keras.applications.Xception(weights="imagenet", include_top=False)
    except Exception as error:  # Keras raises a bare Exception when the download fails
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            "--weights imagenet: the weights could not be fetched and are not in Keras's cache "
            f"({reason}); give the file with --weights FILE, or train with --weights none"
        ) from error


def xception_from_file(path):
    """Keras's Xception without top with the weights of the `.h5` file that Keras publishes."""
    model = keras.applications.Xception(weights=None, include_top=False)
    model.load_weights(path)
    return model
