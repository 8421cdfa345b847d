"""Parts that decoders share: from the maps of an encoder back to the size of the picture."""

import math

import keras
from keras import layers, ops

from fundus_diag.utils.errors import UsageError


def scales(network, names):
    """One map a scale of an encoder, fine to coarse: [(B, h, w, C)], Keras tensors.

    Args:
        network: functional Keras model from pictures to a map, its last output.
        names: of its layers, the encoder's `cam_layers`; of several as large the last counts.

    Raises:
        UsageError: the encoder has fewer than two scales, or its layers give tokens.
    """
    found = {}
    for tensor in (*(network.get_layer(x).output for x in names), network.output):
        if len(tensor.shape) == 4:
            found[tensor.shape[1]] = tensor
    if len(found) < 2:
        raise UsageError(
            f"--encoder {network.name}: has maps of one size alone; --network unetr reads mae_vit_*"
        )
    return [found[side] for side in sorted(found, reverse=True)]


@keras.saving.register_keras_serializable("fundus_diag")
class ClassOfPixels(layers.Layer):
    """Logits (B, S, S, K) of pixels to one a class, (B, K): the mean over the pixels of the class.

    Source: Vinogradova et al. 2020, "Towards Interpretable Semantic Segmentation via
    Gradient-weighted Class Activation Mapping", equation 2, https://arxiv.org/abs/2002.11434.
    """

    def shares(self, logits):
        """Shares (B, S, S, K) of the pixels, with sum 1: alike of those whose logit is not below 0.

        Where a class has none, each as its probability is.
        """
        called = ops.cast(logits >= 0, logits.dtype)
        there = ops.sum(called, axis=(1, 2), keepdims=True) > 0
        found = ops.where(there, called, ops.sigmoid(logits))
        return ops.stop_gradient(found / ops.sum(found, axis=(1, 2), keepdims=True))

    def call(self, logits):
        return ops.sum(self.shares(logits) * logits, axis=(1, 2))

    def compute_output_shape(self, shape):
        return (shape[0], shape[3])


def convolutions(x, channels, *, count=2, name):
    """`count` times a convolution 3 x 3 with BatchNorm and ReLU, layers `<name>.conv1`, .."""
    for j in range(1, count + 1):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}.conv{j}")(x)
        x = layers.BatchNormalization(name=f"{name}.bn{j}")(x)
        x = layers.ReLU(name=f"{name}.bn{j}_act")(x)
    return x


def doubled(x, channels, *, name):
    """A map of twice the sides, by a transposed convolution 2 x 2: layer `<name>.up`."""
    return layers.Conv2DTranspose(channels, 2, strides=2, name=f"{name}.up")(x)


def joined(x, skip, channels, *, name):
    """A map doubled until it is about as large as a finer one of the encoder, and beside it.

    Encoders that do not pad, or that round up, leave some pixels of difference: they are cut off,
    or filled with zeros, on either side. Every runtime does that alike; of resizing by odd factors
    they have opinions.
    """
    times = max(1, round(math.log2(skip.shape[1] / x.shape[1])))
    for k in range(times):
        x = doubled(x, channels, name=f"{name}{k}" if k else name)
    apart = skip.shape[1] - x.shape[1]
    if apart:
        sides = (abs(apart) // 2, abs(apart) - abs(apart) // 2)
        fit = layers.ZeroPadding2D if apart > 0 else layers.Cropping2D
        x = fit((sides, sides), name=f"{name}.fit")(x)
    return layers.Concatenate(name=f"{name}.join")([x, skip])
