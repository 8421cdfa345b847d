"""How programs name the arrays of the encoders that we know, and their names here.

Names of the left column become ours, which are Microsoft's for CvT and timm's for ViT, except that
timm's joint `qkv` is three arrays here. What is left out has no counterpart: the classifier's head
and its norm, the decoder of pretraining, counters.
"""

import re
from dataclasses import dataclass, replace

from keras import layers

from fundus_diag.models.weights.strict import Target


@dataclass(frozen=True)
class Naming:
    """How one program names the arrays of one family of encoders.

    Attributes:
        title: what is said and recorded of it.
        encoders: how the names of encoders begin that it is for.
        mark: pattern of names that only this naming has.
        renames: (pattern, replacement), applied one after the other.
        left_out: patterns of names, as the file has them, that are not for an encoder.
    """

    title: str
    encoders: tuple
    mark: str
    renames: tuple
    left_out: tuple


_MICROSOFT = Naming(
    title="Microsoft's CvT",
    encoders=("cvt_",),
    mark=r"stage\d+\.(patch_embed|blocks|cls_token).*",
    renames=(),
    left_out=(
        r"norm\.(weight|bias)",
        r"head\.(weight|bias)",
        r"stage\d+\.blocks\.\d+\.attn\.conv_proj_[qkv]\.bn\.num_batches_tracked",
    ),
)
_PROJECTION = r"\.attention\.attention\.convolution_projection_([qkv])\w+\.convolution_projection"
_HUGGINGFACE_CVT = Naming(
    title="Hugging Face's CvtModel",
    encoders=("cvt_",),
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
_TIMM = Naming(
    title="timm's ViT, MAE or RETFound",
    encoders=("mae_vit_", "retfound"),
    mark=r"(patch_embed|blocks)\..+",
    renames=(),
    left_out=(
        r"head\.(weight|bias)",
        r"fc_norm\.(weight|bias)",
        r"mask_token",
        r"decoder_pos_embed",
        r"decoder_(embed|norm|pred)\.(weight|bias)",
        r"decoder_blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)",
    ),
)
_HUGGINGFACE_VIT = Naming(
    title="Hugging Face's ViTMAEModel",
    encoders=("mae_vit_", "retfound"),
    mark=r"(vit\.)?(embeddings\.|encoder\.layer\.\d+\.).+",
    renames=(
        (r"^(vit\.)?embeddings\.cls_token$", "cls_token"),
        (r"^(vit\.)?embeddings\.position_embeddings$", "pos_embed"),
        (r"^(vit\.)?embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^(vit\.)?encoder\.layer\.(\d+)\.", r"blocks.\2."),
        (r"\.attention\.attention\.(q)uery\.", r".attn.\1."),
        (r"\.attention\.attention\.(k)ey\.", r".attn.\1."),
        (r"\.attention\.attention\.(v)alue\.", r".attn.\1."),
        (r"\.attention\.output\.dense\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"^(vit\.)?layernorm\.", "norm."),
    ),
    left_out=(
        r"decoder\.(mask_token|decoder_pos_embed)",
        r"decoder\.decoder_(embed|norm|pred)\.(weight|bias)",
        r"decoder\.decoder_(layers|encoder\.layer)\.\d+\.[\w.]+\.(weight|bias)",
    ),
)
NAMINGS = (_MICROSOFT, _HUGGINGFACE_CVT, _TIMM, _HUGGINGFACE_VIT)

POSITIONS = "pos_embed"
_SUFFIXES = {
    "kernel": ".weight",
    "gamma": ".weight",
    "bias": ".bias",
    "beta": ".bias",
    "moving_mean": ".running_mean",
    "moving_variance": ".running_var",
    "token": "",
    "embedding": "",
}
# PyTorch's (O, I, h, w) to (h, w, I, O), a channel's own (C, 1, h, w) to (h, w, C, 1), (O, I) to
# (I, O).
_AXES = {
    layers.Conv2D: (2, 3, 1, 0),
    layers.DepthwiseConv2D: (2, 3, 0, 1),
    layers.Dense: (1, 0),
}


def recognise(names):
    """The `Naming` that array names follow, or None."""
    for naming in NAMINGS:
        if any(re.fullmatch(naming.mark, name) for name in names):
            return naming
    return None


def translate(naming, arrays):
    """({our name: Array}, {pattern: names left out by it}) of a file's arrays."""
    ours, left_out = {}, {}
    for name, array in arrays.items():
        pattern = next((p for p in naming.left_out if re.fullmatch(p, name)), None)
        if pattern:
            left_out.setdefault(pattern, []).append(name)
            continue
        for key, part in _split(_rename(naming, name), array).items():
            # A second array of the same name is not used, and the file is refused for it.
            ours[f"{name} (again)" if key in ours else key] = part
    return ours, left_out


def torch_targets(model):
    """Variables of an encoder under our names with PyTorch's endings: {name: Target}."""
    targets = {}
    for layer in model.layers:
        for variable in layer.weights:
            axes = _AXES.get(type(layer)) if variable.name == "kernel" else None
            targets[layer.name + _SUFFIXES[variable.name]] = Target(variable, axes)
    return targets


def _rename(naming, name):
    for pattern, replacement in naming.renames:
        name = re.sub(pattern, replacement, name)
    return name


def _split(name, array):
    """{name: Array}; the three parts of a joint `qkv`, (3 C, ...) to (C, ...) each."""
    joint = re.fullmatch(r"(blocks\.\d+\.attn\.)qkv(\.weight|\.bias)", name)
    if not joint or not array.shape or array.shape[0] % 3:
        return {name: array}
    width = array.shape[0] // 3

    def part(k):
        return lambda: array.read()[k * width : (k + 1) * width]

    return {
        f"{joint[1]}{kind}{joint[2]}": replace(
            array,
            name=f"{array.name} ({kind})",
            shape=(width, *array.shape[1:]),
            read=part(k),
        )
        for k, kind in enumerate("qkv")
    }
