"""The arithmetic of training: which it is, and what of a network stays out of bfloat16."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.training import devices
from fundus_diag.training.devices import at_work
from fundus_diag.utils import mixed_precision
from fundus_diag.utils.mixed_precision import LEFT_ALONE, cpu_has_bfloat16, precision

HALF = 2.0**-9  # largest relative error of a number rounded to bfloat16


def gradients(name, convolve, shape):
    """Of a convolution by its pictures and filters, under a precision."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(8, 16, 16, 16)), tf.float32)
    w = tf.constant(rng.normal(size=shape), tf.float32)

    @tf.function(autograph=False)
    def both(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = convolve(x, w, [1, 1, 1, 1], "SAME")
            loss = tf.reduce_sum(y * y)
        return (y, *tape.gradient(loss, [x, w]))

    with precision(name):
        return [np.asarray(one) for one in both(x, w)]


def error(found, exact):
    return max(
        float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, exact, strict=True)
    )


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="this processor has no bfloat16")
def test_convolutions_of_single_channels_stay_in_float32_and_others_do_not():
    alone = tf.nn.depthwise_conv2d, (3, 3, 16, 1)
    assert error(gradients("bfloat16", *alone), gradients("float32", *alone)) < 1e-5
    whole = tf.nn.conv2d, (3, 3, 16, 32)
    assert error(gradients("bfloat16", *whole), gradients("float32", *whole)) > HALF / 10


@pytest.mark.parametrize("before", [None, "", "Conv2D"])
def test_what_tensorflow_is_told_is_put_back(monkeypatch, before):
    monkeypatch.setattr(mixed_precision, "cpu_has_bfloat16", lambda: True)
    monkeypatch.delenv(LEFT_ALONE, raising=False)
    if before is not None:
        monkeypatch.setenv(LEFT_ALONE, before)
    with precision("bfloat16"):
        said = os.environ[LEFT_ALONE].split(",")
        assert ("Conv2D" in said) == (before == "Conv2D")
        assert "DepthwiseConv2dNativeBackpropFilter" in said
        assert "" not in said
    assert os.environ.get(LEFT_ALONE) == before
    with precision("float32"):
        assert os.environ.get(LEFT_ALONE) == before


@pytest.mark.parametrize(
    ("encoder", "asked", "taken"),
    [
        ("efficientnet_lite2", "auto", "float32"),
        ("efficientnet_lite2", "bfloat16", "bfloat16"),
        ("se_xception", "auto", "bfloat16"),
        ("an_encoder_of_ones_own", "auto", "bfloat16"),
    ],
)
def test_auto_takes_float32_for_networks_that_bfloat16_makes_no_faster(
    monkeypatch, encoder, asked, taken
):
    monkeypatch.setattr(mixed_precision, "cpu_has_bfloat16", lambda: True)
    for module in (mixed_precision, devices):
        monkeypatch.setattr(module, "has_gpu", lambda: False)
    config = SimpleNamespace(precision=asked, encoder=encoder)
    with at_work(config, None) as arithmetic:
        assert arithmetic == taken
    with at_work(config, None, decoder=True) as arithmetic:  # whose convolutions are dense
        assert arithmetic == (asked if asked != "auto" else "bfloat16")
