"""Masked autoencoder: a ViT encodes the few patches it is shown, a light decoder paints the rest.

Source: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3 and appendix
A.1, https://arxiv.org/abs/2111.06377.

The encoder is made of `mae_vit`'s own parts, so its weights pass on layer by layer, by name. The
decoder's layers are named as in MAE's code, `decoder_blocks.0.attn.proj`.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from fundus_diag.models import mae_vit
from fundus_diag.models.encoders import FEATURE_MAPS, members, preset_of
from fundus_diag.models.layers.positions import PositionEmbedding
from fundus_diag.models.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fundus_diag.utils.errors import UsageError

HEAD_CHANNELS = 32  # of each of the decoder's heads: 16 heads at MAE's width of 512
EPSILON = 1e-6  # beside the variance of a patch
PUBLISHED_DECODER = (8, 512)  # blocks, channels


@keras.saving.register_keras_serializable("fundus_diag")
class MaskedAutoencoder(keras.Model):
    """Pictures to `patches` (B, N, p p 3) and `mask` (B, N), learned by `patch_loss` alone."""

    patch_loss = None

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.patch_loss(x, y_pred)


def masked_autoencoder(
    image_size,
    *,
    width=768,
    depth=12,
    heads=12,
    patch=16,
    mask_ratio=0.75,
    decoder_depth=PUBLISHED_DECODER[0],
    decoder_width=PUBLISHED_DECODER[1],
    normalise_target=True,
):
    """The network that is pretrained, with its loss; compile it with an optimizer alone.

    Args:
        image_size: side S of the pictures, px.
        width, depth, heads, patch: of the encoder, as in `mae_vit.feature_map`.
        mask_ratio: share of the N = (S / patch)^2 patches that are hidden, in [0, 1). With 0 every
            patch is seen and every patch counts: only good for timing.
        decoder_depth, decoder_width: number of the decoder's blocks and their channels, a multiple
            of 32.
        normalise_target: whether the pixels to be painted are standardised patch by patch.

    Returns:
        `MaskedAutoencoder` from pictures (B, S, S, 3), RGB in [0, 255], to a dict of `patches`
        (B, N, patch patch 3), the painted pixels in the order of `patchify`, and `mask` (B, N), 1
        where a patch was hidden.

    Raises:
        UsageError: S is no multiple of the patch, the ratio leaves nothing to see, or the
            decoder's width does not divide.
    """
    if decoder_width % HEAD_CHANNELS:
        nearest = max(1, round(decoder_width / HEAD_CHANNELS)) * HEAD_CHANNELS
        raise UsageError(
            f"--decoder-width {decoder_width}: must be a multiple of {HEAD_CHANNELS}; "
            f"nearest {nearest}"
        )
    images = keras.Input((image_size, image_size, 3), name="images")
    x = mae_vit.embed(images, width, patch)
    count = x.shape[1] - 1
    visible = int(count * (1 - mask_ratio) + 1e-9)  # .2 of 100 are 20, not 19
    if visible < 1:
        raise UsageError(
            f"--mask-ratio {mask_ratio}: leaves none of {count} patches to see; "
            f"at most {math.floor(1000 * (1 - 1 / count)) / 1000:g} at {image_size} px"
        )
    x, mask, restore = RandomMasking(visible, name="masking")(x)
    for j in range(depth):
        x = mae_vit.block(x, heads, name=f"blocks.{j}")
    x = layers.LayerNormalization(epsilon=mae_vit.EPSILON, name="norm")(x)

    x = layers.Dense(decoder_width, name="decoder_embed")(x)
    x = MaskTokens(name="mask_token")([x, restore])
    x = PositionEmbedding(name="decoder_pos_embed")(x)
    for j in range(decoder_depth):
        x = mae_vit.block(x, decoder_width // HEAD_CHANNELS, name=f"decoder_blocks.{j}")
    x = layers.LayerNormalization(epsilon=mae_vit.EPSILON, name="decoder_norm")(x)
    # float32 whatever the precision policy, as the loss.
    x = layers.Dense(patch * patch * 3, dtype="float32", name="decoder_pred")(x)
    x = layers.Cropping1D((1, 0), dtype="float32", name="without_class_token")(x)
    model = MaskedAutoencoder(images, {"patches": x, "mask": mask}, name="masked_autoencoder")
    model.patch_loss = PatchLoss(patch, normalise_target)
    for name in ("pos_embed", "decoder_pos_embed"):
        model.get_layer(name).trainable = False  # the sines stay as they are
    return model


def vit_settings(encoder):
    """Width, depth, heads and patch of an encoder, as far as they are not `mae_vit`'s defaults.

    Raises:
        UsageError: it is none that a masked autoencoder can pretrain.
    """
    able = members(mae_vit)
    if encoder not in able:
        raise UsageError(f"--encoder {encoder}: pretraining is for {', '.join(able)}")
    return getattr(FEATURE_MAPS[encoder], "keywords", {})


def decoder_of(encoder):
    """(blocks, channels) of the decoder that an encoder is pretrained with by default."""
    return preset_of(encoder).decoder or PUBLISHED_DECODER


def copy_to_encoder(model, encoder):
    """Sets all weights of an encoder, as `ENCODERS` makes it, to those that were pretrained."""
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())


@keras.saving.register_keras_serializable("fundus_diag")
class RandomMasking(layers.Layer):
    """Keeps the class token and `visible` of the N patches, another random choice per picture.

    From tokens (B, 1 + N, C), class token first, to

    - the tokens that are seen (B, 1 + visible, C), class token first, in random order;
    - `mask` (B, N) float32, 1 where a patch is hidden; all 1 where none is;
    - `restore` (B, N) int32: patch i is the token `restore[i]` of those seen followed by those
      hidden.

    A patch is seen if its noise, drawn uniformly, is among the lowest: He et al. 2022, section 3,
    "Simple implementation".
    """

    def __init__(self, visible, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.visible = visible
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, tokens):
        patches = tokens.shape[1] - 1
        # float32 whatever the precision policy: half of it would draw many patches even.
        shape = (ops.shape(tokens)[0], patches)
        noise = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        order = ops.cast(ops.argsort(noise, axis=1), "int32")
        restore = ops.cast(ops.argsort(order, axis=1), "int32")
        seen = _take(tokens[:, 1:], order[:, : self.visible])
        hidden = restore >= (self.visible if self.visible < patches else 0)
        return [
            ops.concatenate([tokens[:, :1], seen], axis=1),
            ops.cast(hidden, "float32"),
            restore,
        ]

    def compute_output_spec(self, tokens):
        batch, count, width = tokens.shape
        return [
            keras.KerasTensor((batch, 1 + self.visible, width), self.compute_dtype),
            keras.KerasTensor((batch, count - 1), "float32"),
            keras.KerasTensor((batch, count - 1), "int32"),
        ]

    def get_config(self):
        return {**super().get_config(), "visible": self.visible}


@keras.saving.register_keras_serializable("fundus_diag")
class MaskTokens(layers.Layer):
    """A learned token for every hidden patch, and all patches back in their places.

    [tokens seen (B, 1 + visible, C), restore (B, N)], as `RandomMasking` gives them, to
    (B, 1 + N, C).
    """

    def build(self, shapes):
        self.token = self.add_weight(
            name="token",
            shape=(1, 1, shapes[0][-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, inputs):
        x, restore = inputs
        hidden = restore.shape[1] - (x.shape[1] - 1)
        shape = (ops.shape(x)[0], hidden, x.shape[2])
        tokens = ops.broadcast_to(ops.cast(self.token, x.dtype), shape)
        patches = _take(ops.concatenate([x[:, 1:], tokens], axis=1), restore)
        return ops.concatenate([x[:, :1], patches], axis=1)

    def compute_output_shape(self, shapes):
        return (shapes[0][0], 1 + shapes[1][1], shapes[0][2])


@keras.saving.register_keras_serializable("fundus_diag")
class PatchLoss(keras.losses.Loss):
    """Mean squared error of the painted pixels, over the hidden patches of each picture.

    Args:
        patch: side of a patch, px.
        normalise_target: whether each patch is to be painted standardised: its pixels less their
            mean, over the root of their variance (He et al. 2022, section 4.1, "Reconstruction
            target"). Else the pixels as the encoder sees them, standardised as ImageNet's.
    """

    def __init__(self, patch, normalise_target=True, name="patch_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.patch, self.normalise_target = patch, normalise_target

    def call(self, images, outputs):
        """(B,) from pictures (B, S, S, 3) in [0, 255] and what the network made of them."""
        target = patchify(standardised(images), self.patch)
        if self.normalise_target:
            mean, scale = patch_moments(target)
            target = (target - mean) / scale
        errors = ops.mean(ops.square(outputs["patches"] - target), axis=-1)  # (B, N)
        mask = outputs["mask"]
        return ops.sum(errors * mask, axis=-1) / ops.sum(mask, axis=-1)

    def get_config(self):
        config = super().get_config()
        return {**config, "patch": self.patch, "normalise_target": self.normalise_target}


def standardised(images):
    """Pictures in [0, 255] as the encoder's first layer makes them."""
    return (images - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)


def patch_moments(patches):
    """Mean and scale (B, N, 1) of each patch (B, N, n): sqrt(variance + 1e-6), variance unbiased.

    The decoder's pixels times the scale plus the mean are those of the picture.
    """
    mean = ops.mean(patches, axis=-1, keepdims=True)
    squares = ops.sum(ops.square(patches - mean), axis=-1, keepdims=True)
    return mean, ops.sqrt(squares / (patches.shape[-1] - 1) + EPSILON)


def patchify(images, patch):
    """(B, S, S, 3) to (B, N, patch patch 3): patches row by row, in each pixels row by row."""
    side = images.shape[1] // patch
    x = ops.reshape(images, (-1, side, patch, side, patch, 3))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, side * side, patch * patch * 3))


def unpatchify(patches, patch):
    """(B, N, patch patch 3) to (B, S, S, 3): the reverse of `patchify`."""
    side = round(patches.shape[1] ** 0.5)
    x = ops.reshape(patches, (-1, side, side, patch, patch, 3))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, side * patch, side * patch, 3))


def _take(tokens, numbers):
    """Tokens (B, t, C) by their numbers (B, k): (B, k, C)."""
    # Whole tokens from one long row of them: `take_along_axis` would look up every channel.
    starts = ops.arange(ops.shape(tokens)[0], dtype="int32") * tokens.shape[1]
    row = ops.reshape(tokens, (-1, tokens.shape[2]))
    return ops.take(row, numbers + starts[:, None], axis=0)
