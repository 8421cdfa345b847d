"""Filters of maps: what is speckle or background goes, what points at something stays.

Maps are (..., h, w), finite and not below 0; every map is filtered by itself, over its last two
axes, with reflected borders. No filter raises a value, so a map in [0, 1] stays there and a single
layer's map keeps its scale.
"""

import numpy as np
from scipy import ndimage

from fundus_diag.explain.settings import Settings
from fundus_diag.utils.errors import UsageError

MEDIAN = Settings.median  # pixels; takes single ones away, and of a spot of 10 only the corners
COARSE = 16  # cells a side; coarser maps get no median, see `clean`
OFFSET = Settings.adaptive_offset
_ROUNDING = 1e-9  # of a map's maximum: a constant map must not stand out of its own mean


def median(maps, size=MEDIAN):
    """Median over a square window of `size` x `size` pixels: single bright pixels vanish.

    Args:
        maps: (..., h, w).
        size: side of the window in pixels, odd, at least 1. 1 changes nothing.

    Returns:
        (..., h, w) float32.

    Raises:
        UsageError: `size` is even or below 1.
    """
    maps = _check(maps)
    _check_odd("--median", size, 1, " or 0")
    return ndimage.median_filter(maps, _window(maps, size), mode="reflect")


def adaptive_threshold(maps, block=None, offset=OFFSET):
    """Sets to 0 what does not stand out of its surroundings; the rest stays as it is.

    A pixel is kept where it exceeds the mean of the `block` x `block` pixels around it by more than
    `offset` times its map's maximum. So a wide bright plateau keeps its rim only: take a block
    that is wider than what is looked for.

    Args:
        maps: (..., h, w).
        block: side of the box in pixels, odd, at least 3. By default about a quarter of the map's
            shorter side.
        offset: share of the map's maximum, in [0, 1).

    Returns:
        (..., h, w) float32. A map of one value, zero or not, stands out nowhere and is zero.

    Raises:
        UsageError: `block` or `offset` is out of its range.
    """
    maps = _check(maps)
    if block is None:
        block = max(3, 2 * (min(maps.shape[-2:]) // 8) + 1)
    _check_odd("--adaptive-block", block, 3)
    if not 0 <= offset < 1:
        raise UsageError(f"--adaptive-offset {offset}: must be in [0, 1)")
    peak = maps.max(axis=(-2, -1), keepdims=True).astype("float64")
    shares = maps / np.where(peak > 0, peak, 1)  # in [0, 1]: no scale over- or underflows
    around = ndimage.uniform_filter(shares, _window(maps, block), mode="reflect")
    return np.where(shares > around + max(offset, _ROUNDING), maps, np.float32(0))


def filter_maps(maps, median_size=MEDIAN, adaptive=False, block=None, offset=OFFSET):
    """The filters in turn: `median` with `median_size`, then `adaptive_threshold`.

    Args:
        maps: (..., h, w).
        median_size: as `size` of `median`; 0 leaves the median out.
        adaptive: whether the threshold is applied.
        block, offset: of `adaptive_threshold`.

    Returns:
        (..., h, w) float32.

    Raises:
        UsageError: a size, block or offset is out of its range.
    """
    maps = median(maps, median_size) if median_size else _check(maps)
    return adaptive_threshold(maps, block, offset) if adaptive else maps


def clean(maps, median_size=MEDIAN, adaptive=False, block=None, offset=OFFSET):
    """`filter_maps`, but no median of a map with fewer than `COARSE` cells a side.

    One hot cell of a deep layer's few is no speckle: it may be all there is.
    """
    fine = min(np.shape(maps)[-2:]) >= COARSE
    return filter_maps(maps, median_size if fine else 0, adaptive, block, offset)


def _window(maps, side):
    return (1,) * (maps.ndim - 2) + (side, side)


def _check(maps):
    maps = np.asarray(maps, "float32")
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise ValueError(f"maps must be (..., h, w); got {maps.shape}")
    return maps


def _check_odd(name, value, least, other=""):
    if value != int(value) or value < least or value % 2 == 0:
        raise UsageError(f"{name} {value}: must be an odd number of cells from {least} on{other}")
