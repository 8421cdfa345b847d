"""What of a picture, and of a photograph, shows the field of view (`field.locate_field`)."""

import tensorflow as tf

from fundus_diag.imaging.preprocess import in_field


def field_in_picture(field, box, height, width, size):
    """Which pixels of a picture show the field of view of its photograph: (S, S) bool tensor.

    Args:
        field, box: see `preprocess.Loaded`.
        height, width: of the photograph.
        size: of the picture, S.
    """
    box = tf.cast(box, tf.float32)
    middles = (tf.range(float(size)) + 0.5) / size
    y, x = (box[k] + middles * (box[k + 2] - box[k]) for k in range(2))
    return in_field(y, x, field, height, width)


def picture_field(loaded):
    """As `field_in_picture`, of a `preprocess.Loaded`: (S, S) bool array."""
    height, width = loaded.photograph.shape[:2]
    return field_in_picture(loaded.field, loaded.box, height, width, len(loaded.picture)).numpy()


def field_on_photograph(field, height, width):
    """Which pixels of a photograph show its field of view: (H, W) bool tensor."""
    y, x = (tf.range(tf.cast(n, tf.float32)) + 0.5 for n in (height, width))
    return in_field(y, x, field, height, width)
