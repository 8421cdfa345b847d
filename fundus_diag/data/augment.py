"""Augmentation of training batches, on pictures (B, S, S, 3) or pairs (B, 2, S, S, 3) in [0, 255].

Laterality stays true: a mirrored left eye is a right eye, so the eyes of a pair are mirrored
together and change places, or neither is. Everything else moves a picture by little and never
turns it upside down.

What happens to a row is decided by the seed, the number of its batch and its place in it, through
stateless random ops: an epoch is the same bit by bit whichever thread makes which batch when.

Sources: Mixup, Zhang et al. 2018 (https://arxiv.org/abs/1710.09412); CutMix, Yun et al. 2019
(https://arxiv.org/abs/1905.04899); RandAugment, Cubuk et al. 2020
(https://arxiv.org/abs/1909.13719). The layers for colour and mixing are Keras's.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers

ROTATION = math.radians(15)
ZOOM = 0.1
SHIFT = 0.05  # of the side

LARGEST_RAND_AUGMENT = 0.2  # of a full turn: past a quarter turn left and right are lost


def augmenter(
    seed, *, geometry=True, colour=True, mixup=0.0, cutmix=0.0, rand_augment=0.0, crop=None
):
    """Builds the augmentation of one epoch.

    Args:
        seed: list of int; the same seed gives the same epoch again.
        geometry: mirror at random, rotate by up to 15 degrees, zoom by 10 %, shift by 5 %.
        colour: brightness and contrast by up to 15 %.
        mixup: alpha of the beta distribution; 0 is off.
        cutmix: the same for CutMix. With both on, each batch gets one of them, at even odds.
        rand_augment: strength of RandAugment in [0, 0.2] (two operations a batch); 0 is off.
        crop: (least share of the area, side of the result in px) of a random crop; see
            `random_crop`. For single eyes, in place of geometry. None is off.

    Returns:
        `augment(step, images, y)` giving (images, y): images float32, y (B, L), NaN where a mixed
        partner is not graded. `step` is the int64 number of the batch.
    """
    rng = np.random.default_rng(seed)
    draws = []  # of each layer, in order of use

    def drawing(layer):
        generator = layer.generator = Draws(int(rng.integers(1 << 31)))
        # Where Keras runs on JAX, a layer in TensorFlow's graph would take a new one, of no seed.
        layer._get_seed_generator = lambda backend=None: generator
        draws.append(generator)
        return layer

    options, colours, mixes = {"seed": 0, "dtype": "float32"}, [], []
    if colour:
        colours += [
            drawing(layers.RandomBrightness(0.15, value_range=(0, 255), **options)),
            # Two ends: of a single number Keras makes (0, .15), contrast that only rises.
            drawing(layers.RandomContrast((0.15, 0.15), value_range=(0, 255), **options)),
        ]
    if rand_augment:
        colours.append(drawing(layers.RandAugment((0, 255), factor=rand_augment, **options)))
    if mixup:
        mixes.append(drawing(layers.MixUp(alpha=mixup, **options)))
    if cutmix:
        mixes.append(drawing(layers.CutMix(factor=(cutmix, cutmix), **options)))
    move_seed, choice_seed = (int(x) for x in rng.integers(1 << 31, size=2))

    def augment(step, images, y):
        for generator in draws:
            generator.begin(step)
        images = tf.cast(images, tf.float32)
        if geometry:
            images = move(images, [move_seed, step])
        if crop:
            images = random_crop(images, [move_seed, step], *crop)
        images = _each_picture(images, colours)
        if len(mixes) == 2:
            coin = tf.random.stateless_uniform([], [choice_seed, step])
            return tf.cond(
                coin < 0.5, lambda: mix(mixes[0], images, y), lambda: mix(mixes[1], images, y)
            )
        return mix(mixes[0], images, y) if mixes else (images, y)

    return augment


class Draws(keras.random.SeedGenerator):
    """Gives a Keras layer the seeds of one batch, counted from its number.

    Keras's own generator counts in a variable that all threads share: the seed of a batch is then
    that of whichever came first. This one holds no variable; `begin` is called with the number of
    the batch, a tensor, while the graph of the augmentation is traced.
    """

    def __init__(self, number):
        # Not Keras's: that makes the variable.
        self.number, self.step, self.drawn = number, None, 0

    def begin(self, step):
        self.step, self.drawn = tf.cast(step, tf.int64), 0

    def next(self, ordered=True):
        self.drawn += 1
        seed = tf.stack([tf.constant(self.number, tf.int64), self.step])
        return tf.random.fold_in(seed, self.drawn)


def move(images, seed):
    """Mirrors half of the pictures or pairs, and rotates, zooms and shifts each picture by little.

    All in one step: Keras's layers would interpolate, and blur, three times one after the other.

    Args:
        images: (B, S, S, 3) or (B, 2, S, S, 3) float32.
        seed: two integers.
    """
    size, pairs = images.shape[-2], len(images.shape) == 5
    seeds = tf.random.split(seed, 4)
    batch = tf.shape(images)[0]
    mirrored = tf.random.stateless_uniform([batch], seeds[0]) < 0.5
    if pairs:
        images = tf.where(mirrored[:, None, None, None, None], images[:, ::-1], images)
        mirrored = tf.repeat(mirrored, 2)
    flat = tf.reshape(images, (-1, size, size, 3))
    count = tf.shape(flat)[0]
    angle = tf.random.stateless_uniform([count], seeds[1], -ROTATION, ROTATION)
    zoom = tf.random.stateless_uniform([count], seeds[2], 1 - ZOOM, 1 + ZOOM)
    shift = tf.random.stateless_uniform([count, 2], seeds[3], -SHIFT, SHIFT) * size
    moved = warp(flat, angle, zoom, shift, mirrored)
    return tf.reshape(moved, tf.shape(images))


def random_crop(images, seed, least, side):
    """Mirrors half of the pictures and cuts a random square out of each.

    Its share of the picture's area is uniform between `least` and 1: Szegedy et al. 2015, section
    6, https://arxiv.org/abs/1409.4842, but for the aspect, which stays.

    Args:
        images: (B, S, S, 3) float32.
        seed: two integers.
        least: in (0, 1].
        side: of the result, px.

    Returns:
        (B, side, side, 3).
    """
    size = images.shape[-2]
    seeds = tf.random.split(seed, 3)
    batch = tf.shape(images)[0]
    mirrored = tf.random.stateless_uniform([batch], seeds[0]) < 0.5
    share = tf.sqrt(tf.random.stateless_uniform([batch], seeds[1], least, 1.0))  # of the side
    shift = tf.random.stateless_uniform([batch, 2], seeds[2], -0.5, 0.5) * size
    shift *= 1 - share[:, None]
    return warp(images, tf.zeros_like(share), share * size / side, shift, mirrored, side)


def warp(images, angle, zoom, shift, mirrored, side=None):
    """Turns pictures (B, S, S, 3) about their middle, bilinear; black comes in from outside.

    A point p of the result, measured from the middle, shows the picture at
    `zoom * R(angle) F p + shift` from its own, F mirroring left to right where `mirrored`.

    Args:
        images: float32.
        angle: (B,) radians.
        zoom: (B,) above 1 shows more, smaller.
        shift: (B, 2) pixels, x and y.
        mirrored: (B,) bool.
        side: of the result, px; None is S.
    """
    side = side or images.shape[1]
    middle, new = (images.shape[1] - 1) / 2, (side - 1) / 2
    sign = tf.where(mirrored, -1.0, 1.0)
    cos, sin = zoom * tf.cos(angle), zoom * tf.sin(angle)
    a, b, c, d = cos * sign, -sin, sin * sign, cos
    transforms = [
        *(a, b, middle + shift[:, 0] - (a + b) * new),
        *(c, d, middle + shift[:, 1] - (c + d) * new),
        *(tf.zeros_like(a), tf.zeros_like(a)),
    ]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(transforms, axis=1),
        output_shape=[side, side],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )


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


def _each_picture(images, colours):
    shape = tf.shape(images)
    x = tf.reshape(images, (-1, *images.shape[-3:]))
    for layer in colours:
        x = layer(x, training=True)
    return tf.reshape(tf.clip_by_value(x, 0.0, 255.0), shape)
