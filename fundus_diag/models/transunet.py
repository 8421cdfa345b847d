"""TransUNet: a transformer between a convolutional encoder and a cascaded upsampler with skips.

Source: Chen et al. 2021, "TransUNet", section 3 and figure 1, https://arxiv.org/abs/2102.04306. The
transformer reads the encoder's last map cell by cell, as the paper's reads that of ResNet-50; the
upsampler is `unet.up`.
"""

from keras import layers

from fundus_diag.models import unet
from fundus_diag.models.layers.decoding import convolutions
from fundus_diag.models.layers.positions import PositionEmbedding
from fundus_diag.models.layers.tokens import TokensToMap, map_to_tokens
from fundus_diag.models.mae_vit import EPSILON, block


def decoder(images, network, names, *, width=1.0, channels=768, depth=12, heads=12):
    """Maps an encoder's scales to a map of the picture's size, (B, S, S, 16 width).

    Args:
        images, network, names, width: see `unet.decoder`.
        channels, depth, heads: of the transformer; by default ViT-B, as in the paper.

    Raises:
        UsageError: see `unet.decoder`; or the heads do not divide the channels.
    """
    finer = unet.skips(images, network, names)[:-1]
    x = layers.Conv2D(channels, 1, name="head_embed.proj")(network.output)
    x = map_to_tokens(x, name="head_embed.tokens")
    x = PositionEmbedding(name="head_pos_embed")(x)
    for j in range(depth):
        x = block(x, heads, name=f"head_blocks.{j}")
    x = layers.LayerNormalization(epsilon=EPSILON, name="head_norm")(x)
    x = convolutions(TokensToMap(name="head_map")(x), 512, count=1, name="head_more")
    return unet.up(x, finer, width)
