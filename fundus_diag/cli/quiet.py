"""TensorFlow without its start-up lines."""

import contextlib
import os
import sys

from fundus_diag.utils.keras_settings import check_backend, settle
from fundus_diag.utils.processes import unheard

# Keras imports them where they are, for seconds, for classes that nothing here has a use for.
# Reports import matplotlib themselves.
UNUSED = ("sklearn", "matplotlib")


def import_tensorflow(backends=("tensorflow",)):
    """Imports TensorFlow and finds its devices; what it prints meanwhile is shown only if it fails.

    Its C++ side reports at every start that there is no CUDA and that oneDNN is on, whatever
    TF_CPP_MIN_LOG_LEVEL says (https://github.com/tensorflow/tensorflow/issues/100442); that would
    bury the one line that says what a user did wrong.

    Keras is then set as this package needs it. Where it runs on JAX, TensorFlow reads the pictures
    alone, and leaves the GPUs to JAX.

    Args:
        backends: of Keras, that the command can do with.

    Raises:
        UsageError: Keras is set to another backend.
    """
    check_backend(backends)
    # Kernels of oneDNN make steps a quarter shorter; by itself TensorFlow takes them only on
    # processors that have AVX-512.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # for what comes after the start
    with unheard(), absent(*UNUSED):
        import tensorflow as tf

        tf.config.list_physical_devices()
        settle()
        import keras

        if keras.backend.backend() == "jax":
            tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def absent(*names):
    """As if these packages were not installed: Keras can do without them, and so starts sooner."""
    names = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
