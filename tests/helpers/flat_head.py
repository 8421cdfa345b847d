"""A network whose head weighs every place by itself, and pictures for it."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from small_encoders import SIZE

LABELS = 3


def photographs():
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    return tf.image.resize(coarse, (SIZE, SIZE), "bicubic").numpy().clip(0, 255)


def flat_head(images):
    """A network whose head is no global average: every place has weights of its own."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(images.shape[1:], name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(6, 5, strides=4, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="second")(x)
    x = layers.Flatten(name="head_pool")(x)
    x = layers.Dense(16, activation="tanh", name="head_dense")(x)
    return keras.Model(inputs, layers.Dense(LABELS, name="head_logits")(x), name="flat")
