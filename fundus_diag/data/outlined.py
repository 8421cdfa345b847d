"""Masks of a table, by photograph.

A column `mask_<name>` of a table holds a file per photograph: what is white there is of that class.
`none` says that somebody looked and there is none, and so does an all-black file; nothing in the
column says that nobody looked, and weighs nothing. `mask_fov` is no class: it is where the others
were looked for, and nothing else is scored; training takes what lies beyond for what it is, black.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fundus_diag.data.columns import MASK, NO_MASK
from fundus_diag.data.masks import levels_size, read_levels
from fundus_diag.data.paths import inside
from fundus_diag.imaging.image_file import image_size, read_bytes
from fundus_diag.imaging.inside import field_on_photograph
from fundus_diag.utils.errors import DataError, UsageError

FOV = "fov"
DISC = ("disc", "OD")  # what classes of the optic disc are called
WHOLE = 255  # of a mask in an array: all of the pixel is of the class, or all observers say so
SHARE_AT_MOST = 32  # brightest level of a mask below which it does not hold shares of 255
LISTED = 5  # files named in an error; the rest are counted


@dataclass(frozen=True)
class Outlined:
    """One photograph with its masks, as files.

    Attributes:
        image: as the table has it.
        path: of the photograph.
        masks: {class: path, NO_MASK, or None where nobody looked}.
        fov: path of the mask of the field of view, or None.
    """

    image: str
    path: Path
    masks: dict
    fov: Path | None


def classes_of(table, wanted=(), path=None):
    """The classes of a table with masks, in the order of its columns, or of `wanted`.

    Args:
        table: a manifest's.
        wanted: names; none are all but `fov` and those of a second observer, `<name>_2`.
        path: of the table, for messages.

    Raises:
        UsageError: there is no column of masks, or not that of a class that is wanted.
    """
    there = [x.removeprefix(MASK) for x in table.columns if x.startswith(MASK)]
    there = [x for x in there if x != FOV]
    if not there:
        raise UsageError(f"{path}: no column {MASK}<name>: a segmenter learns from masks")
    for name in wanted:
        if name not in there:
            raise UsageError(f"--classes {name}: {path} has masks of {', '.join(there)}")
    return tuple(wanted) or tuple(x for x in there if x.removesuffix("_2") not in set(there) - {x})


def outlined(table, image_root, classes, path=None):
    """`Outlined`s of a table's rows.

    Args:
        table: a manifest's, with the columns of the classes.
        image_root: folder that photographs and masks start from.

    Raises:
        DataError: files of masks are missing; the first are named.
    """
    root, missing, rows = Path(image_root), [], []

    def file(cell):
        if cell in ("", NO_MASK):
            return cell or None
        found = inside(root, cell)
        if found is None or not found.is_file():
            missing.append(cell)
        return found

    for _, row in table.iterrows():
        masks = {name: file(row[MASK + name]) for name in classes}
        fov = file(row[MASK + FOV]) if MASK + FOV in table else None
        rows.append(
            Outlined(
                row["image"], inside(root, row["image"]), masks, None if fov == NO_MASK else fov
            )
        )
    if missing:
        raise DataError(f"{path}: no such mask under {root}: {_listed(missing)}")
    return tuple(rows)


def read_masks(row, classes, shape, soft=False):
    """The masks of a photograph on its own pixels.

    Args:
        row: `Outlined`.
        classes: K names.
        shape: (H, W) of the photograph, upright.
        soft: see `load_segments`.

    Returns:
        (H, W, K) uint8, 0 to `WHOLE`; 0 where nobody looked.

    Raises:
        DataError: a file is no mask, or of another size than its photograph.
    """
    masks = np.zeros((*shape, len(classes)), np.uint8)
    for k, name in enumerate(classes):
        if row.masks[name] not in (None, NO_MASK):
            masks[..., k] = _mask(row.masks[name], row.image, shape, soft)
    return masks


def check_masks(rows, classes):
    """Raises DataError where a mask is none, or does not fit its photograph, before work begins."""
    for row in rows:
        shape = image_size(read_bytes(row.path))[:2]
        try:
            read_masks(row, classes, shape)
        except DataError as error:
            try:
                read_masks(row, classes, shape[::-1])  # of a photograph that lies on its side
            except DataError:
                raise error from None


def looked_at(row, loaded):
    """Which pixels of a photograph count: what `mask_fov` holds, else its field of view.

    Args:
        row: `Outlined`.
        loaded: `preprocess.Loaded`.

    Returns:
        (H, W) bool.

    Raises:
        DataError: see `read_masks`.
    """
    shape = loaded.photograph.shape[:2]
    if row.fov is not None:
        return _mask(row.fov, row.image, shape, False) > 0
    return field_on_photograph(loaded.field, *shape).numpy()


def _mask(path, image, shape, soft):
    """(H, W) uint8 of one file.

    Raises:
        DataError: it is no mask, or of another size than its photograph, or of several levels.
    """
    size = levels_size(path)  # before anything is decoded, but for what TIFF says of a turn
    levels = read_levels(path) if sorted(size) == sorted(shape) else None
    height, width = size if levels is None else levels.shape
    if (height, width) != shape:
        raise DataError(
            f"{path}: {width}x{height} pixels, but {image} has {shape[1]}x{shape[0]}: a mask has "
            f"the size of its photograph ({width - shape[1]:+d} and {height - shape[0]:+d})"
        )
    if soft:
        brightest, whole = int(levels.max()), np.iinfo(levels.dtype).max
        levels = (levels >> 8 * (levels.itemsize - 1)).astype(np.uint8)
        if brightest and levels.max() < SHARE_AT_MOST:
            raise DataError(
                f"{path}: levels from 0 to {brightest}: with --soft-masks {whole} says that all "
                "agree; scale it, or leave --soft-masks out"
            )
        return levels
    found = np.unique(levels)
    if len(found) > 2:
        raise DataError(
            f"{path}: {len(found)} levels of gray ({found[0]} to {found[-1]}): a mask has two; "
            "--soft-masks reads shares"
        )
    return np.where(levels > (found[0] if len(found) == 2 else 0), np.uint8(WHOLE), np.uint8(0))


def _listed(names):
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
