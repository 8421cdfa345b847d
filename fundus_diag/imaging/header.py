"""Headers of JPEG, PNG and BMP files, read in TensorFlow ops before anything is decoded.

A small file can hold a picture of any size, so its size is checked first; in the graph, so that an
exported model checks what it is sent as well.

Formats: JPEG (ITU T.81, appendix B), EXIF 2.32 (TIFF 6.0 directories), PNG (W3C, second edition),
BMP (Windows, BITMAPINFOHEADER and later).
"""

import numpy as np
import tensorflow as tf

from fundus_diag.imaging import jpeg
from fundus_diag.imaging.raw import PAD, is_bmp, is_jpeg, is_png, number, padded, places

MAX_PIXELS = 100_000_000
MAX_BYTES = 64 * 2**20
MIN_SIDE = 16
# Of a progressive JPEG; cameras write about ten. Each costs a pass over the whole picture, however
# few bytes it has.
MAX_SCANS = 100

# Pictures of other kinds, often under a name that ends in .jpg: where to look, and for what.
KINDS = (
    ("GIF", 0, b"GIF8"),
    ("WebP", 8, b"WEBP"),
    ("HEIC", 4, b"ftyphe"),
    ("HEIC", 4, b"ftypmif1"),
    ("AVIF", 4, b"ftypavif"),
    ("JPEG 2000", 4, b"jP  \r\n"),
    ("JPEG XL", 4, b"JXL \r\n"),
    ("DICOM", 128, b"DICM"),
    ("PDF", 0, b"%PDF"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
)
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
    "damaged JPEG",
    *(f"{kind}, not JPEG, PNG or BMP" for kind, *_ in KINDS),
)
OK, EMPTY, FOREIGN, BROKEN, SMALL, LARGE, HEAVY, TRUNCATED, UNUSUAL, SCANS, DAMAGED = range(11)
_MAX_ENTRIES = 256


def probe(data):
    """Code of what keeps `data`, a scalar string, from being decoded: int32 index of PROBLEMS.

    Reads the header, looks for the end mark and for what a JPEG surely lacks; other damage comes to
    light in `decode`.
    """
    return header_facts(data)[0]


def header_facts(data):
    """What is wrong with `data`, as `probe` says it, and the size that its header promises.

    Returns:
        code: int32. height, width: int64, before orientation; both 0 where no header can be read.
    """
    raw = padded(data)
    header = read_header(raw)
    return find_problem(raw, header), header["height"], header["width"]


def find_problem(raw, header):
    """As `probe`, from what `padded` and `read_header` give."""
    sides = tf.stack([header["height"], header["width"]])
    length = tf.size(raw) - PAD
    checks = (
        (length == 0, EMPTY),
        (~(is_jpeg(raw) | is_png(raw) | is_bmp(raw)), _foreign(raw)),
        (length > MAX_BYTES, HEAVY),
        (tf.reduce_min(sides) <= 0, BROKEN),
        (tf.reduce_min(sides) < MIN_SIDE, SMALL),
        (tf.reduce_prod(sides) > MAX_PIXELS, LARGE),
        (is_bmp(raw) & ~_is_plain_bmp(raw), UNUSUAL),
        *_jpeg_problems(raw, header),
        (~_has_end(raw, header), TRUNCATED),
        (True, OK),
    )
    failed, codes = (tf.stack(x) for x in zip(*checks, strict=True))
    return codes[tf.argmax(failed)]  # the first that fails decides


def _foreign(raw):
    """Code of what a file is that is none of ours: of a kind in KINDS or no picture."""
    starts = np.zeros((len(KINDS), 8), np.uint8)
    counts = np.zeros((len(KINDS), 8), bool)
    for k, (_, _, start) in enumerate(KINDS):
        starts[k, : len(start)] = list(start)
        counts[k, : len(start)] = True
    at = np.array([[at] for _, at, _ in KINDS]) + np.arange(8)
    found = tf.gather(raw, tf.minimum(at, tf.size(raw, tf.int64) - 1))
    fits = tf.reduce_all((found == starts) | ~counts, 1)
    first = DAMAGED + 1 + tf.argmax(fits, output_type=tf.int32)
    return tf.where(tf.reduce_any(fits), first, FOREIGN)


def _jpeg_problems(raw, header):
    """(is it?, code) of what only a JPEG can have, none of it where the data is no JPEG."""

    def of_jpeg():
        at, codes = jpeg.markers(raw, header["scan"])
        ended = tf.reduce_any(codes == 0xD9)
        scans = tf.math.count_nonzero(codes == 0xDA)
        many = scans > MAX_SCANS
        fine = ended & ~many & (tf.minimum(header["height"], header["width"]) > 0)
        damaged = tf.cond(fine, lambda: jpeg.is_damaged(raw, header, at, codes), lambda: False)
        return ~ended, many, damaged

    none = tf.constant(False)
    found = tf.cond(is_jpeg(raw), of_jpeg, lambda: (none, none, none))
    return zip(found, (TRUNCATED, SCANS, DAMAGED), strict=True)


def read_header(raw):
    """What the header of a file tells: {name: scalar, 0 for none}.

    height, width: int64. exif: position of a TIFF block with an orientation, int32. Of a JPEG also
    what `jpeg.segments` gives.
    """
    none = {
        **{name: tf.constant(0) for name in ("exif", "frame", "scan", "restarts")},
        "ends": tf.zeros(4, tf.int32),
    }

    def size(height, width, fits=True):
        return {"height": tf.where(fits, height, 0), "width": tf.where(fits, width, 0)}

    def of_jpeg():
        found = jpeg.segments(raw)
        frame = found["frame"]
        return size(number(raw, frame + 5, 2), number(raw, frame + 7, 2), frame > 0) | found

    def png():
        is_header = number(raw, 12, 4) == 0x49484452  # IHDR
        height, width = number(raw, 20, 4), number(raw, 16, 4)
        fits = is_header & (tf.maximum(height, width) < 2**31)
        return none | size(height, width, fits) | {"exif": _png_exif(raw)}

    def bmp():
        height, width = number(raw, 22, 4, little=True), number(raw, 18, 4, little=True)
        height = tf.where(height >= 2**31, 2**32 - height, height)  # negative: from the top down
        return none | size(height, tf.where(width < 2**31, width, 0))

    def foreign():
        return none | size(tf.constant(0, tf.int64), tf.constant(0, tf.int64))

    return tf.cond(
        is_jpeg(raw),
        of_jpeg,
        lambda: tf.cond(is_png(raw), png, lambda: tf.cond(is_bmp(raw), bmp, foreign)),
    )


def _png_exif(raw):
    """Where the data of the first chunk eXIf of a PNG begins, int32; 0 for none.

    Found by its name and the start of its data together: chunks may be thousands, and these eight
    bytes stand by chance within the compressed data of one file in 10^11.
    """
    at = tf.cast(places(raw, b"eXIf"), tf.int32) + 4
    start = tf.gather(raw, at[:, None] + tf.range(4))
    known = tf.reduce_any([tf.reduce_all(start == list(x), 1) for x in (b"II*\0", b"MM\0*")], 0)
    return tf.concat([tf.boolean_mask(at, known), [0]], 0)[0]


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
    """Whether the mark that ends a PNG is there, or the last row of a BMP."""

    def png():
        return tf.size(places(raw, b"IEND\xae\x42\x60\x82")) > 0

    def bmp():
        row = (header["width"] * number(raw, 28, 2, little=True) + 31) // 32 * 4
        start = number(raw, 10, 4, little=True)
        return start + row * header["height"] <= tf.size(raw, tf.int64) - PAD

    none = tf.constant(True)
    return tf.cond(is_png(raw), png, lambda: tf.cond(is_bmp(raw), bmp, lambda: none))


def _is_plain_bmp(raw):
    """Whether a BMP has 8, 24 or 32 bits per pixel, bytes in the usual order, uncompressed."""
    bits, packing = number(raw, 28, 2, little=True), number(raw, 30, 4, little=True)
    usual = number(raw, 54, 4) == 0x0000FF00  # red's mask, little-endian
    usual &= number(raw, 58, 4) == 0x00FF0000
    known = ((packing == 0) & ((bits == 8) | (bits == 24) | (bits == 32))) | (
        (packing == 3) & (bits == 32) & usual
    )
    return known & (number(raw, 14, 4, little=True) >= 40)
