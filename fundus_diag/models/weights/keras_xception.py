"""ImageNet weights of `keras.applications.Xception` for `se_xception`, as `family.Preset` has them.

The weights are published with Keras (https://keras.io/api/applications/xception/), trained on
ImageNet; layer names are the same but for the four shortcut convolutions, which upstream leaves
unnamed and which are matched in order.
"""

import numpy as np

from fundus_diag.models.family import Published
from fundus_diag.models.weights.h5 import keras_arrays
from fundus_diag.models.weights.keras_networks import IMAGENET, arrays_of, fetched
from fundus_diag.models.weights.strict import fill, own_targets

TITLE = "keras.applications.Xception"
# Of these weights, not of Keras, which is under Apache-2.0: "trained by ourselves and [..] released
# under the MIT license", docs/templates/applications.md of Keras 2. What they were trained on has
# terms of its own.
LICENCE = "MIT"
TERMS = f"{LICENCE}, by Keras's documentation; {IMAGENET}"
SHORTCUT_BLOCKS = ("block2", "block3", "block4", "block13")
OPEN_GATE = 4.0  # bias of a gate's sigmoid: .982, nearly the network without gates


def port_xception(upstream, encoder):
    """Copies every array of Keras's Xception (without top) into `se_xception`, by layer name.

    The gates have no counterpart there. Left at their random start they would halve each branch
    and spoil what was learned; they start open instead and learn from there.

    Raises:
        DataError: an array of either side is left over or has another shape.
    """
    _fill(TITLE, arrays_of(upstream), encoder)


def port_file(path, encoder):
    """The same from the `.h5` file without top that Keras publishes.

    Raises:
        DataError: it cannot be read, or an array of either side is left over or misshapen.
    """
    _fill(path, keras_arrays(path), encoder)


def port_imagenet(encoder):
    """The same from the weights that Keras downloads or has in its cache.

    Raises:
        DataError: they can be had from neither.
    """
    port_xception(fetched("Xception"), encoder)


def _fill(path, source, encoder):
    for count, suffix in ((1, ""), (4, "_bn")):  # a kernel; scale, shift, mean and variance
        unnamed = [n for n, x in source.items() if len(x) == count and not n.startswith("block")]
        if len(unnamed) == len(SHORTCUT_BLOCKS):
            for name, block in zip(unnamed, SHORTCUT_BLOCKS, strict=True):
                source[f"{block}_shortcut{suffix}"] = source.pop(name)
    arrays = {f"{layer}/{i}": a for layer, found in source.items() for i, a in enumerate(found)}
    targets = {k: x for k, x in own_targets(encoder).items() if "_se_" not in k}
    fill(path, f"--encoder {encoder.name}", targets, arrays)
    for layer in encoder.layers:
        if layer.name.endswith("_se_expand"):
            kernel, bias = layer.get_weights()
            layer.set_weights([0.1 * kernel, np.full_like(bias, OPEN_GATE)])


PUBLISHED = Published(TITLE, TERMS, ".h5", port_imagenet, port_file)
