"""Keras as this package needs it, whatever another project left in ~/.keras/keras.json."""

import contextlib
import json
import os
from pathlib import Path

from fundus_diag.utils.errors import UsageError

DATA_FORMAT, FLOATX, EPSILON = "channels_last", "float32", 1e-7


def check_backend():
    """Raises UsageError where Keras would not run on TensorFlow; Keras is not imported."""
    name, where = os.environ.get("KERAS_BACKEND"), ""
    if not name:
        path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
        try:
            name, where = json.loads(path.read_text("utf-8")).get("backend"), f" (of {path})"
        except (OSError, ValueError, AttributeError):
            return  # none, or one that Keras does not read either
    if name and name != "tensorflow":
        raise UsageError(f"KERAS_BACKEND={name}{where}: the commands need KERAS_BACKEND=tensorflow")


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
