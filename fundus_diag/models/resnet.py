"""ResNet-50 as Keras has it.

Sources:
    He et al. 2015, "Deep Residual Learning", table 1, https://arxiv.org/abs/1512.03385
    https://keras.io/api/applications/resnet/, whose layer names these are
"""

import re

from keras import layers

from fundus_diag.models.family import Preset
from fundus_diag.models.keras_network import rebuilt
from fundus_diag.models.weights.keras_networks import published

HEAD = {"hidden": 512}
# Keras's weights are Caffe's, which reads BGR.
PUBLISHED = published("ResNet50", "MIT", mirrored=("conv1_conv",))
PRESETS = {"resnet50": Preset(image_size=224, published=PUBLISHED)}
NAMINGS = ()
MEAN = (123.68, 116.779, 103.939)  # of ImageNet's RGB, taken from every pixel


def feature_map(images):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, w, 2048).

    h = w = S / 32, rounded up.

    Raises:
        UsageError: the pictures are below 32 px.
    """
    x = layers.Normalization(mean=MEAN, variance=(1.0,) * 3, dtype="float32", name="normalize")
    return rebuilt("ResNet50", images, x(images))


def cam_layers(names):
    """Layers for class activation maps, one a scale: the first, and what each stage gives."""
    ends = {x.split("_")[0]: x for x in names if re.fullmatch(r"conv\d_block\d_out", x)}
    return ("conv1_relu", *ends.values())
