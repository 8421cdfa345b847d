"""Recipes: fine-tuning as it is published, and what a flag of its own overrules."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.models.encoders import PRESETS
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.losses import WeightedBinaryCrossentropy
from fundus_diag.training.recipes import RECIPES

HERE = pathlib.Path()


def config(**flags):
    flags = {"weights": "none", "image_size": 32, "schedule": "steps", **flags}
    return TrainConfig(manifest=HERE, image_root=HERE, run_dir=HERE, **flags).resolved()


# Wu et al. 2021, section 4.1; the command in RETFound's repository; Chowdary and Yin 2024.
PUBLISHED = {
    "cvt": {
        "phase2_rate": 2.5e-4, "batch_size": 256, "schedule": "cosine", "weight_decay": 0.05,
        "drop_path": 0.1, "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0, "clip_norm": 0.0,
        "layer_decay": 1.0, "patience": 0,
    },
    "mae": {
        "phase2_rate": 5e-3 * 16 / 256, "phase2_epochs": 50, "batch_size": 16, "warmup": 10 / 50,
        "layer_decay": 0.65, "weight_decay": 0.05, "drop_path": 0.2, "label_smoothing": 0.1,
        "mixup": 0.0, "cutmix": 0.0, "clip_norm": 0.0, "patience": 0,
    },
    "med_former": {
        "phase2_rate": 1e-3, "phase2_epochs": 400, "batch_size": 16, "schedule": "steps",
        "warmup": 0.0, "weight_decay": 0.0, "label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0,
        "patience": 0,
    },
    "se_xception": {"phase1_rate": 1e-3, "phase2_rate": 1e-5, "schedule": "cosine", "dropout": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_recipes_hold_the_published_values(recipe):
    resolved = config(recipe=recipe, schedule=None)
    for name, value in PUBLISHED[recipe].items():
        assert getattr(resolved, name) == pytest.approx(value), name


def test_a_recipe_is_that_of_the_encoder_and_gives_way_to_flags():
    of = {"retfound": "mae", "mae_vit_tiny": "mae", "cvt_13": "cvt", "med_former": "med_former"}
    for encoder, recipe in {**of, "se_xception": "se_xception"}.items():
        assert config(encoder=encoder, weights="file").recipe == recipe
        assert config(encoder=encoder, weights="none").recipe == "scratch"
    assert len({tuple(sorted(r)) for r in RECIPES.values()}) == 1  # the same flags in each
    assert config(recipe="cvt", mixup=0.3).mixup == 0.3
    sizes = {"se_xception": 299, "cvt_w24": 384, "cvt_28": 28, "retfound": 224, "tiny": 224}
    for encoder, size in sizes.items():
        assert config(encoder=encoder, image_size=None).image_size == size
    assert {preset.recipe for preset in PRESETS.values()} <= RECIPES.keys()


def test_smoothed_targets_equal_the_sum_done_by_hand():
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=(5, 3)).astype("float32"), np.array([1.0, 2.0, 5.0])
    y = (rng.random((5, 3)) < 0.5).astype("float32")
    y[1, 2] = np.nan
    got = WeightedBinaryCrossentropy(w, 0.2).call(tf.constant(y), tf.constant(z)).numpy()
    for row in range(5):
        total = 0
        for k in range(3):
            if not np.isnan(y[row, k]):
                t, p = 0.8 * y[row, k] + 0.1, 1 / (1 + np.exp(-z[row, k]))
                total -= w[k] * t * np.log(p) + (1 - t) * np.log(1 - p)
        assert got[row] == pytest.approx(total / 3, rel=1e-4)
