"""Photograph to picture: decode, find the field of view, crop to a square around it, resize.

The one implementation, for training and for serving: TensorFlow ops only, from the bytes of a file
on, so that an exported model contains it. Pictures are float32 RGB in [0, 255]; normalisation is
the encoder's first layer. They hold whole levels, so a cache in uint8 loses nothing.

Resizing is the triangle kernel widened by the factor of reduction (as Pillow's BILINEAR), in one
step: crop, padding and reduction meet on fractions of pixels, without copies. It starts from the
original, a large JPEG from half or a quarter of it, decoded so (`reduced`).
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fundus_diag.imaging.decode import traced_decode
from fundus_diag.imaging.field import find_field
from fundus_diag.imaging.image_file import decoding, read_photograph, why_not
from fundus_diag.imaging.quality import has_field
from fundus_diag.imaging.reduced import PIXELS, in_photograph, read_known, reader
from fundus_diag.imaging.traced import traced as traced_once
from fundus_diag.utils.errors import DataError

VERSION = "6"  # another number whenever the same file gives other pixels; names caches
CROPS = ("fundus", "none")


def preprocess(data, image_size: int, crop: str = "fundus"):
    """Square picture of a photograph's field of view.

    Args:
        data: scalar string, the content of a JPEG, PNG or BMP file (`read_bytes`).
        image_size: side of the picture, pixels.
        crop: "fundus", the square around the field of view; "none", around the whole photograph.

    Returns:
        picture: (image_size, image_size, 3) float32 RGB, whole levels in [0, 255]. Black where
            the square leaves the photograph. The aspect is kept.
        box: (4,) float32 [y0, x0, y1, x1], the square in pixels of the upright original, which it
            may leave. `to_original` and `to_picture` map points by it.

    Raises:
        tf.errors.InvalidArgumentError: see `decode`.
    """
    _check(crop)
    image, field, times = reader(crop, crop == "fundus")(data, image_size)
    picture, box = _traced_square(image_size, crop)(image, field)
    return picture, in_photograph(box, times)


def resize_square(image, image_size: int, crop: str = "fundus"):
    """As `preprocess`, from decoded pixels: (H, W, 3) RGB in [0, 255], any number type."""
    image = _checked(image, crop)
    return _square(image, image_size, find_field(image) if crop == "fundus" else _frame(image))


# The large graphs know no size: of each size and crop only a small one is made anew. Called one by
# one, outside of a graph, each is prepared once for all sizes, which takes seconds.
_traced_seen = traced_once(lambda image: has_field(image[None])[0], PIXELS)


@functools.lru_cache(maxsize=16)
def _traced_square(image_size, crop):
    _check(crop)

    def square(image, field):
        return _square(image, image_size, field[:4] if crop == "fundus" else _frame(image))

    return traced_once(square, PIXELS, tf.TensorSpec((5,), tf.float32))


def preprocess_known(data, raw, header, image_size: int, crop: str, wanted: bool):
    """As `preprocess`, of a file in which `decode.look` found nothing wrong; in a graph.

    Args:
        data, raw, header, wanted: see `reduced.read_known`.

    Returns:
        picture, box: see `preprocess`. field: (5,) of the field of view in the photograph, see
        `field.locate_field`; 0 where it is not wanted. size: (2,) int32, height and width of the
        upright photograph. image: (h, w, 3) uint8, what of it was decoded.
    """
    image, field, times = read_known(data, raw, header, image_size, crop, wanted)
    picture, box = _traced_square(image_size, crop)(image, field)
    size = tf.shape(image)[:2] * times
    return picture, in_photograph(box, times), in_photograph(field, times), size, image


def _check(crop):
    if crop not in CROPS:
        raise ValueError(f"crop must be one of {', '.join(CROPS)}; got {crop!r}")


def _checked(image, crop):
    _check(crop)
    return tf.ensure_shape(tf.convert_to_tensor(image), (None, None, 3))


def _frame(image):
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    return tf.stack([0.0, 0.0, height, width])


def _square(image, image_size, region):
    """The picture of the square around a region (4,), and the square."""
    y0, x0, y1, x1 = tf.unstack(region)
    half = tf.maximum(y1 - y0, x1 - x0) / 2
    cy, cx = (y0 + y1) / 2, (x0 + x1) / 2
    box = tf.stack([cy - half, cx - half, cy + half, cx + half])
    scale = image_size / (2 * half)
    picture = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=[image_size, image_size],
        scale=tf.stack([scale, scale]),
        translation=-box[:2] * scale,
        kernel_type="triangle",
        antialias=True,
    )[0]
    picture = tf.clip_by_value(tf.round(picture), 0.0, 255.0)
    return tf.ensure_shape(picture, (image_size, image_size, 3)), box


def _of(data, image_size, crop):
    """(picture, box, photograph, field) of the content of a file, see `Loaded`."""
    _check(crop)
    image, field, times = reader(crop, True)(data, image_size)
    picture, box = _traced_square(image_size, crop)(image, field)
    photograph = image if times == 1 else traced_decode(data)
    return picture, in_photograph(box, times), photograph, in_photograph(field, times)


def load_picture(path, image_size: int, crop: str = "fundus") -> np.ndarray:
    """Picture (image_size, image_size, 3) float32 of a file of any kind; see `preprocess`.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    return look_at(path, image_size, crop)[0]


def look_at(path, image_size: int, crop: str = "fundus") -> tuple[np.ndarray, bool, bool]:
    """As `load_picture`, whether it shows anything, and whether the file holds further pictures.

    See `quality.has_field` and `image_file.MORE`.
    """
    data, more = read_photograph(path)
    try:
        with decoding(data):
            image, field, _ = reader(crop, crop == "fundus")(data, image_size)
            picture, _ = _traced_square(image_size, crop)(image, field)
            seen = _traced_seen(image)
    except tf.errors.OpError as error:
        raise DataError(f"{path}: {why_not(data)}") from error
    return picture.numpy(), bool(seen), more


class Loaded(NamedTuple):
    """A file as the network sees it and as it was taken.

    Attributes:
        picture: (image_size, image_size, 3) float32; see `preprocess`.
        box: (4,) float32 of the picture in the photograph; see `preprocess`.
        photograph: (H, W, 3) uint8 RGB, upright.
        field: (5,) float32 of the field of view in the photograph; see `field.locate_field`.
        more: whether the file holds further pictures; see `image_file.MORE`.
    """

    picture: np.ndarray
    box: np.ndarray
    photograph: np.ndarray
    field: np.ndarray
    more: bool = False


def load_photograph(path, image_size: int, crop: str = "fundus") -> Loaded:
    """A file of any kind, as the network sees it and as it was taken.

    Raises:
        DataError: names the file and what is wrong with it.
    """
    data, more = read_photograph(path)
    try:
        with decoding(data):
            found = loaded(data, image_size, crop)
    except tf.errors.OpError as error:
        raise DataError(f"{path}: {why_not(data)}") from error
    return found._replace(more=more)


def loaded(data, image_size: int, crop: str = "fundus") -> Loaded:
    """As `load_photograph`, of the content of a file that `decode` takes.

    Raises:
        tf.errors.OpError: see `decode`.
    """
    return Loaded(*(x.numpy() for x in _of(data, image_size, crop)))


def map_to_original(maps, box, height, width, grid):
    """Maps of the square picture, laid back on the photograph that it was cut from.

    Args:
        maps: (N, h, w, K).
        box: (4,) of `preprocess`, the same for all.
        height, width: of the photograph, or of a smaller copy that `box` was scaled to; pixels.
        grid: where the cells stand in the picture: it has `offset` of the middle of the first and
            `stride` to the next, both y and x, and `size` of the picture, px.

    Returns:
        (N, height, width, K) float32, interpolated bilinearly between the middles of cells; beyond
        the outermost ones as they are; 0 outside of the square.
    """
    with tf.device("CPU:0"):  # a GPU may round the factors to 10 bits
        maps = tf.cast(maps, tf.float32)
        box = tf.cast(box, tf.float32)
        sides = [
            _between(height, box[0], box[2], tf.shape(maps)[1], grid, 0),
            _between(width, box[1], box[3], tf.shape(maps)[2], grid, 1),
        ]
        return tf.einsum("xw,nywk->nyxk", sides[1], tf.einsum("yh,nhwk->nywk", sides[0], maps))


def _between(count, start, end, cells, grid, axis):
    """Shares (count, cells) of the cells along one side at each pixel of the photograph."""
    pixels = tf.range(tf.cast(count, tf.float32)) + 0.5
    there = (pixels - start) / (end - start)  # in the picture, of its side
    at = (there * grid.size - grid.offset[axis]) / grid.stride[axis]
    cells = tf.cast(cells, tf.float32)
    apart = tf.abs(tf.clip_by_value(at, 0.0, cells - 1.0)[:, None] - tf.range(cells))
    inside = (there >= 0) & (there <= 1)
    return tf.where(inside[:, None], tf.nn.relu(1.0 - apart), 0.0)


def laid(levels, box, image_size: int) -> np.ndarray:
    """Levels (H, W, K) of a photograph on the pixels of its picture: (S, S, K) uint8, [0, 255].

    Masks so take the way of the photograph itself: a pixel of the picture that a mask covers in
    part has a level in between. 0 where the picture leaves the photograph.

    Args:
        levels: uint8.
        box: (4,) of `preprocess`.
        image_size: side S of the picture.
    """
    count = levels.shape[-1]
    planes = np.pad(levels, ((0, 0), (0, 0), (0, -count % 3)))
    parts = [
        _square(tf.constant(planes[..., k : k + 3]), image_size, tf.constant(box))[0].numpy()
        for k in range(0, count, 3)
    ]
    return np.concatenate(parts, axis=-1)[..., :count].astype(np.uint8)


def to_original(points, box, image_size: int):
    """Points (..., 2), y and x in a picture of `image_size`, in pixels of the original.

    Edges of pixels lie at whole numbers: the middle of the first pixel is (.5, .5).
    """
    side = box[..., 2:] - box[..., :2]
    return box[..., :2] + points * side / image_size


def to_picture(points, box, image_size: int):
    """Points (..., 2), y and x in the original, in pixels of the picture: undoes `to_original`."""
    side = box[..., 2:] - box[..., :2]
    return (points - box[..., :2]) * image_size / side


def in_field(y, x, field, height, width):
    """Which points of a photograph lie in its field of view, and not beyond its frame.

    Args:
        y, x: (h,) and (w,) rows and columns of a grid of points, pixels of the photograph.
        field: (5,) of `field.locate_field`.
        height, width: of the photograph.

    Returns:
        (h, w) bool tensor.
    """
    y0, x0, y1, x1, is_round = tf.unstack(tf.cast(field, tf.float32))
    y, x = (tf.cast(at, tf.float32) for at in (y, x))
    height, width = (tf.cast(side, tf.float32) for side in (height, width))
    v = (2 * y - y0 - y1) / (y1 - y0)
    u = (2 * x - x0 - x1) / (x1 - x0)
    boxed = (tf.abs(v) <= 1)[:, None] & (tf.abs(u) <= 1)
    inside = tf.where(is_round > 0.5, v[:, None] ** 2 + u**2 <= 1, boxed)
    return inside & ((y >= 0) & (y <= height))[:, None] & ((x >= 0) & (x <= width))
