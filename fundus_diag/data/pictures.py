"""The photographs of a table, each decoded once, in memory or on disk."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fundus_diag.imaging import preprocess
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.progress import track


@dataclass(frozen=True)
class Pictures:
    """The photographs of a table, each once.

    Attributes:
        paths: files.
        image_size: side of the square picture, px.
        crop: "fundus" or "none".
        array: (n, S, S, 3) uint8, in memory or mapped from disk; None: decoded when asked for.
        blank: files that show nothing, of those that were decoded to make this.
    """

    paths: tuple
    image_size: int
    crop: str
    array: np.ndarray | None
    blank: tuple = ()


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
    """
    paths = tuple(Path(p) for p in paths)
    shape = (len(paths), image_size, image_size, 3)
    if cache == "disk":
        finished, partial = _cache_files(paths, image_size, crop, cache_dir)
        if finished.exists():
            array = np.lib.format.open_memmap(finished, mode="r")
            if array.shape == shape and array.dtype == np.uint8:
                return Pictures(paths, image_size, crop, array), []
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    else:
        array = np.empty(shape, np.uint8) if cache == "ram" else None

    blank = set()

    def load(index):
        try:
            picture, seen = preprocess.look_at(paths[index], image_size, crop)
        except DataError as error:
            return str(error).removeprefix(f"{paths[index]}: ")
        if not seen:
            blank.add(index)
        if array is not None:
            array[index] = picture  # whole levels by contract: nothing is lost
        return None

    # One alone: threads that meet the decoding graph unprepared would each prepare it, for seconds.
    first = [load(index) for index in range(len(paths))[:1]]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        reasons = chain(first, pool.map(load, range(len(paths))[1:]))
        reasons = track(reasons, title, len(paths)) if title else reasons
        bad = [(paths[i], reason) for i, reason in enumerate(reasons) if reason]
    if cache == "disk":
        array.flush()
        if bad:
            # Not kept: its holes must never be taken for pictures. What is mapped stays readable.
            partial.unlink()
        else:
            os.replace(partial, finished)
    shown_nothing = tuple(paths[i] for i in sorted(blank))
    return Pictures(paths, image_size, crop, array, blank=shown_nothing), bad


def _cache_files(paths, image_size, crop, cache_dir):
    """(finished, partial) file of the disk cache; its name changes when any photograph does."""
    facts = [f"{preprocess.VERSION} {image_size} {crop}"]
    for path in paths:
        try:
            stat = path.stat()
            facts.append(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
        except OSError:
            facts.append(f"{path} missing")
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    cache_dir = Path(cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    return cache_dir / f"pictures-{key}.npy", cache_dir / f"pictures-{key}.{os.getpid()}.partial"
