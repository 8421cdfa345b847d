"""CvT encoder: a transformer in three stages, its tokens embedded and projected by convolution.

Source: Wu et al. 2021, "CvT: Introducing Convolutions to Vision Transformers", table 1 and
section 3, https://arxiv.org/abs/2103.15808

Layers are named as in Microsoft's code (`stage2.blocks.0.attn.proj_q`), so that its weights port
by name: https://github.com/microsoft/CvT, and on Hugging Face microsoft/cvt-13 and others (MIT
there, Apache-2.0 here by their cards). Hugging Face's class computes the exact GELU where
Microsoft's code, with which the weights were trained, approximates it; ported weights are the same,
and the encoder approximates (`activation=exact_gelu` does not). All LayerNorms add 1e-5, here and
there. The norm before the head is left out.
"""

import math

from keras import layers

from fundus_diag.models.family import Naming, Preset
from fundus_diag.models.layers.attention import attend
from fundus_diag.models.layers.preprocessing import LARGEST, imagenet_normalization
from fundus_diag.models.layers.tokens import (
    ClassToken,
    FirstToken,
    TokensToMap,
    WithClassToken,
    map_to_tokens,
)
from fundus_diag.models.layers.transformer import drop_path_rates, mlp, quick_gelu, residual
from fundus_diag.utils.errors import UsageError

EPSILON = 1e-5  # of every normalisation, as in PyTorch
HEAD = {"norm": EPSILON, "hidden": 0}
PRESETS = {
    "cvt_13": Preset(recipe="cvt"),
    "cvt_21": Preset({"depths": (1, 4, 16)}, recipe="cvt"),
    "cvt_w24": Preset(
        {"depths": (2, 2, 20), "widths": (192, 768, 1024), "heads": (3, 12, 16)},
        image_size=384,
        recipe="cvt",
    ),
    # For pictures of about 28 px: the first embedding is 3 x 3 at stride 2, as the others are, so
    # the stages see 14, 7 and 4 cells a side; half of CvT-13's blocks and channels.
    "cvt_28": Preset(
        {
            "depths": (1, 2, 4),
            "widths": (32, 96, 192),
            "heads": (1, 3, 6),
            "patches": ((3, 2, 1),) * 3,
        },
        image_size=28,
        recipe="cvt",
    ),
}


def feature_map(
    images,
    *,
    depths=(1, 2, 10),
    widths=(64, 192, 384),
    heads=(1, 3, 6),
    patches=((7, 4, 2), (3, 2, 1), (3, 2, 1)),
    drop_path=0.0,
    activation=quick_gelu,
    readable=False,
    class_token=False,
):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, w, widths[-1]).

    h = w = 14 at 224 px. The map is the last stage's output before the head's LayerNorm. A class
    token takes part in the last stage's attention.

    Args:
        images: Keras tensor.
        depths, widths, heads: blocks, channels and heads of the stages. By default CvT-13.
        patches: (kernel, stride, padding) of the stages' token embeddings, in cells of their input.
        drop_path: stochastic depth of the last stage's last block; within that stage it rises from
            0, earlier stages have none.
        activation: of the MLPs: `quick_gelu` as in Microsoft's code, `exact_gelu` as in Hugging
            Face's.
        readable: whether attention weights can be read, from layers `<block>.attn.weights`.
        class_token: return the class token (B, widths[-1]) in place of the map.

    Raises:
        UsageError: the picture is too small for the stages.
    """
    _check_size(images.shape[1], patches)
    x = imagenet_normalization(images)
    last = len(depths) - 1
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        stage = f"stage{i}"
        kernel, stride, padding = patches[i]
        x = _pad(x, padding, name=f"{stage}.patch_embed.pad")
        x = layers.Conv2D(width, kernel, stride, name=f"{stage}.patch_embed.proj")(x)
        x = map_to_tokens(x, name=f"{stage}.patch_embed.tokens")
        x = layers.LayerNormalization(epsilon=EPSILON, name=f"{stage}.patch_embed.norm")(x)
        if i == last:
            x = ClassToken(name=f"{stage}.cls_token")(x)
        for j, rate in enumerate(drop_path_rates(drop_path if i == last else 0.0, depth)):
            x = _block(x, heads[i], rate, activation, readable, name=f"{stage}.blocks.{j}")
        if i == last and class_token:
            return FirstToken(name=f"{stage}.cls_out")(x)
        x = TokensToMap(name=f"{stage}.map")(x)
    return x


def cam_layers(names):
    """Layers for class activation maps: the output of each stage but the last, whose embedding.

    `names`: names of the network's layers in order. After the last stage the patches are only
    averaged, so their gradient is the same everywhere; in its token embedding it is not.
    """
    stages = [x for x in names if x.endswith(".map") and ".blocks." not in x]
    embeddings = [x for x in names if x.endswith(".patch_embed.proj")]
    return (*stages[: len(embeddings) - 1], embeddings[-1])


def _check_size(side, patches):
    """Refuses pictures of which a stage would have one place only, which is no map."""

    def fits(side):
        for kernel, stride, padding in patches:
            side = (side + 2 * padding - kernel) // stride + 1
        return side > 1

    if not fits(side):
        least = next(s for s in range(side, LARGEST + 1) if fits(s))
        raise UsageError(f"--image-size {side}: too small for the stages of CvT; at least {least}")


def _block(x, heads, drop_path, activation, readable, *, name):
    """One transformer block on tokens (B, t, C); its queries, keys and values are convolved."""
    width = x.shape[-1]
    branch = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm1")(x)
    q, k, v = (_project(branch, kind, name=f"{name}.attn") for kind in "qkv")
    # Not by the width of a head, as other transformers scale: so the published weights are trained.
    branch = attend(q, k, v, heads, scale=width**-0.5, readable=readable, name=f"{name}.attn")
    branch = layers.Dense(width, name=f"{name}.attn.proj")(branch)
    x = residual(x, branch, drop_path, name=f"{name}.attn")
    branch = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm2")(x)
    branch = mlp(branch, 4 * width, activation, name=f"{name}.mlp")
    return residual(x, branch, drop_path, name=f"{name}.mlp")


def _project(x, kind, *, name):
    """Convolutional projection to "q", "k" or "v"; keys and values at every second place."""
    conv = f"{name}.conv_proj_{kind}"
    tokens = TokensToMap(name=f"{conv}.map")(x)
    tokens = _pad(tokens, 1, name=f"{conv}.pad")
    tokens = layers.DepthwiseConv2D(
        3, 1 if kind == "q" else 2, use_bias=False, name=f"{conv}.conv"
    )(tokens)
    tokens = layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, name=f"{conv}.bn")(tokens)
    tokens = map_to_tokens(tokens, name=f"{conv}.tokens")
    if x.shape[1] > math.isqrt(x.shape[1]) ** 2:  # the class token is not convolved
        tokens = WithClassToken(name=f"{conv}.cls")([x, tokens])
    return layers.Dense(x.shape[-1], name=f"{name}.proj_{kind}")(tokens)


def _pad(x, size, *, name):
    # "same" would pad even sides at stride 2 on one side only; upstream pads both.
    return layers.ZeroPadding2D(size, name=name)(x) if size else x


# How other programs name the arrays; the names here are those of the layers.
_MICROSOFT = Naming(
    title="Microsoft's CvT",
    mark=r"stage\d+\.(patch_embed|blocks|cls_token).*",
    renames=(),
    left_out=(
        r"norm\.(weight|bias)",
        r"head\.(weight|bias)",
        r"stage\d+\.blocks\.\d+\.attn\.conv_proj_[qkv]\.bn\.num_batches_tracked",
    ),
)
_PROJECTION = r"\.attention\.attention\.convolution_projection_([qkv])\w+\.convolution_projection"
_HUGGINGFACE = Naming(
    title="Hugging Face's CvtModel",
    mark=r"(cvt\.)?encoder\.stages\.\d+\..+",
    renames=(
        (r"^(cvt\.)?encoder\.stages\.(\d+)\.", r"stage\2."),
        (r"\.embedding\.convolution_embeddings\.projection\.", ".patch_embed.proj."),
        (r"\.embedding\.convolution_embeddings\.normalization\.", ".patch_embed.norm."),
        (r"\.layers\.(\d+)\.", r".blocks.\1."),
        (_PROJECTION + r"\.convolution\.", r".attn.conv_proj_\1.conv."),
        (_PROJECTION + r"\.normalization\.", r".attn.conv_proj_\1.bn."),
        (r"\.attention\.attention\.projection_([qkv])\w+\.", r".attn.proj_\1."),
        (r"\.attention\.output\.dense\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
    ),
    left_out=(
        r"layernorm\.(weight|bias)",
        r"classifier\.(weight|bias)",
        r"(cvt\.)?encoder\.stages\.\d+\.layers\.\d+\.attention\.attention\.\w+"
        r"\.convolution_projection\.normalization\.num_batches_tracked",
    ),
)
NAMINGS = (_MICROSOFT, _HUGGINGFACE)
