"""What every training does around its epochs: where it runs, with which numbers to start from."""

import contextlib

import keras
import tensorflow as tf

from fundus_diag.models.encoders import preset_of
from fundus_diag.training import jax_hosts
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.mixed_precision import has_gpu, on_jax, precision


def device_strategy():
    """Mirrored over the GPUs where there are several, else TensorFlow's default."""
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus])
    return tf.distribute.get_strategy()


def start(config):
    """Draws every random number from the run's seed; returns the strategy of its devices.

    On JAX, which has one for the whole process, that is None.
    """
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    return None if on_jax() else device_strategy()


def check_shares(strategy, batch_size):
    """Raises UsageError where the devices cannot share a batch evenly."""
    devices = jax_hosts.spread() if strategy is None else strategy.num_replicas_in_sync
    if batch_size % devices:
        raise UsageError(
            f"--batch-size {batch_size}: {devices} devices need a multiple of {devices}"
        )


@contextlib.contextmanager
def at_work(config, strategy, decoder=False):
    """Arithmetic and devices of the network; yields the name of the arithmetic.

    Not for the pictures: they are read outside, in full precision.

    Args:
        decoder: whether most of the arithmetic is a decoder's, whose convolutions are dense: these
            bfloat16 makes faster (`benchmarks/train_step.py --network unet`) whatever the encoder.
    """
    scope = contextlib.nullcontext() if strategy is None else strategy.scope()
    name = config.precision
    light = preset_of(config.encoder).float32_on_cpu and not decoder
    if name == "auto" and light and not has_gpu():
        name = "float32"
    with precision(name) as arithmetic, scope:
        yield arithmetic
