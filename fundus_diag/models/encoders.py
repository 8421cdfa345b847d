"""Encoders by name.

An encoder is described by a function from pictures to a feature map, both Keras tensors:
`FEATURE_MAPS[name](images, **options)`. `ENCODERS[name](image_size, **options)` wraps it as a
`keras.Model`; `classifier.build_classifier` calls it on its own input, so that the classifier is
one flat functional model in which every layer can be reached (class activation maps cannot look
into nested models).
"""

import functools
import inspect

import keras

from fundus_diag.models import cvt, mae_vit, med_former, se_xception
from fundus_diag.models.layers.preprocessing import LARGEST, SMALLEST
from fundus_diag.utils.errors import UsageError

# Presets of each family: a module with the feature map, its layers for class activation maps
# (`cam_layers`) and the head that it is fine-tuned with (`HEAD`).
_FAMILIES = {
    se_xception: {
        "se_xception": {},
        # For small pictures and quick runs: a quarter of the channels, two middle blocks.
        "se_xception_small": {"width": 0.25, "middle_blocks": 2},
    },
    cvt: {
        "cvt_13": {},
        "cvt_21": {"depths": (1, 4, 16)},
        "cvt_w24": {"depths": (2, 2, 20), "widths": (192, 768, 1024), "heads": (3, 12, 16)},
        # For pictures of about 28 px: the first embedding is 3 x 3 at stride 2, as the others are,
        # so the stages see 14, 7 and 4 cells a side; half of CvT-13's blocks and channels.
        "cvt_28": {
            "depths": (1, 2, 4),
            "widths": (32, 96, 192),
            "heads": (1, 3, 6),
            "patches": ((3, 2, 1),) * 3,
        },
    },
    mae_vit: {
        "mae_vit_tiny": {"width": 192, "heads": 3},
        "mae_vit_small": {"width": 384, "heads": 6},
        "mae_vit_base": {},
        "mae_vit_large": {"width": 1024, "depth": 24, "heads": 16},
        "retfound": {"width": 1024, "depth": 24, "heads": 16},
    },
    med_former: {"med_former": {}},
}
_MODULES = {name: module for module, presets in _FAMILIES.items() for name in presets}
FEATURE_MAPS = {
    name: functools.partial(module.feature_map, **_FAMILIES[module][name])
    for name, module in _MODULES.items()
}
CAM_LAYERS = {name: module.cam_layers for name, module in _MODULES.items()}
HEADS = {name: module.HEAD for name, module in _MODULES.items()}


def build_encoder(name, image_size, **options):
    """Model from pictures (B, image_size, image_size, 3), RGB in [0, 255], to (B, h, w, C).

    Raises:
        UsageError: unknown name, or a size that the encoder cannot take.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    return keras.Model(images, feature_map(name, images, image_size, options), name=name)


ENCODERS = {name: functools.partial(build_encoder, name) for name in FEATURE_MAPS}


def has_option(encoder, option):
    """Whether an encoder's feature map takes an option of this name."""
    known = FEATURE_MAPS.get(encoder)
    return known is not None and option in inspect.signature(known).parameters


def feature_map(name, images, image_size, options):
    if name not in FEATURE_MAPS:
        raise UsageError(f"--encoder {name}: unknown; there are {', '.join(FEATURE_MAPS)}")
    known = inspect.signature(FEATURE_MAPS[name]).parameters
    for option in options:
        if option not in known:
            raise UsageError(f"{option}: --encoder {name} has no such option")
    if not SMALLEST <= image_size <= LARGEST:
        raise UsageError(f"--image-size {image_size}: must lie from {SMALLEST} to {LARGEST} px")
    return FEATURE_MAPS[name](images, **options)
