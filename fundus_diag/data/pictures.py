"""The photographs of a table, each decoded once, in memory or on disk."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from fundus_diag.data.cache_files import (
    cache_files,
    finished_array,
    in_memory,
    removed_unless_whole,
    reserved,
)
from fundus_diag.imaging import preprocess
from fundus_diag.imaging.frames import split_frame
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import writing
from fundus_diag.utils.processes import cores
from fundus_diag.utils.progress import track


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
        name = key(paths, image_size, crop)
        finished, partial = cache_files(Path(cache_dir), "pictures", name)
        array = finished_array(finished, shape, np.uint8)
        if array is not None:
            return Pictures(paths, image_size, crop, array), []
        array = reserved(partial, shape, np.uint8)
    else:
        array = in_memory(shape, np.uint8) if cache == "ram" else None

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
    with removed_unless_whole(partial if cache == "disk" else None):
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
    return Pictures(paths, image_size, crop, array, [], *odd), bad


def key(paths, image_size, crop):
    """16 digits that change when any photograph does, or the way it is read."""
    facts = [f"{preprocess.VERSION} {image_size} {crop}"]
    for path in paths:
        try:
            stat = split_frame(path)[0].stat()
            facts.append(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}")
        except OSError:
            facts.append(f"{path} missing")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
