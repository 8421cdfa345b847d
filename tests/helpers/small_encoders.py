"""A narrow member of every family of encoders, and what has none."""

import keras
import numpy as np
import pytest

SIZE = 96  # the smallest that upstream takes is 71
# Of each family one preset, narrowed: the contract is about structure, which the others share.
NARROW = {
    "se_xception": {"width": 0.125, "middle_blocks": 1},
    "efficientnet_lite0": {"width": 0.25, "depth": 0.3},
    "cvt_13": {"depths": (1, 1, 2), "widths": (8, 16, 24), "heads": (1, 2, 3)},
    "mae_vit_tiny": {"width": 24, "depth": 3, "heads": 3},
    "med_former": {"width": 8, "heads": 1, "stages": 1},
}
# Keras's own networks have no options: they are as they are, in the longer tests.
WHOLE = {"resnet50": {}, "inception_v3": {}, "efficientnet_v2_s": {}}
OPTIONS = NARROW | WHOLE
# CvT and Med-Former have tests of their own; what they share with all others is in the longer ones.
LONGER = ("cvt_13", "med_former", *WHOLE)
EVERY = [pytest.param(x, marks=pytest.mark.slow if x in LONGER else ()) for x in OPTIONS]


def shake(model):
    """Moves scales and shifts off 1 and 0, so that an array in the wrong place is noticed."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.8, 1.2, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.2, 0.2, layer.beta.shape))
