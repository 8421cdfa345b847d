"""UNETR in two dimensions: a ViT whose tokens of four depths are the skips of a decoder.

Source: Hatamizadeh et al. 2022, "UNETR", section 3.1 and figure 2,
https://arxiv.org/abs/2103.10504, with pictures in place of volumes. The encoder is one of
`mae_vit`'s, so that the weights of MAE and RETFound serve.
"""

import math

from keras import layers

from fundus_diag.models.layers.decoding import convolutions, doubled, joined
from fundus_diag.models.layers.tokens import TokensToMap
from fundus_diag.utils.errors import UsageError


def decoder(images, network, names, *, features=16):
    """Maps tokens of four depths to a map of the picture's size, (B, S, S, features).

    Args:
        images: Keras tensor (B, S, S, 3), RGB in [0, 255].
        network: the encoder, a functional model of `images`.
        names: not looked at.
        features: channels at the picture's own scale; each coarser one has twice as many.

    Raises:
        UsageError: the encoder is no ViT of four blocks or more whose patches are a power of 2.
    """
    blocks = [x.output for x in network.layers if x.name.endswith(".mlp.add")]
    side = network.output.shape[1]
    doublings = round(math.log2(images.shape[1] / side))
    # Of CvT they are of several sizes: its stages are no depths of one grid.
    one_grid = len({x.shape[1] for x in blocks}) == 1
    if len(blocks) < 4 or not one_grid or side << doublings != images.shape[1]:
        raise UsageError(
            f"--network unetr: reads mae_vit_* and retfound, with patches of a power of 2; "
            f"--encoder {network.name} is none"
        )
    count = len(blocks)
    depths = [blocks[max(0, count * k // doublings - 1)] for k in range(1, doublings)]
    x = network.output
    for j in reversed(range(doublings)):
        channels, name = features << j, f"head_up{j}"
        if j:  # the skip of this scale: tokens, doubled until they are as fine
            skip = TokensToMap(name=f"{name}.map")(depths[j - 1])
            for k in range(doublings - j):
                skip = doubled(skip, channels, name=f"{name}.skip{k}")
                skip = convolutions(skip, channels, count=1, name=f"{name}.skip{k}")
        else:
            picture = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="head_picture")
            skip = convolutions(picture(images), channels, name="head_fine")
        x = joined(x, skip, channels, name=name)
        x = convolutions(x, channels, name=name)
    return x
