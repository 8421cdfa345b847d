"""Where in the picture the cells of a layer's map, or its tokens, stand.

Computed from the graph of a functional model: from kernels, strides, dilation and padding, layer by
layer from the picture on. The cells of a grid are evenly spaced, so an offset and a stride say it
all. They are of the cells' middles: of what a cell sees, and would still see in the middle if every
kernel were even. Edges of pixels lie at whole numbers: the middle of the first pixel is .5.

Where paths of different places meet, as the unpadded shortcut and the padded pooling of a residual
block, the cell stands at their mean, and `Grid.apart` says how far the paths are from each other.
Attention leaves the places of its queries: what it brings in comes from anywhere.

A layer that is not known here keeps the places of its input as long as its output has the same
grid. One that changes the grid is refused by name, unless it says what its cells see, as
`sees = (size, stride, padding before the first)`, in cells of its input.
"""

import math
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import layers

from fundus_diag.models.layers.attention import AttentionWeights, FusedAttention, WeightedValues
from fundus_diag.models.layers.tokens import WithClassToken
from fundus_diag.models.layers.windows import WindowWeights
from fundus_diag.utils.errors import UsageError

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
POOLINGS = (layers.MaxPooling2D, layers.AveragePooling2D)
QUERIES = (FusedAttention, AttentionWeights, WeightedValues, WindowWeights)  # first of their inputs


@dataclass(frozen=True)
class Grid:
    """Cells over a square picture. All pairs are of y and x.

    Attributes:
        shape: numbers of rows and columns.
        offset: of the middle of the first cell from the picture's edge, px.
        stride: from the middle of one cell to that of the next, px.
        size: side of the picture, px.
        apart: largest distance between the places that different paths give to a cell, px.
    """

    shape: tuple
    offset: tuple
    stride: tuple
    size: int
    apart: float = 0.0

    @property
    def ends(self):
        """Middles of the first and the last cell, [[y, x], [y, x]], px."""
        last = (np.array(self.shape) - 1) * self.stride
        return np.stack([self.offset, self.offset + last])

    def mirrored(self):
        """The grid of the same cells, columns from last to first, in the mirrored picture."""
        return replace(self, offset=(self.offset[0], float(self.size - self.ends[1, 1])))


def pixels(size):
    """The grid of a picture itself."""
    return Grid((size, size), (0.5, 0.5), (1.0, 1.0), size)


def stretched(shape, size):
    """A grid of this shape whose cells divide the picture among them, as patches do."""
    stride = size / np.array(shape)
    return Grid(tuple(shape), _pair(stride / 2), _pair(stride), size)


def grids(model, names):
    """`Grid`s of the outputs of layers; of tokens, of the square map that they are laid out as.

    Args:
        model: functional Keras model of square pictures (B, S, S, 3), or of `images`
            (B, 2, S, S, 3) in a dict.
        names: of its layers.

    Raises:
        UsageError: a layer's output has no places, or a layer on the way changes the grid in a way
            that is not known; it is named.
    """
    return grids_of(model, [model.get_layer(name).output for name in names])


def grids_of(model, tensors):
    """As `grids`, of tensors of the model."""
    images = model.input["images"] if isinstance(model.input, dict) else model.input
    known = {id(x): None for x in model.inputs} | {id(images): pixels(images.shape[-2])}
    found = []
    for tensor in tensors:
        grid = _grid(tensor, known)
        if isinstance(grid, str):
            raise UsageError(f"layer {grid}: it is not known where its cells stand in the picture")
        if grid is None:
            name = tensor._keras_history.operation.name
            raise UsageError(f"layer {name}: its output has no places in the picture")
        found.append(grid)
    return tuple(found)


def _grid(output, known):
    """The grid of a tensor: None without places, the name of a layer that is not understood.

    `known` holds what is known of tensors, by their ids; it is added to. Not by recursion: networks
    are deeper than Python's stack.
    """
    waiting = [output]
    while waiting:
        tensor = waiting[-1]
        if id(tensor) in known:
            waiting.pop()
            continue
        operation, index, _ = tensor._keras_history
        inputs = operation._inbound_nodes[index].input_tensors
        missing = [x for x in inputs if id(x) not in known]
        if missing:
            waiting += missing
        else:
            known[id(tensor)] = _passed(operation, inputs, [known[id(x)] for x in inputs], tensor)
    return known[id(output)]


def _passed(operation, inputs, before, output):
    """The grid after an operation, see `_grid`; `before`: those of its inputs."""
    unknown = [x for x in before if isinstance(x, str)]
    if unknown:
        return unknown[0]
    if isinstance(operation, keras.Model):  # one within the other
        inner = dict(zip(map(id, operation.inputs), before, strict=True))
        outer = [x.shape for x in operation.outputs].index(output.shape)
        return _grid(operation.outputs[outer], inner)
    if isinstance(operation, QUERIES):
        return before[0]
    if isinstance(operation, WithClassToken):
        return before[1]
    shape = output.shape
    if len(shape) < 3 or all(n == 1 for n in shape[1:-1]):
        return None  # vectors, and gates of one place
    window = _window(operation, inputs[0].shape)
    if window:
        return _seen(before[0], *window, shape) if before[0] else None
    if isinstance(operation, layers.UpSampling2D):
        return _scaled(before[0], shape) if before[0] else None
    there = [x for x in before if x]
    fits = [x for x in there if _on(shape, x)]
    return _mean(fits) if fits or not there else operation.name


def _window(operation, shape):
    """(size, stride, padding before), pairs of y and x in cells of the input; None of no window."""
    if isinstance(operation, CONVOLUTIONS):
        size = (np.array(operation.kernel_size) - 1) * operation.dilation_rate + 1
    elif isinstance(operation, POOLINGS):
        size = operation.pool_size
    elif isinstance(operation, layers.ZeroPadding2D):
        return (1, 1), (1, 1), tuple(before for before, _ in operation.padding)
    elif isinstance(operation, layers.Cropping2D):
        return (1, 1), (1, 1), tuple(-before for before, _ in operation.cropping)
    elif hasattr(operation, "sees"):
        return tuple((n, n) for n in operation.sees)
    else:
        return None
    stride, padding = tuple(operation.strides), (0, 0)
    if operation.padding == "same":  # TensorFlow's rule: as much as is needed, the odd one behind
        sides = zip(shape[1:3], size, stride, strict=True)
        padding = tuple(max((-(-n // s) - 1) * s + k - n, 0) // 2 for n, k, s in sides)
    return tuple(size), stride, padding


def _seen(grid, size, stride, padding, shape):
    """The grid of cells of an output's shape that see windows of another grid."""
    middle = (np.array(size) - 1) / 2 - padding  # of the first window, in cells
    return _moved(grid, shape, grid.offset + middle * grid.stride, np.multiply(stride, grid.stride))


def _scaled(grid, shape):
    """The grid of an output's shape that divides the cells of another grid."""
    stride = np.array(grid.stride) * grid.shape / shape[1:3]
    return _moved(grid, shape, grid.offset - np.array(grid.stride) / 2 + stride / 2, stride)


def _moved(grid, shape, offset, stride):
    return replace(grid, shape=tuple(shape[1:3]), offset=_pair(offset), stride=_pair(stride))


def _on(shape, grid):
    """Whether a tensor of this shape has the cells of a grid: as a map, or as tokens."""
    if len(shape) == 3:  # before them there may be others, of no place
        rows, columns = grid.shape
        return shape[1] - rows * columns in (0, 1) or (
            rows == columns and math.isqrt(shape[1]) == rows
        )
    return tuple(shape[-3:-1]) == grid.shape


def _mean(found):
    """One grid of those of paths that meet."""
    if not found:
        return None
    ends = np.stack([x.ends for x in found])
    first, last = ends.mean(axis=0)
    far = np.abs(ends - ends.mean(axis=0)).max(axis=(1, 2)) + [x.apart / 2 for x in found]
    steps = np.maximum(np.array(found[0].shape) - 1, 1)
    return replace(
        found[0],
        offset=_pair(first),
        stride=_pair((last - first) / steps),
        apart=float(2 * far.max()),
    )


def _pair(values):
    return tuple(map(float, values))
