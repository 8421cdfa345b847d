"""Headers of JPEG, PNG and BMP files, read in TensorFlow ops before anything is decoded.

A small file can hold a picture of any size, so its size is checked first; in the graph, so that an
exported model checks what it is sent as well.

Formats: JPEG (ITU T.81, appendix B), EXIF 2.32 (TIFF 6.0 directories), PNG (W3C, second edition),
BMP (Windows, BITMAPINFOHEADER and later).
"""

import numpy as np
import tensorflow as tf

MAX_PIXELS = 100_000_000
MAX_BYTES = 64 * 2**20
MIN_SIDE = 16
# Of a progressive JPEG; cameras write about ten. Each costs a pass over the whole picture, however
# few bytes it has.
MAX_SCANS = 100

# What `probe` finds, by code. 0 is a file whose header promises a picture that can be decoded.
PROBLEMS = (
    "",
    "empty file",
    "not an image (JPEG, PNG, BMP)",
    "broken header",
    f"smaller than {MIN_SIDE} pixels",
    f"more than {MAX_PIXELS // 1_000_000} megapixels",
    f"more than {MAX_BYTES // 2**20} MB",
    "truncated",
    "BMP of an unusual kind",
    f"more than {MAX_SCANS} scans",
)
OK, EMPTY, FOREIGN, BROKEN, SMALL, LARGE, HEAVY, TRUNCATED, UNUSUAL, SCANS = range(10)
_PAD = 64  # zeros behind the data, so that reading a header never runs out of it
_MAX_SEGMENTS = 2000
# Kinds of JPEG marker: fill bytes are passed one by one, some markers stand without a length.
_FILL, _ALONE, _TABLE, _FRAME, _APP1, _SCAN = 1, 2, 3, 4, 5, 6
_MARKERS = np.full(256, _TABLE, np.int32)
_MARKERS[[0x00, 0xFF]] = _FILL
_MARKERS[[0x01, *range(0xD0, 0xD9)]] = _ALONE
_MARKERS[[k for k in range(0xC0, 0xD0) if k not in (0xC4, 0xC8, 0xCC)]] = _FRAME
_MARKERS[0xE1] = _APP1
_MARKERS[[0xD9, 0xDA]] = _SCAN
_MAX_ENTRIES = 256


def probe(data):
    """Code of what keeps `data`, a scalar string, from being decoded: int32 index of PROBLEMS.

    Reads the header and looks for the end mark only; damage between them comes to light in
    `decode`.
    """
    raw = padded(data)
    return find_problem(raw, read_header(raw))


def header_size(data):
    """Height and width that the header of `data`, a scalar string, promises: two int64.

    Before orientation. Both are 0 where no header can be read.
    """
    header = read_header(padded(data))
    return header["height"], header["width"]


def find_problem(raw, header):
    """As `probe`, from what `padded` and `read_header` give."""
    sides = tf.stack([header["height"], header["width"]])
    length = tf.size(raw) - _PAD
    checks = (
        (length == 0, EMPTY),
        (~(is_jpeg(raw) | is_png(raw) | is_bmp(raw)), FOREIGN),
        (length > MAX_BYTES, HEAVY),
        (tf.reduce_min(sides) <= 0, BROKEN),
        (tf.reduce_min(sides) < MIN_SIDE, SMALL),
        (tf.reduce_prod(sides) > MAX_PIXELS, LARGE),
        (is_bmp(raw) & ~_is_plain_bmp(raw), UNUSUAL),
        (~_has_end(raw, header), TRUNCATED),
        (_scans(raw, header) > MAX_SCANS, SCANS),
    )
    code = tf.constant(OK)
    for failed, reason in reversed(checks):  # the first that fails decides
        code = tf.where(failed, reason, code)
    return code


def padded(data):
    """Bytes of a scalar string with zeros behind them, (n,) uint8."""
    return tf.io.decode_raw(tf.strings.join([data, "\0" * _PAD]), tf.uint8)


def number(raw, at, size, little=False):
    """Unsigned integer of `size` bytes at position `at`, int64; 0s stand behind the data."""
    at = tf.clip_by_value(tf.cast(at, tf.int64), 0, tf.size(raw, tf.int64) - size)
    digits = tf.cast(raw[at : at + size], tf.int64)
    places = [256**k for k in range(size)]
    return tf.reduce_sum(digits * tf.where(little, _int64(places), _int64(places[::-1])))


def _int64(value):
    return tf.constant(value, tf.int64)


def is_jpeg(raw):
    return number(raw, 0, 3) == 0xFFD8FF


def is_png(raw):
    return number(raw, 0, 4) == 0x89504E47


def is_bmp(raw):
    return number(raw, 0, 2) == 0x424D


def read_header(raw):
    """Height and width (int64) and where a JPEG's EXIF and scan begin (int32); 0 for none."""
    none = tf.constant(0), tf.constant(0)

    def jpeg():
        frame, exif, scan = _jpeg_segments(raw)
        height, width = number(raw, frame + 5, 2), number(raw, frame + 7, 2)
        return tf.where(frame > 0, height, 0), tf.where(frame > 0, width, 0), exif, scan

    def png():
        is_header = number(raw, 12, 4) == 0x49484452  # IHDR
        height, width = number(raw, 20, 4), number(raw, 16, 4)
        fits = is_header & (tf.maximum(height, width) < 2**31)
        return tf.where(fits, height, 0), tf.where(fits, width, 0), *none

    def bmp():
        height, width = number(raw, 22, 4, little=True), number(raw, 18, 4, little=True)
        height = tf.where(height >= 2**31, 2**32 - height, height)  # negative: from the top down
        return height, tf.where(width < 2**31, width, 0), *none

    def foreign():
        return tf.constant(0, tf.int64), tf.constant(0, tf.int64), *none

    found = tf.cond(
        is_jpeg(raw),
        jpeg,
        lambda: tf.cond(is_png(raw), png, lambda: tf.cond(is_bmp(raw), bmp, foreign)),
    )
    return dict(zip(("height", "width", "exif", "scan"), found, strict=True))


def _jpeg_segments(raw):
    """Positions of a JPEG's frame header, of the data in its EXIF segment and of its scan."""
    end = tf.size(raw) - _PAD

    def step(at, frame, exif, scan):
        head = tf.cast(raw[at : at + 4], tf.int32)  # FF, marker, length of what follows
        kind = tf.where(head[0] == 0xFF, tf.gather(_MARKERS, head[1]), _FILL)
        is_exif = (kind == _APP1) & tf.reduce_all(raw[at + 4 : at + 10] == list(b"Exif\0\0"))
        length = tf.where(kind <= _ALONE, kind, 2 + 256 * head[2] + head[3])
        return (
            tf.where(kind == _SCAN, end, at + length),
            tf.where(kind == _FRAME, at, frame),
            tf.where(is_exif & (exif == 0), at + 10, exif),
            tf.where(kind == _SCAN, at, scan),
        )

    return tf.while_loop(
        lambda at, *_: at < end,
        step,
        tuple(tf.constant(at) for at in (2, 0, 0, 0)),  # eager loops insist on a tuple
        maximum_iterations=_MAX_SEGMENTS,
        parallel_iterations=1,
    )[1:]


def exif_orientation(raw, exif):
    """EXIF orientation, 1 to 8, of the TIFF block at `exif`; 1 where it says nothing sensible."""
    order = number(raw, exif, 2)
    little = order == 0x4949  # II
    known = (exif > 0) & (little | (order == 0x4D4D)) & (number(raw, exif + 2, 2, little) == 42)
    directory = exif + number(raw, exif + 4, 4, little)
    last = tf.size(raw, out_type=tf.int64) - 12  # zeros: no entry's tag
    at = directory + 2 + 12 * tf.range(_MAX_ENTRIES, dtype=tf.int64)
    inside = tf.range(_MAX_ENTRIES, dtype=tf.int64) < number(raw, directory, 2, little)
    entries = tf.gather(raw, tf.minimum(at, last)[:, None] + tf.range(12, dtype=tf.int64))
    entries = tf.cast(entries, tf.int32)  # (entries, 12): tag 2, type 2, count 4, value 4

    def pair(k):
        first, second = entries[:, k], entries[:, k + 1]
        return tf.where(little, first + 256 * second, 256 * first + second)

    tag, kind = pair(0), pair(2)
    # A short stands in the first half of the value; a long's lower half depends on the order.
    value = tf.where((kind == 4) & ~little, pair(10), pair(8))
    hit = inside & (tag == 0x0112) & ((kind == 3) | (kind == 4)) & (value >= 1) & (value <= 8)
    found = tf.reduce_max(tf.where(hit, value, 0))
    return tf.where(known & (found > 0), found, 1)


def _has_end(raw, header):
    """Whether the mark that ends a JPEG or PNG is there, or the last row of a BMP."""

    def jpeg():
        return _marks(raw, header, 0xD9) > 0

    def png():
        length = tf.size(raw) - _PAD
        here = tf.fill([length], True)
        for k, byte in enumerate(b"IEND\xae\x42\x60\x82"):
            here &= raw[k : length + k] == byte
        return tf.reduce_any(here)

    def bmp():
        row = (header["width"] * number(raw, 28, 2, little=True) + 31) // 32 * 4
        start = number(raw, 10, 4, little=True)
        return start + row * header["height"] <= tf.size(raw, tf.int64) - _PAD

    return tf.cond(is_jpeg(raw), jpeg, lambda: tf.cond(is_png(raw), png, bmp))


def _scans(raw, header):
    """Number of scans of a JPEG; where the data is none, of nothing."""
    return tf.cond(is_jpeg(raw), lambda: _marks(raw, header, 0xDA), lambda: tf.constant(0))


def _marks(raw, header, kind):
    """How many markers of a kind a JPEG has from its first scan on: a thumbnail before has its own.

    Within the data of a scan, FF is always followed by 00 or a restart marker.
    """
    scan = header["scan"]
    body = raw[tf.where(scan > 0, scan, tf.size(raw) - _PAD) :]
    return tf.math.count_nonzero((body[:-1] == 0xFF) & (body[1:] == kind), dtype=tf.int32)


def _is_plain_bmp(raw):
    """Whether a BMP has 8, 24 or 32 bits per pixel, bytes in the usual order, uncompressed."""
    bits, packing = number(raw, 28, 2, little=True), number(raw, 30, 4, little=True)
    usual = number(raw, 54, 4) == 0x0000FF00  # red's mask, little-endian
    usual &= number(raw, 58, 4) == 0x00FF0000
    known = ((packing == 0) & ((bits == 8) | (bits == 24) | (bits == 32))) | (
        (packing == 3) & (bits == 32) & usual
    )
    return known & (number(raw, 14, 4, little=True) >= 40)
