"""Reads checkpoints as PyTorch programs publish them: arrays by name, nothing that could run."""

import contextlib
from pathlib import Path

import ml_dtypes  # noqa: F401  (NumPy learns from it what bfloat16 is)
import numpy as np

from fundus_diag.models.weights import pth
from fundus_diag.models.weights.h5 import reading
from fundus_diag.models.weights.pickled_values import Refused, Tensor
from fundus_diag.models.weights.strict import Array, shown
from fundus_diag.utils.errors import DataError

MAX_BYTES = 8 * 2**30  # RETFound with the state of its optimizer has 4 GB
MAX_ARRAYS = 10_000
PICKLES = (".pth", ".pt", ".bin")
# What training programs keep beside the weights, where these lie under the key "model".
BESIDE = ("args", "epoch", "optimizer", "scaler")
_NUMPY_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def checkpoint_arrays(path):
    """Arrays of a `.safetensors`, `.pth`, `.pt` or `.bin` file.

    Returns:
        ({name: Array}, [names of what lies beside them]).

    Raises:
        DataError: the file cannot be read or holds more than arrays, or `safetensors`, which
            reads it, is not installed.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path}: larger than {MAX_BYTES // 2**30} GiB")
    safe = path.suffix == ".safetensors"
    arrays, beside = (_safetensors(path), []) if safe else _pickle(path)
    if not 0 < len(arrays) <= MAX_ARRAYS:
        raise DataError(f"{path}: holds {len(arrays)} arrays, expected 1 to {MAX_ARRAYS}")
    return arrays, beside


def _safetensors(path):
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise DataError(
            f"{path}: safetensors is not installed; pip install '.[port]' in the clone"
        ) from error
    try:
        with reading(path):
            file = safe_open(path, framework="np")
            return {name: _safetensors_array(path, file, name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{path}: not a safetensors file: {shown(str(error))}") from error


def _safetensors_array(path, file, name):
    part = file.get_slice(name)
    kind = part.get_dtype()

    def read():
        with reading(path):
            return file.get_tensor(name).astype(np.float32)

    return Array(name, tuple(part.get_shape()), _NUMPY_NAMES.get(kind, kind), read)


def _pickle(path):
    with _refusing(path):
        content, read = pth.load(path)
    beside = []
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        beside = [key for key in content if key in BESIDE]
        others = [key for key in content if key not in (*BESIDE, "model")]
        if others:
            names = ", ".join(shown(str(key)) for key in others[:10])
            raise DataError(f"{path}: unknown beside 'model': {names}")
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(x, str) for x in content):
        raise DataError(f"{path}: not a dictionary of arrays")
    odd = [shown(k) for k, v in content.items() if not (isinstance(v, Tensor) and pth.fits(v))]
    if odd:
        raise DataError(f"{path}: no arrays: {', '.join(odd[:10])}")
    return {name: _pickled_array(path, name, x, read) for name, x in content.items()}, beside


def _pickled_array(path, name, tensor, read):
    def floats():
        with _refusing(path):
            return read(tensor).astype(np.float32)

    return Array(name, tensor.shape, pth.dtype(tensor), floats)


@contextlib.contextmanager
def _refusing(path):
    try:
        with reading(path):
            yield
    except Refused as error:
        raise DataError(f"{path}: refused: {error}") from error
