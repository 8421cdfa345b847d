"""Arithmetic of training and of the fast prediction path.

On a GPU reduced precision is Keras's mixed policy. On a CPU with bfloat16 instructions the graph
is left in float32 and oneDNN rewrites its convolutions and products: faster there than the mixed
policy (`benchmarks/train_step.py`).
"""

import contextlib
import platform
from pathlib import Path

import keras
import tensorflow as tf

from fundus_diag.utils.errors import UsageError

ONEDNN_OPTION = "auto_mixed_precision_onednn_bfloat16"


def has_gpu():
    return bool(tf.config.list_physical_devices("GPU"))


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
    if not has_gpu():
        return "bfloat16" if cpu_has_bfloat16() else "float32"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    # bfloat16 came with compute capability 8; it needs no loss scaling.
    recent = details.get("compute_capability", (0, 0)) >= (8, 0)
    return "bfloat16" if recent else "float16"


@contextlib.contextmanager
def float32_layers():
    """Layers built inside compute in float32, whatever Keras's global policy is."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def precision(name):
    """Sets the arithmetic of the models built and functions called inside; yields its name.

    Raises:
        UsageError: bfloat16 is asked for on a CPU without it.
    """
    resolved = resolve_precision(name)
    on_cpu_bfloat16 = resolved == "bfloat16" and not has_gpu()
    if on_cpu_bfloat16 and not cpu_has_bfloat16():
        raise UsageError("--precision bfloat16: this processor has none; use auto or float32")
    before = keras.config.dtype_policy()
    if resolved != "float32" and not on_cpu_bfloat16:
        keras.config.set_dtype_policy(f"mixed_{resolved}")
    else:
        keras.config.set_dtype_policy("float32")
    tf.config.optimizer.set_experimental_options({ONEDNN_OPTION: on_cpu_bfloat16})
    try:
        yield resolved
    finally:
        keras.config.set_dtype_policy(before)
        tf.config.optimizer.set_experimental_options({ONEDNN_OPTION: False})
