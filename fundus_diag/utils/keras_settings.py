"""Keras as this package needs it, whatever another project left in ~/.keras/keras.json."""

import contextlib
import json
import os
from pathlib import Path

from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.processes import unheard

DATA_FORMAT, FLOATX, EPSILON = "channels_last", "float32", 1e-7


def check_backend(backends=("tensorflow",)):
    """Raises UsageError where Keras would run on none of these; Keras is not imported."""
    name, where = chosen_backend()
    if name and name not in backends:
        raise UsageError(
            f"KERAS_BACKEND={name}{where}: the commands need KERAS_BACKEND=tensorflow; `train` "
            "alone runs on jax too"
        )


def chosen_backend():
    """(name of the backend that Keras will run on or None, where that stands); Keras is not
    imported."""
    name = os.environ.get("KERAS_BACKEND")
    if name:
        return name, ""
    path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        return json.loads(path.read_text("utf-8")).get("backend"), f" (of {path})"
    except (OSError, ValueError, AttributeError):
        return None, ""  # no file, or one that Keras does not read either


def start_tensorflow():
    """Imports TensorFlow and finds its devices; what it prints meanwhile is shown only if it fails.

    Its C++ side reports at every start that there is no CUDA and that oneDNN is on, whatever
    TF_CPP_MIN_LOG_LEVEL says (https://github.com/tensorflow/tensorflow/issues/100442); that would
    bury the one line that says what a user did wrong.
    """
    # Kernels of oneDNN make steps a quarter shorter; by itself TensorFlow takes them only on
    # processors that have AVX-512.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # for what comes after the start
    with unheard():
        import tensorflow as tf

        tf.config.list_physical_devices()


def settle():
    """Sets what networks are built and computed by, for this process."""
    import keras

    keras.config.set_image_data_format(DATA_FORMAT)
    keras.config.set_floatx(FLOATX)
    keras.config.set_epsilon(EPSILON)
    keras.config.set_dtype_policy(FLOATX)


@contextlib.contextmanager
def layout():
    """The order of axes and the epsilon that networks are built with here; put back afterwards."""
    import keras

    before = keras.config.image_data_format(), keras.config.epsilon()
    keras.config.set_image_data_format(DATA_FORMAT)
    keras.config.set_epsilon(EPSILON)
    try:
        yield
    finally:
        keras.config.set_image_data_format(before[0])
        keras.config.set_epsilon(before[1])
