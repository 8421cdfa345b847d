"""Reads checkpoints as PyTorch programs publish them: arrays by name, nothing that could run."""

import argparse
import re
import shlex
import zipfile
from pathlib import Path

import ml_dtypes  # noqa: F401  (NumPy learns from it what bfloat16 is)
import numpy as np

from fundus_diag.models.weights.h5 import reading
from fundus_diag.models.weights.strict import Array, shown
from fundus_diag.utils.errors import DataError

MAX_BYTES = 8 * 2**30  # RETFound with the state of its optimizer has 4 GB
MAX_ARRAYS = 10_000
# Before, `weights_only` could be got round: CVE-2025-32434 and CVE-2026-24747.
SAFE_TORCH = (2, 10)
_TORCH_TEXT = f"PyTorch {SAFE_TORCH[0]}.{SAFE_TORCH[1]}"
PICKLES = (".pth", ".pt", ".bin")
# What training programs keep beside the weights, where these lie under the key "model".
BESIDE = ("args", "epoch", "optimizer", "scaler")
_NUMPY_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_CONVERT = (
    "import argparse, torch; from safetensors.torch import save_file; "
    "torch.serialization.add_safe_globals([argparse.Namespace]); "
    "w = torch.load({0!r}, map_location='cpu', weights_only=True); "
    "save_file({{k: v.contiguous() for k, v in w.get('model', w).items()}}, {1!r})"
)


def checkpoint_arrays(path):
    """Arrays of a `.safetensors`, `.pth`, `.pt` or `.bin` file.

    Returns:
        ({name: Array}, [names of what lies beside them]).

    Raises:
        DataError: the file cannot be read, holds more than arrays, or needs a program to read it
            that is not installed.
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
    try:
        import torch
    except ImportError as error:
        command = _CONVERT.format(path.name, path.with_suffix(".safetensors").name)
        raise DataError(
            f"{path}: PyTorch, which reads it, is not installed; convert it where it is, "
            f"{_TORCH_TEXT} or later: python -c {shlex.quote(command)}"
        ) from error
    if tuple(int(x) for x in re.findall(r"\d+", torch.__version__)[:2]) < SAFE_TORCH:
        raise DataError(
            f"{path}: PyTorch {torch.__version__} may run code that is in it; "
            f"{_TORCH_TEXT} or later does not"
        )
    content = _load(torch, path)
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
    odd = [shown(k) for k, v in content.items() if not isinstance(v, torch.Tensor)]
    if odd:
        raise DataError(f"{path}: no arrays: {', '.join(odd[:10])}")
    return {name: _torch_array(torch, path, name, x) for name, x in content.items()}, beside


def _load(torch, path):
    """What a file holds, if nothing in it runs on loading."""
    archive = zipfile.is_zipfile(path)
    if archive:
        try:
            with reading(path), zipfile.ZipFile(path) as entries:
                if any(x.compress_type != zipfile.ZIP_STORED for x in entries.infolist()):
                    raise DataError(f"{path}: compressed, which PyTorch's files are not")
        except zipfile.BadZipFile as error:
            raise DataError(f"{path}: damaged: {shown(str(error))}") from error
    try:
        # MAE and RETFound keep the flags of their training, a Namespace of plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Mapped: the optimizer's state, twice as large as the weights, is never read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except MemoryError as error:
        raise DataError(f"{path}: refused: asks for more memory than there is") from error
    except Exception as error:  # a damaged file throws nearly anything
        # PyTorch's message advises to load the file without this protection.
        found = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
        what = f"it calls {found[1]}" if found else f"{type(error).__name__}"
        raise DataError(
            f"{path}: refused: damaged, or holds more than arrays, and loading it could run code "
            f"({what})"
        ) from error


def _torch_array(torch, path, name, tensor):
    plain = (
        not tensor.is_nested
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and tensor.device.type == "cpu"
    )
    if not plain:
        raise DataError(f"{path}: {shown(name)} is no plain array")

    def read():
        with reading(path):
            return tensor.detach().to(torch.float32).numpy()

    return Array(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), read)
