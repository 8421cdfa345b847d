"""Whether a picture can be judged: what people look for is measured, and has limits to keep.

The measures are of the square picture that a network sees, at 160 to 319 px (larger ones are halved
first), so that they do not depend on the photograph's size; details of two pixels and less, which
compression changes, are left out. The limits are those of a run's own training photographs. What
keeps them may still be worthless, and what does not may be ill: a cataract's haze and a blurred
photograph look alike.
"""

import functools

import numpy as np
import tensorflow as tf

from fundus_diag.imaging.traced import traced

# {measure: what is said of a picture below, and above, its limits}.
MEASURES = {
    "field": ("field of view cut off", None),
    "exposure": ("too dark", "too bright"),
    "clipped": (None, "overexposed"),
    "contrast": ("low contrast", None),
    "sharpness": ("blurred or hazy", None),
}
SHARE = 0.01  # of the training photographs that lie beyond each limit
LARGEST = 320  # px: from here on pictures are halved
RADIUS = 0.92  # of the disc that is looked at, of the one that fills the picture
BATCH = 64


def measures(images, crop="fundus"):
    """What is measured of pictures (B, S, S, 3), RGB in [0, 255]: (B, 5) float32, by `MEASURES`.

    field: share of the round field of view that is lit. exposure: mean green level, of 255, where
    it is lit. clipped: share of that whose green level is 245 or more. contrast, sharpness: spread
    of the green levels' details of 8 to 16 px and of 2 to 4 px of 224 (differences of neighbouring
    levels of a pyramid of means; Burt and Adelson 1983), in levels.

    Args:
        images: tensor, S known.
        crop: of the run: pictures that are not cropped to the field of view are looked at wholly.
    """
    images = tf.cast(images, tf.float32)
    while images.shape[1] >= LARGEST:
        images = tf.nn.avg_pool2d(images, 2, 2, "VALID")
    size = images.shape[1]
    disc = tf.constant(_disc(size) if crop == "fundus" else np.ones((size, size), "float32"))
    bright = tf.reduce_max(images, axis=-1)
    mean = tf.reduce_sum(bright * disc, axis=(1, 2)) / tf.reduce_sum(disc)
    lit = tf.cast(bright > tf.clip_by_value(0.15 * mean, 4.0, 12.0)[:, None, None], tf.float32)
    seen, green = disc * lit, images[..., 1]
    count = tf.maximum(tf.reduce_sum(seen, axis=(1, 2)), 1.0)
    details = _details(green, seen)
    found = [
        tf.reduce_sum(seen, axis=(1, 2)) / tf.reduce_sum(disc),
        tf.reduce_sum(green * seen, axis=(1, 2)) / count / 255,
        tf.reduce_sum(tf.where(green >= 245, seen, 0.0), axis=(1, 2)) / count,
        details[3],
        details[1],
    ]
    return tf.stack(found, axis=1)


def _disc(size):
    y, x = np.mgrid[:size, :size] + 0.5
    return (np.hypot(y - size / 2, x - size / 2) < RADIUS * size / 2).astype("float32")


def _details(green, seen, levels=4):
    """Spread of each level of a pyramid of means over the next, where all is seen: (B,) each."""
    means, weights = green[..., None], seen[..., None]
    spreads = []
    for _ in range(levels):
        weight = tf.nn.avg_pool2d(weights, 2, 2, "VALID")
        coarse = tf.nn.avg_pool2d(means * weights, 2, 2, "VALID")
        coarse = tf.where(weight > 0, coarse / tf.maximum(weight, 1e-6), 0.0)
        side = 2 * coarse.shape[1]
        apart = means[:, :side, :side] - _doubled(coarse)
        whole = tf.cast(_doubled(weight) > 0.999, tf.float32)
        energy = tf.reduce_sum(whole * apart**2, axis=(1, 2, 3))
        spreads.append(tf.sqrt(energy / tf.maximum(tf.reduce_sum(whole, axis=(1, 2, 3)), 1.0)))
        means, weights = coarse, weight
    return spreads


def _doubled(images):
    return tf.repeat(tf.repeat(images, 2, axis=1), 2, axis=2)


def said(values, limits):
    """Why pictures are poor, by their measures: (B,) strings, "" of those that keep all limits.

    Args:
        values: (B, 5), of `measures`.
        limits: {measure: [lowest or None, highest or None]}.
    """
    words = []
    for k, (name, texts) in enumerate(MEASURES.items()):
        for text, limit, sign in zip(texts, limits[name], (-1, 1), strict=True):
            if text is not None and limit is not None:
                # What is no number keeps no limit.
                kept = sign * values[:, k] <= sign * tf.constant(limit, values.dtype)
                words.append(tf.where(kept, "", f", {text}"))
    joined = tf.strings.join(words) if words else tf.fill(tf.shape(values)[:1], "")
    return tf.strings.regex_replace(joined, "^, ", "")


@functools.lru_cache(maxsize=8)
def _traced(size, crop):
    spec = tf.TensorSpec((None, size, size, 3), tf.float32)
    return traced(lambda images: measures(images, crop), spec)


def measured(pictures, crop="fundus"):
    """`measures` of an array of pictures (N, S, S, 3): (N, 5) float32 array."""
    function = _traced(pictures.shape[1], crop)
    parts = [pictures[k : k + BATCH] for k in range(0, len(pictures), BATCH)]
    found = [function(np.asarray(part, np.float32)).numpy() for part in parts]
    return np.concatenate(found) if found else np.zeros((0, len(MEASURES)), np.float32)


def why_poor(picture, limits, crop="fundus"):
    """Why one picture (S, S, 3) is poor, "" where it keeps all limits; see `said`."""
    return said(measured(picture[None], crop), limits)[0].numpy().decode()


def fit_limits(values, share=SHARE):
    """Limits that photographs like those given keep: {measure: [lowest or None, highest or None]}.

    Args:
        values: (N, 5), of `measured`.
        share: of the photographs beyond one limit.
    """
    limits = {}
    for k, (name, (below, above)) in enumerate(MEASURES.items()):
        low, high = (float(np.quantile(values[:, k], edge)) for edge in (share, 1 - share))
        limits[name] = [None if below is None else low, None if above is None else high]
    return limits
