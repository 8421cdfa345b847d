"""The optimizer's own rate and decay for every variable, and its steps."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_encoders import NARROW

from fundus_diag.models import build_classifier
from fundus_diag.models.classifier import block_of
from fundus_diag.training import phases
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.losses import WeightedBinaryCrossentropy
from fundus_diag.training.optimizers import TenthSteps, layer_rates

HERE = pathlib.Path()


def config(**flags):
    flags = {"weights": "none", "image_size": 32, "schedule": "steps", **flags}
    return TrainConfig(manifest=HERE, image_root=HERE, run_dir=HERE, **flags).resolved()


def compiled(name, unit="eye", steps=1, **flags):
    keras.utils.set_random_seed(0)
    model = build_classifier(name, 32, 2, unit=unit, **NARROW[name])
    loss = WeightedBinaryCrossentropy(np.ones(2))
    phases.compile_phase(model, 2, config(**flags), loss, steps, pretrained=False)
    return model


def moves(model, gradient):
    """{path: change of each variable} by one step along a gradient of one value everywhere."""
    before = [v.numpy() for v in model.trainable_variables]
    model.optimizer.apply([tf.fill(v.shape, gradient) for v in model.trainable_variables])
    return {v.path: v.numpy() - a for v, a in zip(model.trainable_variables, before, strict=True)}


def test_each_layer_of_a_vit_moves_at_its_own_rate():
    flags = {"layer_decay": 0.5, "weight_decay": 0.0, "phase2_rate": 1e-3, "phase2_epochs": 4}
    # The first step of Adam moves every weight by the rate itself.
    moved = moves(compiled("mae_vit_tiny", clip_norm=0, warmup=0, **flags), 1.0)
    want = {"head": 1, "blocks.2": 0.5, "blocks.1": 0.25, "blocks.0": 0.125, "embed": 0.0625}
    seen = set()
    for path, change in moved.items():
        block = block_of(path.split("/")[0])
        np.testing.assert_allclose(change, -1e-3 * want[block], rtol=1e-3, err_msg=path)
        seen.add(block)
    assert seen == set(want)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("cvt_13", ["stage2.blocks.1", "stage2.blocks.0", "stage2", "stage1.blocks.0", "stage1",
                    "stage0.blocks.0", "stage0"]),
        ("se_xception", ["block14", "block13", "block5", "block4", "block3", "block2", "block1"]),
    ],
)  # fmt: skip
def test_rates_fall_from_block_to_block_in_every_family(name, blocks):
    model = build_classifier(name, 32, 2, **NARROW[name])
    rates = layer_rates(model, 0.75)
    assert {v.path for v in model.trainable_variables} <= rates.keys()
    for path, rate in rates.items():
        block = block_of(path.split("/")[0])
        power = 0 if block == "head" else 1 + blocks.index(block)
        assert rate == pytest.approx(0.75**power), path


def test_kernels_decay_at_their_own_rate_and_nothing_else_does():
    flags = {"layer_decay": 0.5, "weight_decay": 0.1, "phase2_rate": 1e-2, "phase2_epochs": 4}
    model = compiled("mae_vit_tiny", clip_norm=0, warmup=0, **flags)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    rates = layer_rates(model, 0.5)
    decayed = set()
    for path, change in moves(model, 0.0).items():  # no gradient: only the decay moves
        kernel = path.endswith("kernel")
        want = -before[path] * 1e-2 * rates[path] * 0.1 if kernel else 0
        np.testing.assert_allclose(change, want, atol=2e-8, err_msg=path)
        decayed |= {path.split("/")[-1]} if kernel else set()
    assert decayed == {"kernel"}
    spared = {p.split("/")[-1] for p in before} - decayed
    assert spared == {"bias", "gamma", "beta", "token", "embedding"}


def test_separable_kernels_decay_too():
    model = compiled("se_xception", weight_decay=0.1, clip_norm=0)
    optimizer = model.optimizer
    decays = dict(zip((v.path for v in model.trainable_variables), optimizer._decays, strict=True))
    assert decays["block5_sepconv1/depthwise_kernel"] == 0.1
    assert decays["block5_sepconv1/pointwise_kernel"] == 0.1
    assert decays["block5_sepconv1_bn/gamma"] == 0


def test_the_rate_falls_by_a_tenth_after_each_quarter():
    model = compiled("mae_vit_tiny", steps=5, phase2_epochs=8, phase2_rate=1e-3, warmup=0)
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(40)]
    np.testing.assert_allclose(rates, np.repeat([1e-3, 1e-4, 1e-5, 1e-6], 10), rtol=1e-5)


@pytest.mark.parametrize(("warmup", "total"), [(0, 2), (4, 40), (3, 5)])
def test_steps_have_their_tenths_whatever_the_length_and_the_warm_up(warmup, total):
    schedule = TenthSteps(0.5, total, warmup)
    for step in range(total):
        want = 0.5 * 0.1 ** (step * 4 // total) * (min(step / warmup, 1) if warmup else 1)
        assert float(schedule(step)) == pytest.approx(want, rel=1e-5)
