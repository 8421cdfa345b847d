"""Bytes of a JPEG, PNG or BMP file to pixels, in TensorFlow ops.

TensorFlow's own ops neither turn photographs as their EXIF entry says nor look up the palette of a
BMP, and misread the transparency of some PNG files; `decode` does. Everything traces, so an
exported model takes the files themselves.
"""

import functools

import tensorflow as tf

from fundus_diag.imaging import jpeg
from fundus_diag.imaging.header import PROBLEMS, exif_orientation, find_problem, read_header
from fundus_diag.imaging.raw import is_jpeg, is_png, number, padded
from fundus_diag.imaging.traced import CONTENT, traced

REDUCTIONS = (1, 2, 4)
# What makes a picture of EXIF orientation 1 to 8 upright: transpose it?, then reverse these axes.
UPRIGHT = (
    *((False, axes) for axes in ([], [1], [0, 1], [0])),
    *((True, axes) for axes in ([], [1], [0, 1], [0])),
)


def decode(data):
    """Pixels of a JPEG, PNG or BMP file, upright.

    16 bits are reduced to their upper 8. Gray becomes RGB, CMYK too. A transparent picture is
    laid on black, the colour around a field of view; the fourth byte of a BMP's pixels, mostly
    unset, is ignored. The orientation that EXIF states in a JPEG or PNG is applied; EXIF that
    makes no sense is ignored.

    Args:
        data: scalar string.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        tf.errors.InvalidArgumentError: the data is no picture, broken or beyond the limits; the
            message is one of PROBLEMS where the header already shows it.
    """
    return decode_known(*sound(data))


def sound(data):
    """(data, raw, header) as `decode_known` takes them.

    Raises:
        tf.errors.InvalidArgumentError: `look` finds something wrong.
    """
    code, raw, header = look(data)
    message = tf.gather(tf.constant(PROBLEMS), code)
    with tf.control_dependencies([tf.debugging.Assert(code == 0, [message])]):
        return tf.identity(data), raw, header


def _look(data):
    raw = padded(data)
    header = read_header(raw)
    return find_problem(raw, header), raw, header


look = traced(_look)  # of a file: what is wrong with it (`header.probe`), its bytes, its header


def decode_known(data, raw, header, times=1):
    """As `decode`, of a file in which `look` found nothing wrong; `raw` and `header` are from it.

    Args:
        times: pixels of the photograph, along a side, that become one; of `reduction`. 1: the
            photograph as it is.

    Raises:
        tf.errors.InvalidArgumentError: the data is broken behind its header.
    """
    return _decoded(data, raw, times, *(header[name] for name in _HEADER))


def _decode_known(data, raw, times, *header):
    header = dict(zip(_HEADER, header, strict=True))

    def not_jpeg():
        return tf.cond(is_png(raw), lambda: _decode_png(data, raw), lambda: _decode_bmp(data, raw))

    image = tf.cond(is_jpeg(raw), lambda: _decode_jpeg(data, raw, header, times), not_jpeg)
    orientation = exif_orientation(raw, tf.cast(header["exif"], tf.int64))
    return tf.ensure_shape(_upright(image, orientation), (None, None, 3))


_HEADER = {  # of `read_header`
    **{name: tf.TensorSpec((), tf.int32) for name in ("exif", "frame", "scan", "restarts")},
    **{name: tf.TensorSpec((), tf.int64) for name in ("height", "width")},
    "ends": tf.TensorSpec((4,), tf.int32),
}
# A large graph that others hold: once, however often it is a step of them.
_decoded = traced(
    _decode_known,
    CONTENT,
    tf.TensorSpec((None,), tf.uint8),
    tf.TensorSpec((), tf.int32),
    *_HEADER.values(),
)
traced_decode = traced(decode)


def reduction(raw, header, least):
    """How many pixels of a photograph may become one along a side: 4, 2 or 1, int32.

    Of a JPEG, which can be decoded so at a fraction of the cost: the transform of a block of 8 x 8
    gives its low frequencies alone, 4 x 4 or 2 x 2 pixels. No more than leaves the shorter side
    `least` pixels, and only what divides both sides, so that places stay exact.
    """
    sides = tf.stack([header["height"], header["width"]])
    fits = [
        tf.reduce_all((sides % times == 0) & (sides >= times * tf.cast(least, tf.int64)))
        for times in REDUCTIONS
    ]
    found = tf.reduce_max(tf.where(tf.stack(fits), REDUCTIONS, 1))
    return tf.where(is_jpeg(raw), found, 1)


def _decode_jpeg(data, raw, header, times):
    data = jpeg.strict(data, raw, header)

    def decoded(ratio):
        # The accurate transform: the default one is off by up to 10 levels from other decoders.
        return tf.io.decode_jpeg(data, 3, ratio, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(times // 2, [functools.partial(decoded, x) for x in REDUCTIONS])


def _upright(image, orientation):
    def upright(turned, flipped):
        turn = _transposed(image) if turned else image
        return tf.reverse(turn, flipped) if flipped else turn

    branches = [functools.partial(upright, *todo) for todo in UPRIGHT]
    return tf.switch_case(orientation - 1, branches)


def _transposed(image):
    """(H, W, 3) to (W, H, 3), without `tf.transpose`: on bytes it logs an error that is none."""
    height, width = tf.unstack(tf.shape(image)[:2])
    at = tf.range(width)[:, None] + width * tf.range(height)  # (W, H)
    return tf.gather(tf.reshape(image, (-1, 3)), at)


def _decode_png(data, raw):
    image = tf.io.decode_png(data, channels=4)

    def on_black(row):
        product = tf.cast(row[:, :3], tf.uint16) * tf.cast(row[:, 3:], tf.uint16) + 127
        return tf.cast(product // 255, tf.uint8)

    def all_on_black():  # row by row: a picture of 100 megapixels would need 1.4 GB more
        rows = tf.TensorSpec((None, 3), tf.uint8)
        return tf.map_fn(on_black, image, fn_output_signature=rows)

    # Below 8 bits without transparency the op writes the largest value of those bits, not 255.
    bits = tf.cast(number(raw, 24, 1), tf.int32)
    filler = tf.cast(tf.bitwise.left_shift(1, tf.minimum(bits, 8)) - 1, tf.uint8)
    return tf.cond(tf.reduce_all(image[..., 3] == filler), lambda: image[..., :3], all_on_black)


def _decode_bmp(data, raw):
    def with_palette():
        start = 14 + number(raw, 14, 4, little=True)
        entries = number(raw, 46, 4, little=True)
        entries = tf.where((entries > 0) & (entries < 256), entries, 256)
        at = tf.cast(tf.minimum(start + 4 * entries, tf.size(raw, tf.int64)), tf.int32)
        palette = raw[tf.cast(start, tf.int32) : at]
        palette = tf.reshape(palette[: tf.size(palette) // 4 * 4], (-1, 4))
        palette = tf.gather(palette, [2, 1, 0], axis=1)  # from blue, green, red, 0
        index = tf.cast(tf.io.decode_bmp(data, channels=0)[..., 0], tf.int32)
        return tf.gather(palette, tf.minimum(index, tf.shape(palette)[0] - 1))

    def direct():
        return tf.cond(
            number(raw, 28, 2, little=True) == 24,
            lambda: tf.io.decode_bmp(data, channels=3),
            lambda: tf.io.decode_bmp(data, channels=4)[..., :3],
        )

    return tf.cond(number(raw, 28, 2, little=True) == 8, with_palette, direct)
