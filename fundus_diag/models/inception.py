"""Inception-v3 as Keras has it.

Sources:
    Szegedy et al. 2015, "Rethinking the Inception Architecture", table 1,
    https://arxiv.org/abs/1512.00567
    https://keras.io/api/applications/inceptionv3/

Keras numbers most of its layers and names the ends of its blocks `mixed0` to `mixed10`; here a
layer is called by its block and its number: `mixed3.conv2d_26`.
"""

import re

from keras import layers

from fundus_diag.models.family import Preset
from fundus_diag.models.keras_network import rebuilt
from fundus_diag.models.weights.keras_networks import published

HEAD = {"hidden": 512}
CONVOLUTIONS = (5, 7, 7, 7, 4, 10, 10, 10, 10, 6, 9, 9)  # of the stem, and of blocks 0 to 10
BLOCKS = ("stem", *(f"mixed{i}" for i in range(11)))


def renamed(names):
    """{Keras's name: ours} of the layers that Keras numbers, as many as the process has made."""
    found = {}
    for kind in ("conv2d", "batch_normalization", "activation"):
        alike = [x for x in names if re.fullmatch(rf"{kind}(_\d+)?", x)]
        alike.sort(key=lambda x: int(re.search(r"(?:_(\d+))?$", x)[1] or 0))
        blocks = (block for block, n in zip(BLOCKS, CONVOLUTIONS, strict=True) for _ in range(n))
        for i, (name, block) in enumerate(zip(alike, blocks, strict=False)):
            found[name] = f"{block}.{kind}_{i}"
    for kind in ("max_pooling2d", "average_pooling2d", "concatenate"):
        alike = [x for x in names if re.fullmatch(rf"{kind}(_\d+)?", x)]
        found |= {name: f"{kind}_{i}" for i, name in enumerate(alike)}
    return found


PUBLISHED = published("InceptionV3", "Apache-2.0", renamed)
PRESETS = {"inception_v3": Preset(image_size=299, published=PUBLISHED)}
NAMINGS = ()


def feature_map(images):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, w, 2048).

    h = w = 8 at 299 px.

    Raises:
        UsageError: the pictures are below 75 px.
    """
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="normalize")(images)
    return rebuilt("InceptionV3", images, x, renamed, least=75)


def cam_layers(names):
    """Layers for class activation maps, one a scale: two of the stem, the last block of each."""
    stem = [x for x in names if x.startswith("stem.activation")]
    return (stem[2], stem[4], "mixed2", "mixed7", "mixed10")
