"""How well a map points at real lesions: measures and controls.

A `map` is (h, w), finite and not below 0, on any scale unless a function says otherwise. A `mask`
is (h, w) bool, True on the lesion, on the same grid. What is undefined is NaN: never 0 and never
0.5. An empty mask leaves every measure undefined, because no map can be right about it; a map of
zeros leaves those undefined that ask where the map points, and is 0 where a measure asks how much
of the lesion it covers. Deletion and insertion, which need no mask, are in `deletion`.

Sources:
    Zhang et al. 2018, "Top-down Neural Attention by Excitation Backprop" (pointing game)
    Wang et al. 2020, "Score-CAM" (energy-based pointing game)
    Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (rank correlation)
"""

import cv2
import numpy as np

ROUNDING = 1e-6  # how far above 1 a map in [0, 1] may lie after a resize


def pointing_game(peak, hit):
    """Share of a map's peak that hits a lesion: 1 or 0 for a single pixel.

    Several pixels as high as the highest (`laying.highest`) are one peak, a plateau, and count by
    the share of them that hits. A uniform map so scores the share of its area that a hit covers;
    the first of its pixels would score the luck of the corner.

    Args:
        peak: (n, 2) y and x of these pixels, in pixels of the mask, edges at whole numbers.
        hit: (h, w) bool, the lesion and what is near enough, of `within`. The paper takes what is
            within 15 pixels.

    Returns:
        Share in [0, 1]. NaN without a peak or a lesion. What lies beyond the mask hits nothing.
    """
    if not len(peak) or not hit.any():
        return float("nan")
    at = np.floor(peak).astype(int)
    there = ((at >= 0) & (at < hit.shape)).all(axis=1)
    return float(hit[tuple(at[there].T)].sum() / len(at))


def within(mask, tolerance):
    """The mask (h, w) and all pixels that are at most so many pixels from it, centre to centre.

    `tolerance` is not below 0.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must not be below 0 pixels; got {tolerance}")
    if not tolerance or not mask.any():
        return mask
    away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The square is a whole number, and float32 tells these apart up to 2,000 pixels away.
    squares = np.rint(np.square(away, out=away), out=away)
    return squares <= tolerance**2 * (1 + 1e-12)


def energy_inside(map, mask):
    """Share of the map's sum that lies in the mask, in [0, 1].

    NaN for a map of zeros or an empty mask. A uniform map scores the share of the mask.
    """
    map, mask = _check(map, mask)
    if not map.any() or not mask.any():
        return float("nan")
    if map.dtype == np.float64:
        map = map / map.max()  # the sum of a map of huge values would overflow
    return float(_sum(map[mask]) / _sum(map))


def overlap_as_planned(map, mask):
    """sum(map * mask) / sum(mask): the mean of the map over the mask. NaN for an empty mask.

    Its flaw: what lies outside the mask costs nothing, so a uniform map of ones scores 1, the best
    there is for a map in [0, 1]. It also grows with the scale of the map. It is kept beside
    `overlap`, which has neither fault, to show the difference.
    """
    map, mask = _check(map, mask)
    return float(map[mask].mean(dtype="float64")) if mask.any() else float("nan")


def overlap(map, mask):
    """Soft Jaccard index, sum(min(map, mask)) / sum(max(map, mask)), in [0, 1].

    1 only for a map that is 1 on the mask and 0 elsewhere; a uniform map of ones scores the share
    of the mask; a map of zeros scores 0. NaN for an empty mask.

    Raises:
        ValueError: the map exceeds 1. Divide it by the maximum that it is to be read against.
    """
    map, mask = _check(map, mask)
    if map.max(initial=0) > 1 + ROUNDING:
        raise ValueError(f"overlap needs a map in [0, 1]; its maximum is {map.max():g}")
    if not mask.any():
        return float("nan")
    inside = map[mask]
    outside = max(_sum(map) - _sum(inside), 0)  # of two sums in another order, which round
    return float(_sum(np.minimum(inside, 1)) / (_sum(np.maximum(inside, 1)) + outside))


def iou(map, mask, level):
    """Intersection over union of the mask and the pixels called, `map >= level` and above 0.

    A pixel of 0 is never called, so a map of zeros calls nothing at level 0 either and scores 0.

    Args:
        map, mask: see the module's text.
        level: on the scale of the map. NaN where there is none.

    Returns:
        In [0, 1]. NaN for an empty mask or a level of NaN.
    """
    map, mask = _check(map, mask)
    if not mask.any() or np.isnan(level):
        return float("nan")
    if level <= 0:
        level = np.nextafter(map.dtype.type(0), map.dtype.type(1))
    called, both = (np.count_nonzero(x >= level) for x in (map, map[mask]))
    return float(both / (called + np.count_nonzero(mask) - both))


def best_iou(map, mask, levels=None):
    """The highest `iou` over levels, chosen on this very mask: an upper bound, not a result.

    Args:
        map, mask: see the module's text.
        levels: the levels to try, at least one. By default every distinct value of the map above
            0, through one sort: this is the exact optimum, no grid. Values outside the mask are
            not tried: the next one up inside it calls as much of the lesion, and less beside it.

    Returns:
        (iou, level); of equally good levels the highest. (NaN, NaN) for an empty mask,
        (0.0, NaN) for a map of zeros, which has no level.
    """
    map, mask = _check(map, mask)
    if not mask.any():
        return float("nan"), float("nan")
    if not map.any():
        return 0.0, float("nan")
    if levels is None:
        levels = np.unique(map[mask & (map > 0)])[::-1]
        if not len(levels):
            return 0.0, float(map.max())
        # Two sorts of values alone take an eighth of the time of one of their places.
        inside, every = (np.sort(x, axis=None) for x in (map[mask], map))
        tp, called = (len(x) - np.searchsorted(x, levels) for x in (inside, every))
        values = tp / (np.count_nonzero(mask) + called - tp)
    else:
        levels = np.sort(np.asarray(levels, "float64"))[::-1]
        values = [iou(map, mask, level) for level in levels]
    best = int(np.argmax(values))
    return float(values[best]), float(levels[best])


def uniform_map(shape):
    """Control: (h, w) float32 of ones, a map that knows nothing."""
    return np.ones(shape, "float32")


def centred_gaussian(shape, sigma_share=0.25):
    """Control: (h, w) float32 bump about the picture's centre, a map that knows only photography.

    Args:
        shape: (h, w).
        sigma_share: standard deviation as a share of each side, above 0.

    Returns:
        Values in (0, 1]; the maximum is exactly 1, also where the centre falls between pixels.
    """
    if not sigma_share > 0:
        raise ValueError(f"sigma_share must be above 0; got {sigma_share}")
    rows, columns = (
        np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (sigma_share * side)) ** 2)
        for side in shape
    )
    bump = np.outer(rows, columns)
    return (bump / bump.max()).astype("float32")


def _sum(values):
    return values.sum(dtype="float64")


def _check(map, mask):
    map, mask = np.asarray(map), np.asarray(mask)
    if map.dtype != np.float32:  # which is not copied: a photograph's map takes 50 MB
        map = map.astype("float64")
    if map.ndim != 2 or map.shape != mask.shape:
        raise ValueError(f"map and mask must both be (h, w); got {map.shape} and {mask.shape}")
    if mask.dtype != bool:  # 0 and 255 would count a pixel 255 times
        raise ValueError(f"a mask must be bool; got {mask.dtype}")
    if map.size and not (map.min() >= 0 and map.max() < np.inf):  # false of NaN
        raise ValueError("a map must be finite and not below 0")
    return map, mask
