"""What the directory of a TIFF tells of its first picture, before OpenCV decodes it."""

import struct

WIDTH, HEIGHT, BITS, TILE_WIDTH, TILE_HEIGHT = 256, 257, 258, 322, 323
MAX_ENTRIES = 4096  # what OpenCV reads at most


def tiff_facts(data: bytes) -> dict[int, int]:
    """{tag: value} of sides, bits a sample and sides of tiles; empty where it is unreadable.

    Strict, so that the size which is checked is the one that is decoded. Of a side that is told
    twice readers take the first or the last, and which they skip differs: Pillow (13.0) takes a
    LONG behind an SLONG8, OpenCV the SLONG8, and a small file becomes hundreds of megapixels.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    count, entry, offset = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    kinds = {3: "H", 4: "I"} | ({16: "Q"} if big else {})  # that stand in the entry itself
    facts = {}
    try:
        (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + count, data, start)
        start += struct.calcsize(order + count)
        if entries > MAX_ENTRIES:
            return {}
        for k in range(entries):
            at = start + k * struct.calcsize(order + entry)
            tag, kind, number, value = struct.unpack_from(order + entry, data, at)
            if tag not in (WIDTH, HEIGHT, BITS, TILE_WIDTH, TILE_HEIGHT):
                continue
            place = at + (12 if big else 8)
            if tag == BITS and kind == 3 and number > (4 if big else 2):
                place = value  # one number a channel: they stand elsewhere
            elif tag in facts or kind not in kinds or (number != 1 and tag != BITS):
                return {}
            (facts[tag],) = struct.unpack_from(order + kinds[kind], data, place)
    except (struct.error, OverflowError):  # the latter: behind any end that a file can have
        return {}
    return facts
