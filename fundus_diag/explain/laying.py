"""Where maps lie: on the picture, on the photograph, inside the field of view; and their peak.

A map's cells stand where `models.geometry` says, and nothing counts that lies outside of the field
of view (`field.locate_field`) or beyond the photograph's frame.
"""

import numpy as np
import tensorflow as tf

from fundus_diag.imaging.preprocess import map_to_original, to_original

TIE = 1e-6  # of the maximum: pixels that come so near are as high


def on_grid(maps, grid, onto):
    """Maps (N, h, w, K) of one grid on the cells of another, (N, rows, columns, K)."""
    if grid == onto:
        return tf.cast(maps, tf.float32)
    start = 0.5 - np.divide(onto.offset, onto.stride)  # of the picture, in cells of the other grid
    box = np.concatenate([start, start + onto.size / np.array(onto.stride)])
    return map_to_original(maps, box, *onto.shape, grid)


def over_picture(map, grid, inside):
    """One map (h, w) at each pixel of the picture, 0 outside of `inside`, (S, S) bool: float32."""
    return over_photograph(map, grid, (0.0, 0.0, grid.size, grid.size), inside)


def over_photograph(map, grid, box, inside):
    """One map (h, w) at each pixel of a photograph, 0 outside of `inside` (H, W) bool.

    Of a smaller copy where `box` was scaled to it.
    """
    laid = map_to_original(map[None, ..., None], box, *inside.shape, grid)
    return np.where(inside, laid.numpy()[0, ..., 0], np.float32(0))


def map_box(box, grid):
    """The box (4,) of a photograph that the cells of a map divide evenly, of the picture's box."""
    start = np.array(grid.offset) - np.array(grid.stride) / 2
    ends = np.stack([start, start + np.multiply(grid.shape, grid.stride)]).astype("float32")
    return tf.reshape(to_original(ends, tf.cast(box, tf.float32), grid.size), (4,))


def reached(inside, grid):
    """Which cells of a grid have a part inside (N, S, S) bool: (N, rows, columns) bool.

    A cell's part is the pixels that are as near to its middle as to any other's.
    """
    sides = []
    for axis, cells in enumerate(grid.shape):
        at = (np.arange(grid.size) + 0.5 - grid.offset[axis]) / grid.stride[axis]
        apart = np.abs(np.clip(at, 0, cells - 1) - np.arange(cells)[:, None])
        sides.append((apart <= 0.5).astype("float32"))
    return tf.einsum("hy,nyx,wx->nhw", sides[0], tf.cast(inside, tf.float32), sides[1]) > 0


def highest(map):
    """Which pixels of a map (h, w), not below 0, are its peak: all that are as high as the highest.

    None of a map of zeros. See `TIE`.
    """
    return (map > 0) & (map >= map.max() * (1 - TIE))


def peak(map):
    """y and x of the peak of a map (h, w), in pixels: NaN of a map of zeros.

    The middle of a pixel, edges of pixels at whole numbers. Of several as high, that which is
    nearest to the middle of all of them; of these the first, row by row.
    """
    places = np.argwhere(highest(map)) + 0.5
    if not len(places):
        return np.full(2, np.nan)
    return places[np.linalg.norm(places - places.mean(axis=0), axis=1).round(6).argmin()]
