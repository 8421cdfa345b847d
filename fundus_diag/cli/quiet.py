"""TensorFlow without its start-up lines."""

import contextlib
import sys

from fundus_diag.utils.keras_settings import check_backend, settle, start_tensorflow
from fundus_diag.utils.processes import unheard

# Keras imports them where they are, for seconds, for classes that nothing here has a use for.
# Reports import matplotlib themselves.
UNUSED = ("sklearn", "matplotlib")


def import_tensorflow(backends=("tensorflow",)):
    """Starts TensorFlow, and sets Keras as this package needs it.

    Where Keras runs on JAX, TensorFlow reads the pictures alone, and leaves the GPUs to JAX.

    Args:
        backends: of Keras, that the command can do with.

    Raises:
        UsageError: Keras is set to another backend.
    """
    check_backend(backends)
    with absent(*UNUSED):
        start_tensorflow()
        with unheard():
            settle()
            import keras
    if keras.backend.backend() == "jax":
        import tensorflow as tf

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
