"""A ViT small enough to pretrain in seconds: one block, 24 channels, patches of 8 px.

Run as a program it is `fundus-diag` with the encoder `narrow_vit` added.
"""

import functools
import sys

from tiny import command, main

from fundus_diag import models
from fundus_diag.models import mae_vit

NAME = "narrow_vit"
SETTINGS = {"width": 24, "depth": 1, "heads": 2, "patch": 8}


def register(set_item):
    """Adds the encoder; `set_item(dict, key, value)` may be one that takes it back later."""
    set_item(models.FEATURE_MAPS, NAME, functools.partial(mae_vit.feature_map, **SETTINGS))
    set_item(models.HEADS, NAME, mae_vit.HEAD)
    set_item(models.CAM_LAYERS, NAME, mae_vit.cam_layers)


def pretrain_flags(manifest, run_dir, **flags):
    """Arguments of a pretraining that takes seconds."""
    defaults = {
        "encoder": NAME,
        "image_size": 32,
        "decoder_depth": 1,
        "decoder_width": 32,
        "batch_size": 8,
        "epochs": 2,
        "warmup_epochs": 1,
        "rate": 1.5e-3,
        "precision": "float32",
    }
    return command("pretrain", manifest, run_dir, {**defaults, **flags})


if __name__ == "__main__":
    register(lambda table, key, value: table.__setitem__(key, value))
    sys.exit(main(sys.argv[1:]))
