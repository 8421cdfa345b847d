"""Narrow members of CvT and ViT, of the sizes of the goldens, under names of their own."""

import contextlib
import functools
from pathlib import Path

import numpy as np
import pytest

from fundus_diag import models
from fundus_diag.models import cvt, mae_vit

GOLDENS = Path(__file__).parents[1] / "goldens"
SIZE = 64
PRESETS = {
    "cvt_narrow": functools.partial(
        cvt.feature_map, depths=(1, 2, 3), widths=(8, 12, 18), heads=(1, 2, 3)
    ),
    "mae_vit_narrow": functools.partial(mae_vit.feature_map, width=24, depth=3, heads=3),
}


@contextlib.contextmanager
def narrow_presets():
    """`--encoder cvt_narrow` and `mae_vit_narrow` are known inside."""
    with pytest.MonkeyPatch.context() as patch:
        for name, feature_map in PRESETS.items():
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
