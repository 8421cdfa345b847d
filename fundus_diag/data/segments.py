"""Photographs with masks, decoded once: what a segmenter learns from and is scored by."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fundus_diag.data import pictures
from fundus_diag.data.cache_files import (
    cache_files,
    finished_array,
    in_memory,
    removed_unless_whole,
    reserved,
)
from fundus_diag.data.inputs import warn_of_odd
from fundus_diag.data.outlined import WHOLE, looked_at, read_masks
from fundus_diag.imaging import preprocess
from fundus_diag.imaging.quality import is_blank
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import writing
from fundus_diag.utils.processes import cores
from fundus_diag.utils.progress import track

VERSION = "1"  # another number whenever the same files give other arrays


@dataclass(frozen=True)
class Segments:
    """Photographs with masks, decoded.

    Attributes:
        rows: of `Outlined`.
        classes: K names.
        array: (n, S, S, 3 + K + 1) uint8: RGB, the masks of all classes, 0 to `WHOLE`, and 1 where
            the field of view is.
        known: (n, K) bool: whether somebody looked for the class in the photograph.
    """

    rows: tuple
    classes: tuple
    array: np.ndarray
    known: np.ndarray

    @property
    def image_size(self):
        return self.array.shape[1]

    @property
    def pixels(self):
        """(K,) pixels of each class, at least by half, where they count, over all photographs."""
        found = [_pixels(one) for one in self.array]
        return np.sum(found, axis=0, dtype=np.int64) if found else _none(self.classes)


def load_segments(rows, classes, size, crop, *, soft=False, cache="ram", cache_dir=None):
    """Decodes photographs and masks once, the masks on the picture's own pixels.

    Photographs that show nothing, or are the first of several, are used as they are, and counted on
    stderr; what was taken from a cache is not looked at again.

    Args:
        rows: of `Outlined`.
        classes: K names.
        size: side of the square picture, px.
        crop: "fundus" or "none".
        soft: whether masks hold shares, such as of observers who agree, and not two levels.
        cache: "ram" or "disk", a file in `cache_dir`.

    Returns:
        (`Segments` of what could be read, [image, reason] of what could not).

    Raises:
        UsageError, DataError: as `pictures.load_pictures`.
    """
    known = np.array([[row.masks[x] is not None for x in classes] for row in rows], bool)
    known = known.reshape(len(rows), len(classes))
    shape = (len(rows), size, size, 3 + len(classes) + 1)
    partial = None
    if cache == "disk":
        name = _key(rows, classes, size, crop, soft)
        finished, partial = cache_files(Path(cache_dir), "segments", name)
        array = finished_array(finished, shape, np.uint8)
        if array is not None:
            return Segments(rows, classes, array, known), []
        array = reserved(partial, shape, np.uint8)
    else:
        array = in_memory(shape, np.uint8)

    odd = {}

    def load(index):
        try:
            array[index], odd[index] = _decoded(rows[index], classes, size, crop, soft)
        except DataError as error:
            return str(error).removeprefix(f"{rows[index].path}: ")
        return None

    with removed_unless_whole(partial):
        first = [load(index) for index in range(len(rows))[:1]]  # see `pictures.load_pictures`
        with ThreadPoolExecutor(cores()) as pool:
            reasons = chain(first, pool.map(load, range(len(rows))[1:]))
            reasons = list(track(reasons, "reading photographs and masks", len(rows)))
        bad = [[rows[i].image, reason] for i, reason in enumerate(reasons) if reason]
        _warn(rows, odd)
        if partial is not None and not bad:
            with writing(finished):
                array.flush()
                os.replace(partial, finished)
    if not bad:
        return Segments(rows, classes, array, known), []
    kept = [i for i, reason in enumerate(reasons) if not reason]
    for to, index in enumerate(kept):  # in place: a copy of what lies on disk would not
        if to != index:
            array[to] = array[index]
    rows = tuple(rows[i] for i in kept)
    return Segments(rows, classes, array[: len(kept)], known[kept]), bad


def look_at(rows, classes, size, crop, soft=False):
    """Whether photographs and masks can be read, one after the other: nothing is kept.

    What is odd is counted on stderr, as by `load_segments`.

    Args:
        rows, classes, size, crop, soft: see `load_segments`.

    Returns:
        (known (n, K) bool and pixels (K,) of what could be read, see `Segments`; [image, reason] of
        what could not).
    """

    known, pixels, bad, odd = [], _none(classes), [], {}
    for index, row in enumerate(track(rows, "looking at photographs and masks", len(rows))):
        try:
            one, odd[index] = _decoded(row, classes, size, crop, soft)
        except DataError as error:
            bad.append([row.image, str(error).removeprefix(f"{row.path}: ")])
            continue
        known.append([file is not None for file in map(row.masks.get, classes)])
        pixels += _pixels(one)
    _warn(rows, odd)
    return np.array(known, bool).reshape(len(known), len(classes)), pixels, bad


def _decoded(row, classes, size, crop, soft):
    """(S, S, 3 + K + 1) uint8 of a photograph, see `Segments`; (shows nothing, holds several)."""
    loaded = preprocess.load_photograph(row.path, size, crop)
    shape, parts = loaded.photograph.shape[:2], [loaded.picture.astype(np.uint8)]
    for k in range(0, len(classes), 3):  # not all at once, which of a large photograph are much
        masks = read_masks(row, classes[k : k + 3], shape, soft)
        parts.append(preprocess.laid(masks, loaded.box, size))
    field = looked_at(row, loaded)[..., None].astype(np.uint8) * WHOLE
    parts.append(preprocess.laid(field, loaded.box, size) >= WHOLE / 2)
    odd = is_blank(loaded.photograph), loaded.more
    return np.concatenate(parts, axis=-1, dtype=np.uint8), odd


def _warn(rows, odd):
    blank, several = ([rows[i].path for i in sorted(odd) if odd[i][k]] for k in (0, 1))
    warn_of_odd(blank, several, len(rows))


def _pixels(one):
    """(K,) pixels of each class of one photograph, as `Segments` has it, inside of its field."""
    masks = (one[..., 3:-1] >= WHOLE / 2) & (one[..., -1:] > 0)
    return masks.sum(axis=(0, 1))


def _none(classes):
    return np.zeros(len(classes), np.int64)


def _key(rows, classes, size, crop, soft):
    files = [row.path for row in rows]
    for row in rows:
        files += [x for x in (*row.masks.values(), row.fov) if isinstance(x, Path)]
    said = [VERSION, *classes, str(soft), *(str(row.masks) for row in rows)]
    said.append(pictures.key(tuple(files), size, crop))
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
