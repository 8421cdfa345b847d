"""The photographs of a table, each decoded once, in memory or on disk."""

import contextlib
import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from fundus_diag.imaging import preprocess
from fundus_diag.imaging.frames import split_frame
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import NO_ROOM, make_folder, reason, reserve, writing
from fundus_diag.utils.processes import alive, cores, free_memory, host, started
from fundus_diag.utils.progress import track

PARTIAL = re.compile(r"pictures-[0-9a-f]{16}\.(?P<host>.+)\.(?P<pid>\d+)-(?P<start>\d*)\.partial")


@dataclass(frozen=True)
class Pictures:
    """The photographs of a table, each once.

    Attributes:
        paths: files.
        image_size: side of the square picture, px.
        crop: "fundus" or "none".
        array: (n, S, S, 3) uint8, in memory or mapped from disk; None: decoded when asked for.
        failures: (path, reason) of what could not be read when it was asked for.
        blank: files that show nothing, of those that were decoded to make this.
        several: files that hold further pictures, of the same.
    """

    paths: tuple
    image_size: int
    crop: str
    array: np.ndarray | None
    failures: list = field(default_factory=list)
    blank: tuple = ()
    several: tuple = ()


def load_pictures(
    paths,
    image_size,
    crop="fundus",
    cache="ram",
    cache_dir=None,
    workers=None,
    title="reading photographs",
):
    """Decodes every photograph once.

    Args:
        paths: files, each once.
        image_size: side of the square picture, px.
        crop: "fundus" or "none".
        cache: "ram", "disk" (a file in `cache_dir`, used again by a later run on the same files)
            or "none": only checked here, decoded again in each epoch.
        cache_dir: folder for "disk".
        workers: threads; None is one a core.
        title: of the bar; None where the caller shows one of its own.

    Returns:
        (Pictures, bad): `bad` is a list of (path, reason). Rows with such a picture have to be
        left out: nothing stands in its place.

    Raises:
        UsageError: "ram" needs more memory than is free; said before anything is decoded.
        DataError: "disk" finds no room, or cannot be written.
    """
    paths = tuple(Path(p) for p in paths)
    shape = (len(paths), image_size, image_size, 3)
    if cache == "disk":
        finished, partial = _cache_files(paths, image_size, crop, cache_dir)
        _remove_left_behind(finished.parent)
        if finished.exists():
            array = np.lib.format.open_memmap(finished, mode="r")
            if array.shape == shape and array.dtype == np.uint8:
                return Pictures(paths, image_size, crop, array), []
        array = _reserve(partial, shape)
    else:
        array = _in_memory(shape) if cache == "ram" else None

    blank, several = set(), set()

    def load(index):
        try:
            picture, seen, more = preprocess.look_at(paths[index], image_size, crop)
        except DataError as error:
            return str(error).removeprefix(f"{paths[index]}: ")
        if not seen:
            blank.add(index)
        if more:
            several.add(index)
        if array is not None:
            array[index] = picture  # whole levels by contract: nothing is lost
        return None

    # One alone: threads that meet the decoding graph unprepared would each prepare it, for seconds.
    with _removed_unless_whole(partial if cache == "disk" else None):
        first = [load(index) for index in range(len(paths))[:1]]
        with ThreadPoolExecutor(workers or cores()) as pool:
            reasons = chain(first, pool.map(load, range(len(paths))[1:]))
            reasons = track(reasons, title, len(paths)) if title else reasons
            bad = [(paths[i], reason) for i, reason in enumerate(reasons) if reason]
        if cache == "disk" and not bad:  # its holes must never be taken for pictures
            with writing(finished):
                array.flush()
                os.replace(partial, finished)
    odd = [tuple(paths[i] for i in sorted(found)) for found in (blank, several)]
    # What is mapped stays readable, though its file is removed.
    return Pictures(paths, image_size, crop, array, [], *odd), bad


def megabytes(size):
    """A number of bytes as people read it: "63 GB", "3.1 MB", "21 kB"."""
    if size >= 1e9:
        return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _in_memory(shape):
    needed, free = int(np.prod(shape)), free_memory()
    try:
        if free is None or needed <= free:
            return np.empty(shape, np.uint8)
    except MemoryError:
        pass
    there = "" if free is None else f", {megabytes(free)} are free"
    raise UsageError(f"--cache ram needs {megabytes(needed)}{there}: --cache disk or none")


def _reserve(partial, shape):
    """A file mapped as an array (n, S, S, 3) uint8 for which there is room: a page of a mapped file
    that found none would end the process without a word.
    """
    size = int(np.prod(shape))
    try:
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with open(partial, "r+b") as file:
            reserve(file, os.fstat(file.fileno()).st_size, kept=128)  # NumPy wrote its head
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        where = partial.parent
        if error.errno in NO_ROOM:
            advice = f"no room for the cache of {megabytes(size)} (--cache-dir, --cache none)"
            raise DataError(f"{where}: {advice}") from error
        raise DataError(f"{where}: cannot be written: {reason(error)} (--cache-dir)") from error
    return array


@contextlib.contextmanager
def _removed_unless_whole(partial):
    try:
        yield
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _remove_left_behind(cache_dir):
    """Removes what processes of this machine that are gone were reading into."""
    for path in cache_dir.glob("pictures-*.partial"):
        name = PARTIAL.fullmatch(path.name)
        if name and name["host"] == host() and not alive(int(name["pid"]), name["start"]):
            with contextlib.suppress(OSError):
                path.unlink()


def _cache_files(paths, image_size, crop, cache_dir):
    """(finished, partial) file of the disk cache; its name changes when any photograph does."""
    facts = [f"{preprocess.VERSION} {image_size} {crop}"]
    for path in paths:
        try:
            stat = split_frame(path)[0].stat()
            facts.append(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
        except OSError:
            facts.append(f"{path} missing")
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    cache_dir = Path(cache_dir)
    make_folder(cache_dir)
    reader = f"{host()}.{os.getpid()}-{started(os.getpid())}"
    return cache_dir / f"pictures-{key}.npy", cache_dir / f"pictures-{key}.{reader}.partial"
