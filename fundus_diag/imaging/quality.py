"""Whether a picture shows anything at all: one rule for tables and for served photographs."""

import cv2
import numpy as np
import tensorflow as tf

from fundus_diag.imaging.thin import thinned
from fundus_diag.imaging.traced import traced

BLANK = "no field of view: nothing stands out"
NOTHING = "show nothing (black, white or of one colour)"  # in a line about several
RANGE = "not a picture: values must lie from 0 to 255"


def checked(images):
    """Pictures (B, .., 3) as they are, black where they are none, and errors (B,)."""
    axes = range(1, images.shape.rank)
    fine = tf.reduce_all((images >= 0) & (images <= 255), axis=list(axes))  # NaN is neither
    kept = tf.where(tf.reshape(fine, (-1, *(1 for _ in axes))), images, 0.0)
    return kept, tf.where(fine, "", RANGE)


def blank(images):
    """What is said of each of (B, H, W, 3) that shows nothing, "" of the others: (B,)."""
    return tf.where(has_field(images), "", BLANK)


def is_blank(picture) -> bool:
    """Whether one picture (H, W, 3) in [0, 255], an array, shows nothing; see `has_field`."""
    step = max(1, min(max(picture.shape[:2]) // 128, min(picture.shape[:2]) // 2))
    return not bool(_traced_seen(np.ascontiguousarray(picture[::step, ::step], np.float32)))


def sharpness(picture) -> float:
    """How much fine detail a picture (H, W, 3) uint8 has: larger is sharper.

    Variance of the Laplacian of the green channel, in which vessels stand out, over the middle of
    the picture at 256 px of its shorter side, as a share of the variance of brightness there
    (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy"). It compares
    photographs of one eye; between eyes and cameras it says little.
    """
    height, width = picture.shape[:2]
    zoom = min(1.0, 256 / min(height, width))
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    green = cv2.resize(np.ascontiguousarray(picture[..., 1]), size, interpolation=cv2.INTER_AREA)
    rows, columns = (slice(side // 4, side - side // 4) for side in green.shape)
    middle = green[rows, columns].astype(np.float32)
    spread = float(middle.var())
    return float(cv2.Laplacian(middle, cv2.CV_32F).var()) / (spread + 1.0)


def has_field(images):
    """Whether each of the images (B, H, W, 3), [0, 255], shows anything at all: (B,) bool.

    False for a picture of one colour, black or not: of its darkest and its brightest hundredth of
    parts, some 64 x 64, neither stands out from the other by 8 levels.
    """
    sides = tf.shape(images)[1:3]
    step = tf.minimum(tf.reduce_max(sides) // 128, tf.reduce_min(sides) // 2)
    step = tf.maximum(1, step)
    copy = tf.ensure_shape(tf.cast(thinned(images, step), tf.float32), (None, None, None, 3))
    brightness = tf.reduce_max(tf.nn.avg_pool2d(copy, 2, 2, "VALID"), axis=-1)
    levels = tf.sort(tf.reshape(brightness, (tf.shape(images)[0], -1)), axis=-1)
    last = tf.cast(tf.shape(levels)[1] - 1, tf.float32)
    low, high = (
        tf.gather(levels, tf.cast(tf.round(share * last), tf.int32), axis=1)
        for share in (0.01, 0.99)
    )
    return high - low >= 8.0


# Op by op it takes twenty times as long.
_traced_seen = traced(lambda image: has_field(image[None])[0], tf.TensorSpec((None, None, 3)))
