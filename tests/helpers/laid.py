"""Maps on photographs by SciPy, the field of view by hand."""

import numpy as np
from scipy import ndimage


def placed(map, offset, stride, side, box, height, width):
    """A map over a box of the photograph, linear between its cells; 0 outside of the box.

    Cell k of a side stands at `offset` + k `stride` in a picture of `side` pixels, which the box
    [y0, x0, y1, x1] holds.
    """
    box = np.asarray(box, float)
    zoom = (box[2:] - box[:2]) / side
    rows, columns = (
        ((np.arange(n) + 0.5 - box[k]) / zoom[k] - offset[k]) / stride[k]
        for k, n in enumerate((height, width))
    )
    found = ndimage.map_coordinates(
        np.asarray(map, float), np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest"
    )
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    return found * ((y >= box[0]) & (y <= box[2]) & (x >= box[1]) & (x <= box[3]))


def in_ellipse(field, height, width):
    """Which pixels of a photograph lie in the ellipse of its field of view."""
    y0, x0, y1, x1, is_round = map(float, field)
    assert is_round == 1
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    return ((y - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 + (
        (x - (x0 + x1) / 2) / ((x1 - x0) / 2)
    ) ** 2 <= 1


def placed_in_field(map, grid, loaded):
    """A map on the photograph of a `Loaded`, 0 outside of its field of view."""
    shape = loaded.photograph.shape[:2]
    laid = placed(map, grid.offset, grid.stride, grid.size, loaded.box, *shape)
    return laid * in_ellipse(loaded.field, *shape)


def placed_in_picture(map, grid, loaded):
    """A map on the picture of a `Loaded`, 0 outside of the field of view; and that field."""
    size = len(loaded.picture)
    laid = placed(map, grid.offset, grid.stride, size, (0, 0, size, size), size, size)
    zoom = size / (loaded.box[2:] - loaded.box[:2])
    field = [(loaded.field[k] - loaded.box[k % 2]) * zoom[k % 2] for k in range(4)]
    there = in_ellipse([*field, loaded.field[4]], size, size)
    ends = [(np.array(loaded.photograph.shape[:2]) - loaded.box[:2]) * zoom, -loaded.box[:2] * zoom]
    y, x = np.arange(size)[:, None] + 0.5, np.arange(size) + 0.5
    there &= (y >= ends[1][0]) & (y <= ends[0][0]) & (x >= ends[1][1]) & (x <= ends[0][1])
    return laid * there, there
