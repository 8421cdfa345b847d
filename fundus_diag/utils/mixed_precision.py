"""Arithmetic of training and of the fast prediction path.

On a GPU reduced precision is Keras's mixed policy. On a CPU with bfloat16 instructions the graph
is left in float32 and oneDNN rewrites its convolutions and products: faster there than the mixed
policy (`benchmarks/train_step.py`). Convolutions of single channels stay in float32: for the way
back through them in bfloat16 TensorFlow has no kernel of oneDNN's, and its own takes up to twice as
long (`benchmarks/train_step.py --throughout`).
"""

import contextlib
import os
import platform
from pathlib import Path

import keras
import tensorflow as tf

from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.keras_settings import FLOATX, layout

ONEDNN_OPTION = "auto_mixed_precision_onednn_bfloat16"
# What TensorFlow reads, whenever it rewrites a graph, as the operations that it leaves alone.
LEFT_ALONE = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE"
DEPTHWISE = ",".join(f"DepthwiseConv2dNative{x}" for x in ("", "BackpropInput", "BackpropFilter"))


def has_gpu():
    if on_jax():
        import jax

        return jax.default_backend() == "gpu"
    return bool(tf.config.list_physical_devices("GPU"))


def on_jax():
    """Whether Keras runs on JAX, as it may for training."""
    return keras.backend.backend() == "jax"


def cpu_has_bfloat16():
    """Whether this processor computes in bfloat16 (AVX512-BF16 or AMX); False where unknown."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not cpuinfo.exists():
        return False
    flags = next((x for x in cpuinfo.read_text().splitlines() if x.startswith("flags")), "")
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_precision(name):
    """ "auto" to what this machine computes fastest: "float32", "bfloat16" or "float16"."""
    if name != "auto":
        return name
    if on_jax():
        return "bfloat16" if has_gpu() else "float32"
    if not has_gpu():
        return "bfloat16" if cpu_has_bfloat16() else "float32"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    # bfloat16 came with compute capability 8; it needs no loss scaling.
    recent = details.get("compute_capability", (0, 0)) >= (8, 0)
    return "bfloat16" if recent else "float16"


@contextlib.contextmanager
def precision(name):
    """Sets the arithmetic of the models built and functions called inside; yields its name.

    "float32" is exact: without TF32, which GPUs that have it would take in its place. All else that
    Keras computes by is set too, see `keras_settings`; everything is put back afterwards.

    Raises:
        UsageError: bfloat16 is asked for on a CPU without it, or on JAX on any.
    """
    resolved = resolve_precision(name)
    on_cpu_bfloat16 = resolved == "bfloat16" and not has_gpu()
    if on_cpu_bfloat16 and on_jax():
        raise UsageError("--precision bfloat16: of JAX on a GPU; use auto or float32")
    if on_cpu_bfloat16 and not cpu_has_bfloat16():
        raise UsageError("--precision bfloat16: this processor has none; use auto or float32")
    before = keras.config.dtype_policy(), keras.config.floatx()
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    exact = resolved == "float32"
    with layout(), _jax_products(exact), _depthwise_left_alone(on_cpu_bfloat16):
        keras.config.set_floatx(FLOATX)
        policy = FLOATX if exact or on_cpu_bfloat16 else f"mixed_{resolved}"
        keras.config.set_dtype_policy(policy)
        tf.config.experimental.enable_tensor_float_32_execution(tf32 and not exact)
        tf.config.optimizer.set_experimental_options({ONEDNN_OPTION: on_cpu_bfloat16})
        try:
            yield resolved
        finally:
            keras.config.set_floatx(before[1])
            keras.config.set_dtype_policy(before[0])
            tf.config.experimental.enable_tensor_float_32_execution(tf32)
            tf.config.optimizer.set_experimental_options({ONEDNN_OPTION: False})


@contextlib.contextmanager
def _depthwise_left_alone(wanted):
    before = os.environ.get(LEFT_ALONE)
    if wanted:
        os.environ[LEFT_ALONE] = ",".join(filter(None, (before, DEPTHWISE)))
    try:
        yield
    finally:
        if wanted and before is None:
            os.environ.pop(LEFT_ALONE, None)
        elif wanted:
            os.environ[LEFT_ALONE] = before


def _jax_products(exact):
    """Products of JAX in all of float32 where that is asked for: a GPU takes TF32 by default."""
    if not (exact and on_jax()):
        return contextlib.nullcontext()
    import jax

    return jax.default_matmul_precision("highest")
