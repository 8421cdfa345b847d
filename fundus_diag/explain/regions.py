"""Where in the eye a map points: its peak, and its energy by quadrant, at the disc and the macula.

Coarse on purpose: nothing is segmented. The regions are fixed circles in the square picture around
the field of view, at places where disc and macula lie on the average of photographs centred
between the two, as 45 to 50 degree fields are. With `--crop none`, in a field centred on the disc,
or in a tilted or squeezed one, they mean nothing.

Geometry, in shares of the field's diameter, which is the picture's side, for a right eye (a left
eye is its mirror image); where the numbers come from:

- Disc: a circle of radius .13 about y = .49, x = .75. Masks of the disc in 54 photographs of IDRiD
  (Porwal et al. 2018, 50 degrees): centre at y = .49 (deviation .05) and .27 (deviation .06) beside
  the middle, diameter .154 (deviation .013). Brightest spot of 600 normal eyes of ODIR-5K: y = .48,
  .22 beside the middle. The drawn photographs: y = .50, .24 beside it, diameter about .14. Of a
  disc in IDRiD the circle holds .84 on average; it holds over half of it in 47 of the 54.
- Macula: a circle of radius .15, one disc diameter, about y = .535, x = .40. In the mean of the
  IDRiD photographs the fovea's dark spot lies at y = .54, .12 beside the middle, in that of ODIR-5K
  at y = .53, .13 beside it; in the drawn photographs at y = .53, .05 beside it.
"""

import functools

import numpy as np

from fundus_diag.data.labels import EYE_VALUES
from fundus_diag.explain.laying import peak

DISC = (0.49, 0.75, 0.13)  # y, x, radius in a right eye; see the module's text
MACULA = (0.535, 0.40, 0.15)
COLUMNS = (
    "peak_y", "peak_x",
    "superior_nasal", "superior_temporal", "inferior_nasal", "inferior_temporal",
    "superior_left", "superior_right", "inferior_left", "inferior_right",
    "disc", "macula",
)  # fmt: skip
_FINE = 512  # a circle's rim is laid out on a grid at least this fine, averaged to the map's pixels


def region_table(map, eye="", disc=None, macula=None):
    """Peak of a map, and the shares of its sum by quadrant and at the disc and the macula.

    Quadrants meet in the middle of the picture, not at the fovea. In a right eye's photograph the
    nose, and with it the disc, is on the right, in a left eye's on the left. Disc and macula are
    the fixed circles of this module, which neither cover the picture nor each other.

    Args:
        map: (h, w) that divides the square picture evenly, finite, not below 0, on any scale.
        eye: "left", "right", or "" for unknown: then quadrants are left and right of the picture
            instead of nasal and temporal, and disc and macula are NaN unless given.
        disc, macula: (y, x, radius) of a circle to use instead, in shares of the picture's side,
            as it lies in this picture, whatever the eye.

    Returns:
        A dict from those `COLUMNS` that apply to floats: `peak_y`, `peak_x`, of `laying.peak`, as
        shares of the side; the share in
        [0, 1] of each quadrant, which add up to 1; `disc` and `macula`. A pixel on a border counts
        to each side by the part that lies there. All NaN for a map of zeros.

    Raises:
        ValueError: the eye is none of `EYE_VALUES`, or the map is not (h, w), negative or not
            finite.
    """
    map = np.asarray(map, "float64")
    if map.ndim != 2 or not map.size or not (np.isfinite(map).all() and (map >= 0).all()):
        raise ValueError(f"a map must be (h, w), finite and not below 0; got shape {map.shape}")
    if eye not in EYE_VALUES:
        raise ValueError(f"eye must be 'left', 'right' or ''; got {eye!r}")
    energy = map / map.max() if map.any() else np.full(map.shape, np.nan)
    energy = energy / energy.sum()
    y, x = (float(at) for at in peak(map) / map.shape)
    out = {"peak_y": y, "peak_x": x} | _quadrants(energy, eye)
    for name, circle, usual in (("disc", disc, DISC), ("macula", macula, MACULA)):
        circle = circle or _circle(usual, eye)
        out[name] = float((energy * _cover(map.shape, circle)).sum()) if circle else float("nan")
    return out


def _quadrants(energy, eye):
    sides = {"right": ("temporal", "nasal"), "left": ("nasal", "temporal")}
    sides = sides.get(eye, ("left", "right"))
    upper, left = (np.clip(n / 2 - np.arange(n), 0, 1) for n in energy.shape)
    rows, columns = np.stack([upper, 1 - upper]), np.stack([left, 1 - left])
    shares = rows @ energy @ columns.T  # (2, 2): upper and lower, left and right
    return {
        f"{half}_{side}": float(shares[i, k])
        for i, half in enumerate(("superior", "inferior"))
        for k, side in enumerate(sides)
    }


def _circle(circle, eye):
    """A circle given for a right eye, in the picture of `eye`; None where that is unknown."""
    y, x, radius = circle
    return {"right": (y, x, radius), "left": (y, 1 - x, radius)}.get(eye)


@functools.lru_cache(maxsize=8)
def _cover(shape, circle):
    """(h, w) share of each pixel that the circle covers."""
    y, x, radius = circle
    height, width = shape
    parts = -(-_FINE // min(shape))
    rows, columns = ((np.arange(n * parts) + 0.5) / (n * parts) for n in shape)
    inside = (rows[:, None] - y) ** 2 + (columns - x) ** 2 <= radius**2
    return inside.reshape(height, parts, width, parts).mean(axis=(1, 3))
