"""How pictures enter a network: sizes, and the statistics they are standardised by."""

from keras import layers

SMALLEST, LARGEST = 16, 2048  # sides of pictures, px

# Mean and standard deviation of ImageNet's RGB, of 255:
# https://docs.pytorch.org/vision/stable/models.html
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def imagenet_normalization(images):
    """Pictures (B, S, S, 3), RGB in [0, 255], standardised as ImageNet is; a layer `normalize`."""
    # float32 whatever the precision policy: bfloat16 cannot tell 254 from 255.
    return layers.Normalization(
        mean=IMAGENET_MEAN,
        variance=[s * s for s in IMAGENET_STD],
        dtype="float32",
        name="normalize",
    )(images)


def nearest_side(side, factor, least=SMALLEST):
    """The multiple of a factor that is nearest to a side, of those that pictures may have, px."""
    lowest, highest = -(-max(SMALLEST, least) // factor), LARGEST // factor
    return min(max(round(side / factor), lowest), highest) * factor
