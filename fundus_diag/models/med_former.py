"""Med-Former encoder: a pyramid of local-global transformers that hands each stage's map on.

Source: Chowdary and Yin 2024, "Med-Former: A Transformer based Architecture for Medical Image
Classification", MICCAI, https://papers.miccai.org/miccai-2024/500-Paper0867.html

There is no public code, and the paper leaves open what follows; it is chosen here:
    - K. The map after the last stage has 1 / (N 2^(K+1)) of the picture's side (N px a patch) and
      2^(K+1) times the embedding's channels, so stages are counted from 0 to K: the K = 3 of the
      paper makes four stages after the encoding phase, five maps in all. With `stages=2` the
      pyramid is the one of Swin-T.
    - Patches of 4 px, 96 channels, heads of 32 channels, MLPs of 4 times the width: Swin-T's.
    - Windows of 8 (global, m) and 4 (local, n) cells: the sides of the maps are halved again and
      again, so powers of two divide more of them than Swin's 7. The ablation's Swin blocks have
      the global windows.
    - Downsampling of the previous map: patch merging with weights of its own.
    - Spatial attention: CBAM's, one for each of both maps. Fusion: their sum.
    - Concatenation, which fusion is compared with: of the channels of both maps, and a dense layer
      back to the stage's width.

Further sources:
    Liu et al. 2021, "Swin Transformer", sections 3.1 and 3.2, https://arxiv.org/abs/2103.14030
    Woo et al. 2018, "CBAM", equation 3, https://arxiv.org/abs/1807.06521
"""

import keras
from keras import layers, ops

from fundus_diag.models.family import Preset
from fundus_diag.models.layers.preprocessing import imagenet_normalization, nearest_side
from fundus_diag.models.layers.transformer import drop_path_rates, exact_gelu, mlp, residual
from fundus_diag.models.layers.windows import window_attention
from fundus_diag.utils.errors import UsageError

EPSILON = 1e-5  # of every LayerNorm, as in PyTorch
HEAD = {"norm": EPSILON, "hidden": 0}
PRESETS = {"med_former": Preset(image_size=256, recipe="med_former")}
NAMINGS = ()  # nobody publishes weights

ATTENTIONS = ("window", "local_global")
FUSIONS = ("none", "concat", "saf")


def feature_map(
    images,
    *,
    width=96,
    heads=3,
    patch=4,
    stages=3,
    windows=(8, 4),
    attention="local_global",
    fusion="saf",
    drop_path=0.0,
):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, h, 2^(stages+1) width).

    h = S / (patch 2^(stages+1)): 4 at 256 px, of 1536 channels. By default there are 113 million
    weights; their shapes do not depend on S. `attention` and `fusion` make the six rows of the
    paper's ablation. Attention can be read from the layers `<block>.attn*.weights`.

    Args:
        images: Keras tensor.
        width, heads: channels and heads of the encoding phase; each stage doubles them.
        patch: side of a patch, px; N in the paper.
        stages: number of stages after stage 0; K in the paper.
        windows: sides of the global and of the local windows, cells of the map.
        attention: "local_global", or "window" for plain Swin blocks with the global windows.
        fusion: of a stage's map with the previous one's: "saf", "concat" or "none".
        drop_path: stochastic depth of the last block; it rises from 0.

    Raises:
        UsageError: the merges do not divide the picture's side, or leave no map; no such attention
            or fusion.
    """
    if attention not in ATTENTIONS:
        raise UsageError(f"attention {attention!r}: there are {', '.join(ATTENTIONS)}")
    if fusion not in FUSIONS:
        raise UsageError(f"fusion {fusion!r}: there are {', '.join(FUSIONS)}")
    _check_size(images.shape[1], patch * 2 ** (stages + 1))
    paths = {"attn.global": windows[0], "attn.local": windows[1]}
    if attention == "window":
        paths = {"attn": windows[0]}
    rates = drop_path_rates(drop_path, 2 * (stages + 2))

    x = imagenet_normalization(images)
    x = layers.Conv2D(width, patch, strides=patch, name="encoding.embed")(x)
    x = _transform(x, heads, paths, rates[:2], name="encoding")
    x = layers.Identity(name="encoding.map")(x)
    for i in range(stages + 1):
        stage, previous = f"stage{i}", x
        x = _merge(x, name=f"{stage}.merge")
        x = _transform(x, heads * 2 ** (i + 1), paths, rates[2 * i + 2 :][:2], name=stage)
        if fusion == "saf":
            x = _fuse(previous, x, name=f"{stage}.saf")
        elif fusion == "concat":
            x = _concatenate(previous, x, name=f"{stage}.concat")
        x = layers.Identity(name=f"{stage}.map")(x)
    return x


def cam_layers(names):
    """Layers for class activation maps: the output of the encoding phase and of each stage.

    `names`: names of the network's layers in order.
    """
    return tuple(x for x in names if x.endswith(".map"))


def _check_size(side, factor):
    # One place is no map.
    if side % factor or side < 2 * factor:
        nearest = nearest_side(side, factor, 2 * factor)
        raise UsageError(
            f"--image-size {side}: must be a multiple of {factor} from {2 * factor}; "
            f"nearest {nearest}"
        )


def _transform(x, heads, paths, drop_path, *, name):
    """Two blocks on a map (B, h, h, C), the second with shifted windows; `drop_path` of each."""
    for j in range(2):
        x = _block(x, heads, paths, j == 1, drop_path[j], name=f"{name}.blocks.{j}")
    return x


def _block(x, heads, paths, shifted, drop_path, *, name):
    """Transformer block whose attention is the sum over `paths`, {name: side of the windows}."""
    branch = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm1")(x)
    sums = [
        window_attention(branch, heads, window, shifted=shifted, name=f"{name}.{path}")
        for path, window in paths.items()
    ]
    branch = layers.Add(name=f"{name}.attn.sum")(sums) if len(sums) > 1 else sums[0]
    x = residual(x, branch, drop_path, name=f"{name}.attn")
    branch = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm2")(x)
    branch = mlp(branch, 4 * x.shape[-1], exact_gelu, name=f"{name}.mlp")
    return residual(x, branch, drop_path, name=f"{name}.mlp")


def _merge(x, *, name):
    """Patch merging: a map (B, h, h, C) to (B, h / 2, h / 2, 2 C)."""
    width = x.shape[-1]
    x = JoinNeighbours(name=f"{name}.join")(x)
    x = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm")(x)
    return layers.Dense(2 * width, use_bias=False, name=f"{name}.reduction")(x)


def _fuse(previous, x, *, name):
    """Spatial attention fusion of the previous map (B, 2 h, 2 h, C / 2) with x (B, h, h, C)."""
    previous = _merge(previous, name=f"{name}.down")
    parts = [
        _spatial_attention(previous, name=f"{name}.previous"),
        _spatial_attention(x, name=f"{name}.current"),
    ]
    return layers.Add(name=f"{name}.sum")(parts)


def _concatenate(previous, x, *, name):
    """The previous map's channels (B, 2 h, 2 h, C / 2) beside those of x (B, h, h, C), then C."""
    previous = _merge(previous, name=f"{name}.down")
    joined = layers.Concatenate(name=f"{name}.join")([previous, x])
    return layers.Dense(x.shape[-1], name=f"{name}.proj")(joined)


def _spatial_attention(x, *, name):
    """Each place of x (B, h, w, C) times a gate in (0, 1) from means and maxima over channels."""
    gate = ChannelMeanMax(name=f"{name}.pool")(x)
    gate = layers.Conv2D(1, 7, padding="same", activation="sigmoid", name=f"{name}.conv")(gate)
    return layers.Multiply(name=f"{name}.scale")([x, gate])


@keras.saving.register_keras_serializable("fundus_diag")
class JoinNeighbours(layers.Layer):
    """(B, h, w, C) to (B, h / 2, w / 2, 4 C): the channels of 2 x 2 places, row by row."""

    sees = (2, 2, 0)  # see `geometry`

    def call(self, x):
        _, h, w, c = x.shape
        x = ops.reshape(x, (-1, h // 2, 2, w // 2, 2, c))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, h // 2, w // 2, 4 * c))

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] // 2, shape[2] // 2, 4 * shape[3])


@keras.saving.register_keras_serializable("fundus_diag")
class ChannelMeanMax(layers.Layer):
    """(B, h, w, C) to (B, h, w, 2): mean and maximum over the channels."""

    def call(self, x):
        return ops.stack([ops.mean(x, axis=-1), ops.max(x, axis=-1)], axis=-1)

    def compute_output_shape(self, shape):
        return (*shape[:3], 2)
