"""U-Net's decoder on any convolutional encoder.

Source: Ronneberger et al. 2015, "U-Net", figure 1, https://arxiv.org/abs/1505.04597; here padded,
with BatchNorm, and the encoder is one of `encoders.ENCODERS`: its map of each scale is a skip.
"""

from keras import layers

from fundus_diag.models.layers.decoding import convolutions, joined, scales
from fundus_diag.utils.errors import UsageError

CHANNELS = (16, 32, 64, 128, 256)  # of the decoder, from the picture's own scale to coarse


def decoder(images, network, names, *, width=1.0):
    """Maps an encoder's scales to a map of the picture's size, (B, S, S, 16 width).

    Args:
        images: Keras tensor (B, S, S, 3), RGB in [0, 255].
        network: the encoder, a functional model of `images`.
        names: its `cam_layers`.
        width: factor on the decoder's channels.

    Raises:
        UsageError: the encoder has no maps of several sizes, or the width leaves no channel.
    """
    return up(network.output, skips(images, network, names)[:-1], width)


def skips(images, network, names):
    """Maps fine to coarse, that of the picture itself first."""
    # Vessels are as thin as a pixel, and the first scale of an encoder has half the pixels.
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="head_picture")(images)
    return [convolutions(x, CHANNELS[0], count=1, name="head_fine"), *scales(network, names)]


def up(x, finer, width):
    """From the coarsest map up: doubled, beside the next finer one, two convolutions."""
    if width * CHANNELS[0] < 1:
        raise UsageError(f"width={width}: leaves no channel")
    for j, skip in reversed(list(enumerate(finer))):
        channels, name = round(CHANNELS[min(j, len(CHANNELS) - 1)] * width), f"head_up{j}"
        if j:  # encoders expand: their maps have several times the decoder's channels
            skip = layers.Conv2D(channels, 1, name=f"{name}.skip")(skip)
        x = joined(x, skip, channels, name=name)
        x = convolutions(x, channels, name=name)
    return x
