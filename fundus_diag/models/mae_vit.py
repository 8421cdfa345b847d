"""ViT encoder as masked autoencoders pretrain it; RETFound is the large one at 224 px.

Sources:
    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", figure 1,
    https://arxiv.org/abs/2010.11929
    He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", appendix A,
    https://arxiv.org/abs/2111.06377
    Zhou et al. 2023, "A foundation model for generalizable disease detection from retinal images",
    https://doi.org/10.1038/s41586-023-06555-x

Layers are named as in timm and in MAE's code (`blocks.0.attn.proj`); only their joint `qkv` is
three layers here, `q`, `k` and `v`. Weights that port by name: of MAE
(https://github.com/facebookresearch/mae, facebook/vit-mae-base and others) and of RETFound
(https://github.com/rmaphoh/RETFound), both CC BY-NC 4.0. LayerNorm adds 1e-6 here as in their code
(Hugging Face's class adds 1e-12). Pictures are standardised by ImageNet's mean and standard
deviation, as for these; a ViT of timm that was trained on other values (.5 and .5) must not be
ported.
"""

import keras
from keras import layers

from fundus_diag.models.family import Naming, Preset
from fundus_diag.models.layers.attention import attend
from fundus_diag.models.layers.positions import PositionEmbedding
from fundus_diag.models.layers.preprocessing import imagenet_normalization, nearest_side
from fundus_diag.models.layers.tokens import ClassToken, FirstToken, TokensToMap, map_to_tokens
from fundus_diag.models.layers.transformer import drop_path_rates, exact_gelu, mlp, residual
from fundus_diag.utils.errors import UsageError

EPSILON = 1e-6  # of every LayerNorm
# MAE and RETFound fine-tune so: the mean of the patches, then LayerNorm, then the logits.
HEAD = {"norm": EPSILON, "hidden": 0, "options": {"final_norm": False}}
_LARGE = {"width": 1024, "depth": 24, "heads": 16}
# The published decoder stands beside a wide encoder, one two thirds as wide as the encoder beside a
# narrow one.
PRESETS = {
    "mae_vit_tiny": Preset({"width": 192, "heads": 3}, recipe="mae", decoder=(4, 128)),
    "mae_vit_small": Preset({"width": 384, "heads": 6}, recipe="mae", decoder=(4, 256)),
    "mae_vit_base": Preset(recipe="mae"),
    "mae_vit_large": Preset(_LARGE, recipe="mae"),
    "retfound": Preset(_LARGE, recipe="mae"),
}


def feature_map(
    images,
    *,
    width=768,
    depth=12,
    heads=12,
    patch=16,
    drop_path=0.0,
    final_norm=True,
    readable=False,
    class_token=False,
):
    """Maps pictures (B, S, S, 3), RGB in [0, 255], to a feature map (B, h, w, width).

    h = w = S / patch: 14 at 224 px.

    Args:
        images: Keras tensor.
        width, depth, heads: channels, number of blocks, heads of each. By default ViT-B.
        patch: side of a patch, px.
        drop_path: stochastic depth of the last block; it rises from 0.
        final_norm: whether the last block is followed by LayerNorm, as in pretraining. A classifier
            normalises the mean of the patches instead.
        readable: whether attention weights can be read, from layers `<block>.attn.weights`.
        class_token: return the class token (B, width) in place of the map.

    Raises:
        UsageError: the picture's side is no multiple of the patch's.
    """
    x = embed(images, width, patch)
    for j, rate in enumerate(drop_path_rates(drop_path, depth)):
        x = block(x, heads, rate, readable, name=f"blocks.{j}")
    if final_norm:
        x = layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    return FirstToken(name="cls_out")(x) if class_token else TokensToMap(name="map")(x)


def cam_layers(names):
    """Layers for class activation maps: the first norm of a middle block and of the last.

    `names`: names of the network's layers in order. After the last block the patches are only
    averaged, so their gradient is the same everywhere; before its attention it is not.
    """
    norms = [x for x in names if x.endswith(".norm1")]
    return (norms[len(norms) // 2], norms[-1])


def embed(images, width, patch):
    """Tokens (B, 1 + S S / patch^2, width) of pictures, class token first, with their places."""
    side = images.shape[1]
    if side % patch:
        nearest = nearest_side(side, patch)
        raise UsageError(f"--image-size {side}: must be a multiple of {patch}; nearest {nearest}")
    x = imagenet_normalization(images)
    # Glorot's range for the dense layer that this is (MAE, appendix A.1), about ten times that of a
    # convolution of this shape: patches must not drown in their position embeddings.
    pixels = patch * patch * x.shape[-1]
    start = keras.initializers.VarianceScaling(2 * pixels / (pixels + width), "fan_in", "uniform")
    x = layers.Conv2D(
        width, patch, strides=patch, kernel_initializer=start, name="patch_embed.proj"
    )(x)
    x = map_to_tokens(x, name="patch_embed.tokens")
    x = ClassToken(name="cls_token")(x)
    return PositionEmbedding(name="pos_embed")(x)


def block(x, heads, drop_path=0.0, readable=False, *, name):
    """One transformer block on tokens (B, t, C)."""
    width = x.shape[-1]
    branch = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm1")(x)
    q, k, v = (layers.Dense(width, name=f"{name}.attn.{kind}")(branch) for kind in "qkv")
    scale = (width // heads) ** -0.5
    branch = attend(q, k, v, heads, scale=scale, readable=readable, name=f"{name}.attn")
    branch = layers.Dense(width, name=f"{name}.attn.proj")(branch)
    x = residual(x, branch, drop_path, name=f"{name}.attn")
    branch = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm2")(x)
    branch = mlp(branch, 4 * width, exact_gelu, name=f"{name}.mlp")
    return residual(x, branch, drop_path, name=f"{name}.mlp")


# How other programs name the arrays; the names here are those of the layers.
_NOTE = """pictures are standardised by ImageNet's mean and deviation: weights trained with .5
and .5, as some of timm's, do not fit"""
_TIMM = Naming(
    title="timm's ViT, MAE or RETFound",
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
    joint=r"(blocks\.\d+\.attn\.)qkv(\.weight|\.bias)",
    note=_NOTE,
)
_HUGGINGFACE = Naming(
    title="Hugging Face's ViTMAEModel",
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
    note=_NOTE,
)
NAMINGS = (_TIMM, _HUGGINGFACE)
