"""Smoothing of class activation maps: over changed pictures, and over channels.

Both as the explanations of the CvT grading system use them: `aug_smooth` and `eigen_smooth`.
Muhammad & Yeasin 2020, "Eigen-CAM", equation 2, https://arxiv.org/abs/2008.00299
"""

import tensorflow as tf

# (mirrored, factor on the brightness)
VARIANTS = tuple((mirrored, factor) for mirrored in (False, True) for factor in (1.0, 0.9, 1.1))


def vary(inputs, variant):
    """A variant of pictures (B, S, S, 3), or of a dict of `images` (B, 2, S, S, 3) and `mask`.

    A pair is mirrored as a whole: its eyes swap places.
    """
    mirrored, factor = variant
    pairs = isinstance(inputs, dict)
    images = inputs["images"] if pairs else inputs
    images = tf.clip_by_value(images * factor, 0.0, 255.0)
    if mirrored:
        images = tf.reverse(images, [1, 3] if pairs else [2])
    if not pairs:
        return images
    mask = inputs["mask"]
    return {"images": images, "mask": tf.reverse(mask, [1]) if mirrored else mask}


def undo(maps, variant, pairs):
    """Maps (N, h, w, K) of a variant, back in the places of the pictures; N is 2 B for pairs."""
    mirrored, _ = variant
    if not mirrored:
        return maps
    maps = tf.reverse(tf.convert_to_tensor(maps), [2])
    if not pairs:
        return maps
    return tf.reshape(tf.reverse(tf.reshape(maps, (-1, 2, *maps.shape[1:])), [1]), tf.shape(maps))


def first_component(weighted):
    """Projection of each place's channels on their first principal component.

    The sign of a principal component is arbitrary; taken is the one that agrees with the plain sum
    over channels.

    Args:
        weighted: (N, h, w, C) weighted activations.

    Returns:
        (N, h, w).
    """
    shape = tf.shape(weighted)
    places, channels = weighted.shape[1] * weighted.shape[2], weighted.shape[3]
    x = tf.reshape(weighted, (-1, places, channels))
    x = x - tf.reduce_mean(x, axis=1, keepdims=True)
    # The largest eigenvector of the smaller of the two products gives the same projection.
    if channels <= places:
        _, vectors = tf.linalg.eigh(tf.matmul(x, x, transpose_a=True))
        projected = tf.linalg.matvec(x, vectors[..., -1])
    else:
        values, vectors = tf.linalg.eigh(tf.matmul(x, x, transpose_b=True))
        projected = vectors[..., -1] * tf.sqrt(tf.maximum(values[..., -1:], 0.0))
    agreement = tf.reduce_sum(projected * tf.reduce_sum(x, axis=-1), axis=-1, keepdims=True)
    projected = tf.where(agreement < 0, -projected, projected)
    return tf.reshape(projected, shape[:3])
