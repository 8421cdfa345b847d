"""Strict transfer of arrays: each is used and each variable filled, or all that is wrong is told.

A file's arrays are a dict {key: Array}, a network's variables a dict {key: Target}; what belongs
together has the same key.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fundus_diag.models.layers.positions import resize_positions
from fundus_diag.models.layers.preprocessing import LARGEST
from fundus_diag.utils.errors import DataError

FLOATS = ("float16", "bfloat16", "float32", "float64")
MAX_GRID = LARGEST // 16  # places a side of a position embedding


@dataclass(frozen=True)
class Array:
    """An array that a file holds, not read yet.

    Attributes:
        name: as the file calls it.
        shape: of the array.
        dtype: name of its type, as NumPy has it; others than floats are refused.
        read: function without arguments; the array as float32.
    """

    name: str
    shape: tuple
    dtype: str
    read: Callable


@dataclass(frozen=True)
class Target:
    """A variable to fill, and the order of axes that brings the file's array into its shape."""

    variable: object
    axes: tuple | None = None

    @property
    def shape(self):
        """Shape that the file's array must have."""
        shape = tuple(self.variable.shape)
        if self.axes is None:
            return shape
        return tuple(shape[self.axes.index(k)] for k in range(len(shape)))


def own_targets(model):
    """Variables of a network under the keys of our own files: `<layer>/<number>`."""
    return {f"{x.name}/{i}": Target(w) for x in model.layers for i, w in enumerate(x.weights)}


def fill(path, network, targets, arrays, most=None):
    """Sets every target to its array.

    Args:
        path, network: the file and what it is for, for the message.
        targets: {key: Target}.
        arrays: {key: Array}.
        most: how many differences the message lists; None lists all of them.

    Raises:
        DataError: an array is missing, left over, of another shape, or holds no finite floats.
    """
    _complain(path, network, differences(targets, arrays), most)
    unusable = []
    for key, target in targets.items():
        value = arrays[key].read()
        if value.shape != target.shape or not np.isfinite(value).all():
            unusable.append(f"{shown(arrays[key].name)} holds NaN or infinity")
            continue
        target.variable.assign(value if target.axes is None else value.transpose(target.axes))
    _complain(path, network, unusable, most)


def differences(targets, arrays):
    """What keeps arrays from filling targets, one text each."""
    wrong = []
    for key, target in targets.items():
        if key not in arrays:
            wrong.append(f"{key} {target.shape} is missing")
            continue
        array = arrays[key]
        if array.shape != target.shape:
            wrong.append(f"{shown(array.name)} is {array.shape}, not {target.shape}")
        elif array.dtype not in FLOATS:
            wrong.append(f"{shown(array.name)} is {array.dtype}, not float")
    extra = [a for key, a in arrays.items() if key not in targets]
    return wrong + [f"{shown(a.name)} {a.shape} is not used" for a in extra]


def fit_positions(targets, arrays, key):
    """`arrays`, the position embedding at `key` resized to the grid of its target, if it is one."""
    array, target = arrays.get(key), targets.get(key)
    if array is None or target is None or array.shape == target.shape:
        return arrays
    if grid(array.shape) is None or array.shape[2] != target.shape[2]:
        return arrays

    def read():
        return resize_positions(array.read(), grid(target.shape))

    return {**arrays, key: Array(array.name, target.shape, array.dtype, read)}


def grid(shape):
    """Side of the grid of a position embedding (1, 1 + side side, C); None where it has none."""
    if len(shape) != 3 or shape[0] != 1 or not 2 <= shape[1] <= 1 + MAX_GRID**2:
        return None
    side = math.isqrt(shape[1] - 1)
    return side if side * side == shape[1] - 1 else None


def shown(name):
    """A name out of a file, fit for one line of a terminal."""
    name = name if name.isprintable() else ascii(name)
    return name if len(name) <= 160 else f"{name[:157]}..."


def _complain(path, network, wrong, most):
    if not wrong:
        return
    listed = wrong[:most]
    more = f"; and {len(wrong) - len(listed)} more" if len(listed) < len(wrong) else ""
    raise DataError(f"{path}: does not fit {network}: {'; '.join(listed)}{more}")
