"""Files of a cache that runs share: made under a name of their own, whole before they are seen."""

import contextlib
import os
import re
import tempfile

import numpy as np

from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import NO_ROOM, make_folder, reason, reserve
from fundus_diag.utils.processes import alive, free_memory, host, started

PARTIAL = re.compile(
    r"(pictures|features|segments)-[0-9a-f]{16}\.(?P<host>.+)\.(?P<pid>\d+)-(?P<start>\d*)\.partial"
)


def megabytes(size):
    """A number of bytes as people read it: "63 GB", "3.1 MB", "21 kB"."""
    if size >= 1e9:
        return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def in_memory(shape, dtype):
    """An array for which there is room.

    Raises:
        UsageError: it needs more memory than is free.
    """
    needed, free = _bytes(shape, dtype), free_memory()
    try:
        if free is None or needed <= free:
            return np.empty(shape, dtype)
    except MemoryError:
        pass
    there = "" if free is None else f", {megabytes(free)} are free"
    raise UsageError(f"--cache ram needs {megabytes(needed)}{there}: --cache disk or none")


def cache_files(cache_dir, kind, key):
    """(finished, partial) file of what has this key; the folder is made, and swept.

    Args:
        cache_dir: pathlib.Path.
        kind: "pictures" or "features".
        key: 16 digits, hexadecimal.
    """
    make_folder(cache_dir)
    _remove_left_behind(cache_dir)
    maker = f"{host()}.{os.getpid()}-{started(os.getpid())}"
    return cache_dir / f"{kind}-{key}.npy", cache_dir / f"{kind}-{key}.{maker}.partial"


def finished_array(path, shape, dtype):
    """The array of a finished file, mapped; None where there is none of this shape."""
    if not path.exists():
        return None
    array = np.lib.format.open_memmap(path, mode="r")
    return array if (array.shape, array.dtype) == (shape, dtype) else None


def reserved(partial, shape, dtype):
    """A file mapped as an array for which there is room: a page of a mapped file that found none
    would end the process without a word.

    Raises:
        DataError: there is no room, or the folder cannot be written.
    """
    with _room(partial.parent, shape, dtype):
        try:
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
            with open(partial, "r+b") as file:
                reserve(file, os.fstat(file.fileno()).st_size, kept=128)  # NumPy wrote its head
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    return array


def unnamed(folder, shape, dtype):
    """As `reserved`, of a file in a folder that nobody else sees: its room goes with the array."""
    with _room(folder, shape, dtype), tempfile.TemporaryFile(dir=folder) as file:
        reserve(file, _bytes(shape, dtype))
        return np.memmap(file, dtype, "r+", shape=shape)


def _bytes(shape, dtype):
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


@contextlib.contextmanager
def _room(folder, shape, dtype):
    """Says of a folder that it has no room, or cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            size = megabytes(_bytes(shape, dtype))
            advice = f"no room for the cache of {size} (--cache-dir, --cache none)"
            raise DataError(f"{folder}: {advice}") from error
        raise DataError(f"{folder}: cannot be written: {reason(error)} (--cache-dir)") from error


@contextlib.contextmanager
def removed_unless_whole(partial):
    """Removes the file that the block makes, where the block did not move it into its place.

    `partial` may be None. What is mapped stays readable, though its file is removed.
    """
    try:
        yield
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _remove_left_behind(cache_dir):
    """Removes what processes of this machine that are gone were writing."""
    for path in cache_dir.glob("*.partial"):
        name = PARTIAL.fullmatch(path.name)
        if name and name["host"] == host() and not alive(int(name["pid"]), name["start"]):
            with contextlib.suppress(OSError):
                path.unlink()
