"""Every so manyth pixel of a picture: the quick first step of a small copy."""

import tensorflow as tf


def thinned(images, step):
    """Every `step`-th row and column of images (.., H, W, 3), from the first on.

    As `images[.., ::step, ::step, :]`, which takes TensorFlow three times as long.
    """
    height, width = tf.unstack(tf.shape(images)[-3:-1])
    rows = tf.gather(images, tf.range(0, height, step), axis=-3)
    return tf.gather(rows, tf.range(0, width, step), axis=-2)
