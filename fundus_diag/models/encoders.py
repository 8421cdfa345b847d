"""Encoders by name, out of the files of their families.

A family is one file of this folder and one entry of the list below. The file has

- `feature_map(images, **options)`: the network, from pictures (B, S, S, 3), RGB in [0, 255], to a
  feature map (B, h, w, C), both Keras tensors. Its layers are named after the block that they are
  of, as `classifier.block_of` reads it;
- `PRESETS`: {name: `family.Preset`}, the encoders: their options, picture size, recipe, weights;
- `HEAD`: what it is fine-tuned with: units of a dense layer as `hidden`, epsilon of a LayerNorm
  before it as `norm`, `options` of the feature map in a classifier;
- `cam_layers(names)`: of the network's layers, those whose class activation maps are shown;
- `NAMINGS`: `family.Naming`s, as other programs publish its weights.

`ENCODERS[name](image_size, **options)` is the feature map as a `keras.Model`;
`classifier.build_classifier` calls it on its own input, so that the classifier is one flat
functional model in which every layer can be reached (class activation maps cannot look into nested
models). An encoder may also be added to `FEATURE_MAPS` alone: all else then has its default.
"""

import functools
import inspect

import keras

from fundus_diag.models import (
    cvt,
    efficientnet_lite,
    efficientnet_v2,
    inception,
    mae_vit,
    med_former,
    resnet,
    se_xception,
)
from fundus_diag.models.family import Preset
from fundus_diag.models.layers.preprocessing import LARGEST, SMALLEST
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.keras_settings import layout

FAMILIES = []
PRESETS, FEATURE_MAPS, CAM_LAYERS, HEADS, ENCODERS = {}, {}, {}, {}, {}


def add_family(module):
    """Makes the encoders of a family known by their names."""
    FAMILIES.append(module)
    for name, preset in module.PRESETS.items():
        PRESETS[name] = preset
        FEATURE_MAPS[name] = functools.partial(module.feature_map, **preset.options)
        CAM_LAYERS[name] = module.cam_layers
        HEADS[name] = module.HEAD
        ENCODERS[name] = functools.partial(build_encoder, name)


@layout()
def build_encoder(name, image_size, **options):
    """Model from pictures (B, image_size, image_size, 3), RGB in [0, 255], to (B, h, w, C).

    Raises:
        UsageError: unknown name, or a size that the encoder cannot take.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    return keras.Model(images, feature_map(name, images, image_size, options), name=name)


def preset_of(name):
    """The `Preset` of an encoder, with all defaults where none describes it."""
    return PRESETS.get(name, Preset())


def members(module):
    """Names of the encoders whose feature map is a family's."""
    made = {name: getattr(x, "func", x) for name, x in FEATURE_MAPS.items()}
    return [name for name, function in made.items() if function is module.feature_map]


def defaults(name):
    """{option: default} of an encoder's feature map.

    Raises:
        UsageError: unknown name.
    """
    if name not in FEATURE_MAPS:
        raise UsageError(f"--encoder {name}: unknown; there are {', '.join(FEATURE_MAPS)}")
    parameters = inspect.signature(FEATURE_MAPS[name]).parameters
    return {k: x.default for k, x in parameters.items() if k != "images"}


def has_option(name, option):
    """Whether an encoder's feature map takes an option of this name."""
    return option in defaults(name)


def feature_map(name, images, image_size, options):
    known = defaults(name)
    for option in options:
        if option not in known:
            raise UsageError(f"{option}: --encoder {name} has no such option")
    if not SMALLEST <= image_size <= LARGEST:
        raise UsageError(f"--image-size {image_size}: must lie from {SMALLEST} to {LARGEST} px")
    return FEATURE_MAPS[name](images, **options)


for _module in (
    se_xception,
    efficientnet_lite,
    resnet,
    inception,
    efficientnet_v2,
    cvt,
    mae_vit,
    med_former,
):
    add_family(_module)
