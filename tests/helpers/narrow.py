"""Narrow members of CvT and ViT, of the sizes of the goldens, under names of their own."""

import contextlib
import functools
from pathlib import Path

import numpy as np
import pytest

from fundus_diag import models
from fundus_diag.models import cvt, encoders, mae_vit
from fundus_diag.models.family import Preset

GOLDENS = Path(__file__).parents[1] / "goldens"
SIZE = 64
PRESETS = {
    "cvt_narrow": Preset(
        {"depths": (1, 2, 3), "widths": (8, 12, 18), "heads": (1, 2, 3)}, recipe="cvt"
    ),
    "mae_vit_narrow": Preset({"width": 24, "depth": 3, "heads": 3}, recipe="mae"),
}


@contextlib.contextmanager
def narrow_presets():
    """`--encoder cvt_narrow` and `mae_vit_narrow` are known inside."""
    with pytest.MonkeyPatch.context() as patch:
        for (name, preset), family in zip(PRESETS.items(), (cvt, mae_vit), strict=True):
            patch.setitem(encoders.PRESETS, name, preset)
            feature_map = functools.partial(family.feature_map, **preset.options)
            patch.setitem(models.FEATURE_MAPS, name, feature_map)
            build = functools.partial(models.build_encoder, name)
            patch.setitem(models.ENCODERS, name, build)
        yield


def golden(name):
    """({name: array} of a golden, its state dict)."""
    with np.load(GOLDENS / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file}
    state = {k.removeprefix("state/"): arrays.pop(k) for k in list(arrays) if k[:6] == "state/"}
    return arrays, state


def perturbed(encoder, seed=0):
    """The encoder, every weight moved at random, so that no two arrays are alike."""
    rng = np.random.default_rng(seed)
    for layer in encoder.layers:
        layer.set_weights([x + rng.uniform(0.01, 0.1, x.shape) for x in layer.get_weights()])
    return encoder
