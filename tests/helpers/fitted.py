"""A classifier of `tiny` that is fitted on a batch, and what BatchNorm holds of it."""

import pathlib

import keras
import numpy as np
import tiny  # noqa: F401  (adds the encoder of that name)

from fundus_diag.models import build_classifier
from fundus_diag.training import phases
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.losses import WeightedBinaryCrossentropy


def config(**flags):
    here = pathlib.Path()
    flags = {"weights": "none", "image_size": 32, "weight_decay": 0.01, **flags}
    return TrainConfig(manifest=here, image_root=here, run_dir=here, **flags).resolved()


def network(name="tiny", **options):
    keras.utils.set_random_seed(0)
    return build_classifier(name, 32, 3, hidden=16, **options)


def a_batch():
    """Pictures (8, 32, 32, 3) and labels (8, 3)."""
    rng = np.random.default_rng(0)
    y = (rng.random((8, 3)) < 0.5).astype("float32")
    return rng.uniform(0, 255, (8, 32, 32, 3)).astype("float32"), y


def fit(model, phase, batch, pretrained, steps=3, **flags):
    loss = WeightedBinaryCrossentropy(np.ones(3))
    flags = {"phase1_epochs": steps, "phase2_epochs": steps, **flags}
    phases.compile_phase(model, phase, config(**flags), loss, 1, pretrained)
    model.fit(*batch, batch_size=8, epochs=steps, verbose=0)


def statistics(model):
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    return [v.numpy() for x in norms for v in (x.moving_mean, x.moving_variance)]
