"""SE-Xception encoder: Xception with a squeeze-and-excitation gate on every residual branch.

Sources:
    Chollet 2017, "Xception", figure 5, https://arxiv.org/abs/1610.02357
    Hu et al. 2018, "Squeeze-and-Excitation Networks", figure 3, https://arxiv.org/abs/1709.01507

Layer names follow `keras.applications.Xception`, whose weights port by name
(`weights.keras_xception.port_xception`). Only the `*_se_*` layers have no counterpart there.
"""

from keras import layers

from fundus_diag.models.family import Preset
from fundus_diag.models.layers.squeeze_excite import squeeze_excite
from fundus_diag.models.weights.keras_xception import PUBLISHED
from fundus_diag.utils.errors import UsageError

HEAD = {"hidden": 512}  # ReLU, as in the original system
PRESETS = {
    "se_xception": Preset(image_size=299, published=PUBLISHED),
    # For small pictures and quick runs: a quarter of the channels, two middle blocks.
    "se_xception_small": Preset({"width": 0.25, "middle_blocks": 2}, image_size=128),
}
NAMINGS = ()


def feature_map(images, *, se_ratio=1 / 16, width=1.0, middle_blocks=8):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, w, 2048 x width).

    h = w = 10 at 299 px, 4 at 128 px.

    Args:
        images: Keras tensor.
        se_ratio: width of the gates over that of their input, in (0, 1]. None drops the gates:
            plain Xception.
        width: factor on every number of channels. 1 is the published network.
        middle_blocks: blocks of the middle flow. 8 is the published network.

    Raises:
        UsageError: the pictures are below 32 px, where the map vanishes.
    """

    if images.shape[1] < 32:
        raise UsageError(f"--image-size {images.shape[1]}: at least 32 for this encoder")

    def channels(*numbers):
        return tuple(max(8, round(n * width)) for n in numbers)

    x = layers.Rescaling(1 / 127.5, offset=-1, name="normalize")(images)

    # Entry flow.
    x = _conv_bn_relu(x, *channels(32), strides=2, name="block1_conv1")
    x = _conv_bn_relu(x, *channels(64), name="block1_conv2")
    x = _residual_block(x, channels(128, 128), se_ratio, downsample=True, name="block2")
    x = _residual_block(x, channels(256, 256), se_ratio, downsample=True, name="block3")
    x = _residual_block(x, channels(728, 728), se_ratio, downsample=True, name="block4")

    # Middle flow.
    for i in range(5, 5 + middle_blocks):
        x = _residual_block(x, channels(728, 728, 728), se_ratio, name=f"block{i}")

    # Exit flow; its numbers follow the published eight middle blocks however many there are.
    x = _residual_block(x, channels(728, 1024), se_ratio, downsample=True, name="block13")
    for j, filters in enumerate(channels(1536, 2048), start=1):
        x = _separable_conv_bn(x, filters, name=f"block14_sepconv{j}")
        x = layers.ReLU(name=f"block14_sepconv{j}_act")(x)
    return x


def cam_layers(names):
    """Layers for class activation maps, one a scale: blocks 1 to 4, the middle flow's last.

    `names`: names of the network's layers in order. In the published network the last is block 12.
    """
    sums = [name for name in names if name.endswith("_add")]
    return ("block1_conv2_act", *sums[:3], sums[-2])


def _residual_block(x, filters, se_ratio, *, name, downsample=False):
    shortcut = x
    for j, f in enumerate(filters, start=1):
        # Before block2 the activation meets values that are never negative: it changes nothing
        # there, and the blocks are all alike.
        x = layers.ReLU(name=f"{name}_sepconv{j}_act")(x)
        x = _separable_conv_bn(x, f, name=f"{name}_sepconv{j}")
    if downsample:
        x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
        shortcut = layers.Conv2D(
            filters[-1], 1, strides=2, padding="same", use_bias=False, name=f"{name}_shortcut"
        )(shortcut)
        shortcut = layers.BatchNormalization(name=f"{name}_shortcut_bn")(shortcut)
    if se_ratio is not None:
        x = squeeze_excite(x, se_ratio, name=f"{name}_se")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _conv_bn_relu(x, filters, *, name, strides=1):
    x = layers.Conv2D(filters, 3, strides=strides, use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_act")(x)


def _separable_conv_bn(x, filters, *, name):
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)
