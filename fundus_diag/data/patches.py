"""Patches of photographs with masks: what a step of a segmenter's training sees.

Each patch is turned, zoomed, mirrored and laid in one interpolation, straight from the picture, so
that nothing black comes in from its own sides. What becomes of a patch is decided by the seed, the
epoch and its number: an epoch is the same bit by bit, whichever thread makes which patch when.
"""

import math

import cv2
import numpy as np
import tensorflow as tf

from fundus_diag.data.outlined import WHOLE

ROTATION = math.radians(30)
ZOOM = 0.2
BRIGHTNESS, CONTRAST, TINT = 0.15, 0.2, 0.08  # of 255, of the deviation, of each channel
PLACES = 5000  # pixels of a class that are kept of a photograph, to draw from


def places(segments, seed=0):
    """{(row, class): (n, 2) y and x} of pixels that are of a class at least by half.

    Of more than `PLACES` some are drawn.
    """
    rng, found = np.random.default_rng([seed, 0]), {}
    for i in range(len(segments.rows)):
        for k in range(len(segments.classes)):
            at = np.flatnonzero(segments.array[i, ..., 3 + k] >= WHOLE / 2)
            if len(at):
                at = rng.choice(at, PLACES, replace=False) if len(at) > PLACES else at
                found[i, k] = np.stack(np.unravel_index(at, segments.array.shape[1:3]), axis=1)
    return found


def patch_batches(segments, found, side, count, batch_size, seed, *, share=0.5, augment=True):
    """One epoch of training batches.

    Args:
        segments: `Segments` of train.
        found: of `places`.
        side: P of a patch, px of the pictures; the pictures' own side is all of each.
        count: patches of each photograph.
        batch_size: an incomplete last batch is left out, unless it is the only one.
        seed: list of int; the same seed gives the same epoch again.
        share: of the patches that are laid about a pixel of a class, drawn evenly over the classes
            that a photograph has, so that small lesions are seen; the others lie anywhere.
        augment: turn by up to 30 degrees, zoom by 20 %, mirror both ways, change brightness,
            contrast and colour.

    Returns:
        tf.data.Dataset of (pictures (B, P, P, 3) float32 in [0, 255], masks (B, P, P, K) float32 in
        [0, 1], NaN where nobody looked for the class).
    """
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(segments.rows)), count))
    batch_size = min(batch_size, len(order))
    classes = len(segments.classes)

    def patch(number):
        rng = np.random.default_rng([*seed, int(number)])
        return _patch(segments, found, order[number], side, share, augment, rng)

    def prepare(number):
        picture, masks = tf.numpy_function(patch, [number], (tf.float32, tf.float32))
        return tf.ensure_shape(picture, (side, side, 3)), tf.ensure_shape(
            masks, (side, side, classes)
        )

    return (
        tf.data.Dataset.range(len(order))
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)
    )


def _patch(segments, found, row, side, share, augment, rng):
    """(picture (P, P, 3), masks (P, P, K)) of one photograph, float32."""
    size = segments.image_size
    zoom = 1.0 + augment * rng.uniform(-ZOOM, ZOOM)
    here = [k for k in range(len(segments.classes)) if (row, k) in found]
    if side == size:
        centre = np.full(2, (size - 1) / 2) + augment * rng.uniform(-0.05, 0.05, 2) * size
    elif here and rng.random() < share:
        own = found[row, here[rng.integers(len(here))]]
        centre = own[rng.integers(len(own))] + rng.uniform(-0.4, 0.4, 2) * side
    else:
        centre = rng.uniform(0, size - 1, 2)
    room = max(0.0, (size - side) / 2)  # the patch stays in the picture, but for its turn and zoom
    middle = (size - 1) / 2
    centre = np.clip(centre, middle - room, middle + room) if side < size else centre
    angle = augment * rng.uniform(-ROTATION, ROTATION)
    mirror = np.where(augment & (rng.random(2) < 0.5), -1.0, 1.0)
    laid = _laid(segments.array[row], centre, zoom, angle, mirror, side)
    picture = laid[..., :3]
    if augment:
        picture = _coloured(picture, rng)
    masks = laid[..., 3:-1] / WHOLE
    masks[..., ~segments.known[row]] = np.nan
    return picture, masks


def _laid(array, centre, zoom, angle, mirror, side):
    """(P, P, C) float32 of an array (S, S, C), bilinear; 0 beyond it.

    Args:
        centre: y and x that the patch's middle shows.
        zoom: pixels of the array to one of the patch.
        angle: radians.
        mirror: 1 or -1 for y and x.
    """
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = np.array([[cos * mirror[1], -sin * mirror[0]], [sin * mirror[1], cos * mirror[0]]])
    # A window, so that only what the patch may show is read: the array may lie on disk.
    reach = math.ceil(side * zoom / math.sqrt(2)) + 2
    low = np.maximum(np.floor(centre).astype(int) - reach, 0)
    high = np.ceil(centre).astype(int) + reach + 1
    window = np.ascontiguousarray(array[low[0] : high[0], low[1] : high[1]], np.float32)
    start = (centre - low)[::-1] - turn @ np.full(2, (side - 1) / 2)
    matrix = np.column_stack([turn, start])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    parts = [  # OpenCV takes four channels at once
        cv2.warpAffine(window[..., k : k + 4], matrix, (side, side), flags=flags).reshape(
            side, side, -1
        )
        for k in range(0, window.shape[-1], 4)
    ]
    return np.concatenate(parts, axis=-1)


def _coloured(picture, rng):
    seen = picture.sum(axis=-1, keepdims=True) > 0  # what is black stays so
    mean = picture.mean(axis=(0, 1), keepdims=True)
    tint = 1 + rng.uniform(-TINT, TINT, 3).astype(np.float32)
    contrast = np.float32(1 + rng.uniform(-CONTRAST, CONTRAST))
    bright = np.float32(255 * rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    changed = ((picture - mean) * contrast + mean) * tint + bright
    return np.where(seen, np.clip(changed, 0, 255), 0).astype(np.float32)
