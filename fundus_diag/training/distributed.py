"""The devices that a training runs on."""

import tensorflow as tf


def device_strategy():
    """Mirrored over the GPUs where there are several, else TensorFlow's default."""
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    return tf.distribute.get_strategy()
