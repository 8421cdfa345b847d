"""EfficientNetV2-S as Keras has it.

Sources:
    Tan and Le 2021, "EfficientNetV2", table 4, https://arxiv.org/abs/2104.00298
    https://keras.io/api/applications/efficientnet_v2/, whose layer names these are
"""

import re

from keras import layers

from fundus_diag.models.family import Preset
from fundus_diag.models.keras_network import rebuilt
from fundus_diag.models.weights.keras_networks import published

HEAD = {"hidden": 0}  # as published: pooling, dropout, logits
PUBLISHED = published("EfficientNetV2S", "Apache-2.0")
PRESETS = {"efficientnet_v2_s": Preset(image_size=384, published=PUBLISHED)}
NAMINGS = ()
KERAS_DROP_PATH = 0.2  # the rate towards which Keras's rise from block to block


def feature_map(images, *, drop_path=0.0):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, w, 1280).

    h = w = S / 32, rounded up.

    Args:
        images: Keras tensor.
        drop_path: stochastic depth towards which that of the blocks rises from 0.

    Raises:
        UsageError: the pictures are below 32 px.
    """

    def change(name, configuration):
        if name.endswith("_drop"):
            configuration["rate"] *= drop_path / KERAS_DROP_PATH

    x = layers.Rescaling(1 / 128, offset=-1, dtype="float32", name="normalize")(images)
    return rebuilt("EfficientNetV2S", images, x, change=change)


def cam_layers(names):
    """Layers for class activation maps, one a scale: the ends of stages 1, 2, 3, 5, and the top."""
    ends = {x[:6]: x for x in names if re.fullmatch(r"block\d\w_add", x)}
    return (*(ends[f"block{i}"] for i in (1, 2, 3, 5)), "top_activation")
