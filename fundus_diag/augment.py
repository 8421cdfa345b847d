"""Augmentation of training batches, on pictures (B, S, S, 3) or pairs (B, 2, S, S, 3) in [0, 255].

Laterality stays true: a mirrored left eye is a right eye, so the eyes of a pair are mirrored
together and change places, or neither is. Everything else moves a picture by little and never
turns it upside down.

Sources: Mixup, Zhang et al. 2018 (https://arxiv.org/abs/1710.09412); CutMix, Yun et al. 2019
(https://arxiv.org/abs/1905.04899); RandAugment, Cubuk et al. 2020
(https://arxiv.org/abs/1909.13719). The layers are Keras's.
"""

import numpy as np
import tensorflow as tf
from keras import layers

LARGEST_RAND_AUGMENT = 0.2  # of a full turn: past a quarter turn left and right are lost


def augmenter(seed, *, geometry=True, colour=True, mixup=0.0, cutmix=0.0, rand_augment=0.0):
    """Builds the augmentation of one epoch.

    Args:
        seed: list of int; the same seed gives the same epoch again (batches taken in order).
        geometry: mirror at random, rotate by up to 15 degrees, zoom by 10 %, shift by 5 %.
        colour: brightness and contrast by up to 15 %.
        mixup: alpha of the beta distribution; 0 is off.
        cutmix: the same for CutMix. With both on, each batch gets one of them, at even odds.
        rand_augment: strength of RandAugment in [0, 0.2] (two operations a batch); 0 is off.

    Returns:
        `augment(step, images, y)` giving (images, y): images float32, y (B, L), NaN where a mixed
        partner is not graded. `step` is the int64 number of the batch.
    """
    rng = np.random.default_rng(seed)

    def options():
        return {"seed": int(rng.integers(1 << 31)), "dtype": "float32"}

    moves = []
    if geometry:
        fill = {"fill_mode": "constant", "fill_value": 0.0}
        moves += [
            layers.RandomRotation(15 / 360, **fill, **options()),
            layers.RandomZoom(0.1, **fill, **options()),
            layers.RandomTranslation(0.05, 0.05, **fill, **options()),
        ]
    if colour:
        moves += [
            layers.RandomBrightness(0.15, value_range=(0, 255), **options()),
            layers.RandomContrast(0.15, value_range=(0, 255), **options()),
        ]
    if rand_augment:
        moves.append(layers.RandAugment((0, 255), factor=rand_augment, **options()))
    mixes = []
    if mixup:
        mixes.append(layers.MixUp(alpha=mixup, **options()))
    if cutmix:
        mixes.append(layers.CutMix(factor=(cutmix, cutmix), **options()))
    mirror_seed, choice_seed = (int(x) for x in rng.integers(1 << 31, size=2))

    def augment(step, images, y):
        images = tf.cast(images, tf.float32)
        if geometry:
            coins = tf.random.stateless_uniform(tf.shape(images)[:1], [mirror_seed, step])
            images = mirror(images, coins < 0.5)
        images = _each_picture(images, moves)
        if len(mixes) == 2:
            coin = tf.random.stateless_uniform([], [choice_seed, step])
            return tf.cond(
                coin < 0.5, lambda: mix(mixes[0], images, y), lambda: mix(mixes[1], images, y)
            )
        return mix(mixes[0], images, y) if mixes else (images, y)

    return augment


def mirror(images, chosen):
    """Mirrors the chosen pictures left to right; a chosen pair also swaps its eyes.

    `images` is (B, S, S, 3) or (B, 2, S, S, 3), `chosen` (B,) bool.
    """
    flipped = tf.reverse(images, [-2])
    if len(images.shape) == 5:
        flipped = tf.reverse(flipped, [1])
    chosen = tf.reshape(chosen, [-1] + [1] * (len(images.shape) - 1))
    return tf.where(chosen, flipped, images)


def mix(layer, images, y):
    """Applies MixUp or CutMix to the batch; the two eyes of a pair are mixed as one picture.

    The eyes are laid one above the other, so that both get the same partner and the labels the
    share of the area that both together kept.
    """
    shape = tf.shape(images)
    if len(images.shape) == 5:
        side = images.shape[-2]
        images = tf.reshape(images, (-1, 2 * side, side, 3))
    mixed = layer({"images": images, "labels": y}, training=True)
    return tf.reshape(mixed["images"], shape), mixed["labels"]


def _each_picture(images, moves):
    shape = tf.shape(images)
    x = tf.reshape(images, (-1, *images.shape[-3:]))
    for layer in moves:
        x = layer(x, training=True)
    return tf.reshape(tf.clip_by_value(x, 0.0, 255.0), shape)
