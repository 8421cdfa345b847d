"""How a JPEG file is built, and whether all of it is there; TensorFlow ops (ITU T.81, appendix B).

The decoder behind TensorFlow's op draws gray where coded data is missing and only warns. What is
sure without decoding is looked for here: restart markers that are not the ones that the size of
the picture asks for, a sector of zeros that no encoder writes, scans without which a picture stays
coarse. The rest is made sure while decoding: `strict` takes away the end mark, behind which the
decoder would go on with gray; so it stops where the data is over, and the op fails, when there are
still blocks to come. What lost or repeated bytes leave in step goes unseen, and so does damage
inside a progressive file and between two restart markers.
"""

import tensorflow as tf

from fundus_diag.imaging.raw import PAD, number

MAX_SEGMENTS = 2000
# Kinds of marker: fill bytes are passed one by one, some markers stand without a length.
_FILL, _ALONE, _TABLE, _FRAME, _APP1, _SCAN, _RESTARTS, _HUFFMAN = range(1, 9)
_KINDS = [_TABLE] * 256
for _code in (0x00, 0xFF):
    _KINDS[_code] = _FILL
for _code in (0x01, *range(0xD0, 0xD9)):
    _KINDS[_code] = _ALONE
for _code in range(0xC0, 0xD0):
    _KINDS[_code] = _FRAME
_KINDS[0xC4], _KINDS[0xC8], _KINDS[0xCC] = _HUFFMAN, _TABLE, _TABLE
_KINDS[0xE1], _KINDS[0xDD] = _APP1, _RESTARTS
_KINDS[0xD9] = _KINDS[0xDA] = _SCAN
_ZEROS = 64  # bytes: two blocks of 63 coefficients of -1, where zeros do not say "end of block"
_PART = _ZEROS // 2
# Zeros, because the decoder reads up to 8 bytes ahead; an FF that nothing follows lets it wait for
# more, where the plain end of the data would be an error of its own.
_TAIL = b"\0" * 8 + b"\xff"


def segments(raw):
    """Where the parts of a JPEG in front of its first scan stand: {name: int32 position}, 0: none.

    frame: its header. exif: data of its EXIF segment. scan: header of the first scan. restarts:
    the segment that says how many units lie between two restart markers. ends: (4,) whether the
    code of zeros only means "end of block" in Huffman table k for coefficients, int32.
    """
    end = tf.size(raw) - PAD

    def step(at, found):
        head = tf.cast(raw[at : at + 4], tf.int32)  # FF, marker, length of what follows
        kind = tf.where(head[0] == 0xFF, tf.gather(tf.constant(_KINDS), head[1]), _FILL)
        is_exif = (kind == _APP1) & tf.reduce_all(raw[at + 4 : at + 10] == list(b"Exif\0\0"))
        length = tf.where(kind <= _ALONE, kind, 2 + 256 * head[2] + head[3])
        found = {
            "frame": tf.where(kind == _FRAME, at, found["frame"]),
            "exif": tf.where(is_exif & (found["exif"] == 0), at + 10, found["exif"]),
            "scan": tf.where(kind == _SCAN, at, found["scan"]),
            "restarts": tf.where(kind == _RESTARTS, at, found["restarts"]),
            "ends": tf.cond(
                kind == _HUFFMAN,
                lambda: _zeros_mean_end(raw, at + 4, at + length, found["ends"]),
                lambda: found["ends"],
            ),
        }
        return tf.where(kind == _SCAN, end, at + length), found

    names = ("frame", "exif", "scan", "restarts")
    start = {**{name: tf.constant(0) for name in names}, "ends": tf.zeros(4, tf.int32)}
    return tf.while_loop(
        lambda at, _: at < end,
        step,
        (tf.constant(2), start),
        maximum_iterations=MAX_SEGMENTS,
        parallel_iterations=1,
    )[1]


def _zeros_mean_end(raw, at, end, ends):
    """`ends` with what the Huffman tables from `at` to `end` say; each 17 bytes and its values."""

    def step(at, ends):
        head = tf.cast(raw[at : at + 18], tf.int32)  # class and number, 16 counts, first value
        table = tf.one_hot(head[0] - 16, 4, True, False)
        return at + 17 + tf.reduce_sum(head[1:17]), tf.where(
            table, tf.cast(head[17] == 0, tf.int32), ends
        )

    return tf.while_loop(
        lambda at, _: at + 17 < tf.minimum(end, tf.size(raw) - PAD),
        step,
        (at, ends),
        maximum_iterations=8,
        parallel_iterations=1,
    )[1]


def markers(raw, scan):
    """Positions, int32, and codes, int32, of all markers from the first scan on.

    A thumbnail before has its own. Within coded data FF is always followed by 00 or a restart.
    """
    start = tf.where(scan > 0, scan, tf.size(raw) - PAD)
    body = raw[start : tf.size(raw) - PAD + 1]
    here = (body[:-1] == 0xFF) & (body[1:] != 0x00) & (body[1:] != 0xFF)
    at = tf.cast(tf.where(here)[:, 0], tf.int32)
    return start + at, tf.cast(tf.gather(body, at + 1), tf.int32)


def is_damaged(raw, header, at, codes):
    """Whether a JPEG that has an end mark surely lacks something, without decoding it.

    Args:
        raw: of `padded`.
        header: of `header.read_header`.
        at, codes: of `markers`.
    """

    def sound_alone():
        return _restarts_fit(raw, header, at, codes) & ~_has_hole(raw, header, at, codes)

    return ~tf.cond(
        _alone(raw, header["frame"], header["scan"]),
        sound_alone,
        lambda: _complete(raw, header["frame"], at, codes),
    )


def strict(data, raw, header):
    """The file, a scalar string, so that decoding it fails where coded data ends too early.

    Files with several scans stay as they are: those the decoder reads to their end mark first.
    """

    def closed():
        end = _end(*markers(raw, header["scan"]), raw, header)
        return tf.strings.join([tf.strings.substr(data, 0, end), tf.constant(_TAIL)])

    return tf.cond(_alone(raw, header["frame"], header["scan"]), closed, lambda: data)


def _alone(raw, frame, scan):
    """Whether one scan holds the whole picture, in Huffman codes and one block after the other."""
    kind = number(raw, frame + 1, 1)
    huffman = (kind == 0xC0) | (kind == 0xC1)
    return huffman & (number(raw, frame + 9, 1) == number(raw, scan + 4, 1))


def _end(at, codes, raw, header):
    """Where the coded data of the only scan ends: at a marker that is no announced restart."""
    restart = (codes >= 0xD0) & (codes <= 0xD7) & (_interval(raw, header) > 0)
    ends = tf.boolean_mask(at, ~restart & (at > header["scan"]))
    return tf.reduce_min(tf.concat([ends, [tf.size(raw) - PAD]], 0))


def _interval(raw, header):
    return tf.where(header["restarts"] > 0, number(raw, header["restarts"] + 4, 2), 0)


def _restarts_fit(raw, header, at, codes):
    """Whether the restart markers are as many as the picture needs, D0 to D7 in turn."""
    interval = _interval(raw, header)
    units = _units(raw, header["frame"], header["height"], header["width"])
    needed = tf.where(interval > 0, (units + interval - 1) // tf.maximum(interval, 1) - 1, 0)
    codes = tf.boolean_mask(codes, at < _end(at, codes, raw, header))[1:]  # behind the scan's own
    count = tf.size(codes, tf.int64)
    in_turn = tf.reduce_all(codes == 0xD0 + tf.range(tf.size(codes)) % 8)
    return in_turn & ((count == needed) | (count == needed + 1))  # some write one behind the last


def _units(raw, frame, height, width):
    """Number of units of coded blocks that a picture consists of, int64."""
    count = number(raw, frame + 9, 1)
    factors = tf.cast(tf.gather(raw, frame + 11 + 3 * tf.range(4)), tf.int64)
    factors = tf.where(tf.range(4, dtype=tf.int64) < count, factors, 0x11)
    across, down = tf.reduce_max(factors // 16), tf.reduce_max(factors % 16)
    across, down = (8 * tf.where(count > 1, tf.maximum(x, 1), 1) for x in (across, down))
    return ((height + down - 1) // down) * ((width + across - 1) // across)


def _has_hole(raw, header, at, codes):
    """Whether a long run of zeros stands in coded data whose code of zeros is no end of a block.

    Zeros in such data would be whole blocks in which every coefficient is as small as can be.
    """
    scan = header["scan"]
    table = tf.cast(number(raw, scan + 6, 1) % 4, tf.int32)  # of the first component
    body = raw[scan : _end(at, codes, raw, header)]
    # A hole of that length holds a whole part of half of it: without an empty one there is none.
    parts = body[: tf.size(body) // _PART * _PART]
    empty = tf.reduce_any(tf.reduce_all(tf.reshape(parts, (-1, _PART)) == 0, 1))

    def longest():
        full = tf.concat([[-1], tf.cast(tf.where(body != 0)[:, 0], tf.int32), [tf.size(body)]], 0)
        # Zeros before the end mark are no hole: some encoders fill up with them.
        return tf.reduce_max(tf.concat([full[1:-1] - full[:-2] - 1, [0]], 0)) >= _ZEROS

    suspect = empty & (header["ends"][table] == 0)
    return tf.cond(suspect, longest, lambda: tf.constant(False))


def _complete(raw, frame, at, codes):
    """Whether the scans of a file hold every coefficient of every component to its last bit."""
    scans = tf.boolean_mask(at, codes == 0xDA)[:, None]  # (scans, 1)
    size = tf.size(raw) - 1

    def byte(position):
        return tf.cast(tf.gather(raw, tf.minimum(position, size)), tf.int32)

    named = byte(scans + 4)
    place = tf.range(4)[None]
    of_scan = tf.where(place < named, byte(scans + 5 + 2 * place), -1)  # (scans, 4)
    of_frame = byte(frame + 10 + 3 * tf.range(4))
    used = tf.range(4) < byte(frame + 9)
    holds = tf.reduce_any(of_scan[:, :, None] == of_frame, 1)  # (scans, 4 of the frame)
    first, last, bits = (byte(scans + 5 + 2 * named + k) for k in range(3))
    whole = byte(frame + 1) != 0xC2  # only progressive files split coefficients
    first, last = tf.where(whole, 0, first), tf.where(whole, 63, last)
    low = tf.where(whole, 0, bits % 16)
    coefficient = tf.range(64)
    within = (coefficient >= first) & (coefficient <= last)  # (scans, 64)
    done = holds[:, :, None] & (within & (low == 0))[:, None]  # (scans, 4, 64)
    return tf.reduce_all(tf.reduce_any(done, 0) | ~used[:, None])
