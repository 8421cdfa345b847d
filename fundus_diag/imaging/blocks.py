"""Blocks beside the pixels of JPEG, PNG and TIFF files: colour profiles, further pictures.

Formats: JPEG (ITU T.81, appendix B), ICC.1:2022 appendix B (profiles in JPEG), PNG (W3C, second
edition), CIPA DC-007 (several pictures in a JPEG), TIFF 6.0 and its form with 64 bits.
"""

import struct
import zlib

MAX_PROFILE = 4 * 2**20  # bytes; those of printing presses have 2 MB
_MAX_BLOCKS = 4000
_MAX_PAGES = 16  # that are looked at
_PROFILE, _REDUCED = 34675, 254  # tags of a TIFF


def profile(data: bytes, kind: str) -> bytes | None:
    """The ICC profile in a JPEG, PNG or TIFF; None where there is none, or it is too large."""
    try:
        found = {"JPEG": _of_jpeg, "PNG": _of_png, "TIFF": _of_tiff}[kind](data)
    except (KeyError, struct.error, zlib.error, OverflowError):
        return None
    return found if found and len(found) <= MAX_PROFILE else None


def holds_more(data: bytes, kind: str) -> bool:
    """Whether a JPEG or TIFF holds further pictures, the small copies of a TIFF not counted."""
    try:
        if kind == "JPEG":
            return _pictures_of_jpeg(data) > 1
        return kind == "TIFF" and any(not x.get(_REDUCED, (0,))[0] & 1 for x in _pages(data)[1:])
    except (struct.error, OverflowError):
        return False


def _segments(data):
    """(marker, content) of the segments in front of the first scan of a JPEG."""
    at = 2
    for _ in range(_MAX_BLOCKS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] in (0xD9, 0xDA):
            return
        if data[at + 1] in (0x01, 0xFF, *range(0xD0, 0xD8)):
            at += 1 if data[at + 1] == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + length


def _of_jpeg(data):
    mark = b"ICC_PROFILE\0"
    if mark not in data:  # saves the walk: most have none
        return None
    parts = {}
    for marker, content in _segments(data):
        if marker == 0xE2 and content.startswith(mark) and len(content) > 14:
            parts.setdefault(content[12], content[14:])  # number, of how many, the part itself
            count = content[13]
    whole = parts and sorted(parts) == list(range(1, count + 1))
    return b"".join(parts[k] for k in sorted(parts)) if whole else None


def _pictures_of_jpeg(data):
    for marker, content in _segments(data) if b"MPF\0" in data else ():
        if marker == 0xE2 and content.startswith(b"MPF\0"):
            block = content[4:]
            order = "<" if block[:2] == b"II" else ">"
            (start,) = struct.unpack_from(order + "I", block, 4)
            (entries,) = struct.unpack_from(order + "H", block, start)
            for k in range(min(entries, 64)):
                tag, _, _, value = struct.unpack_from(order + "HHII", block, start + 2 + 12 * k)
                if tag == 0xB001:
                    return value
    return 1


def _of_png(data):
    at = 8
    for _ in range(_MAX_BLOCKS):
        length, name = struct.unpack_from(">I4s", data, at)
        if name in (b"IDAT", b"IEND"):
            return None
        if name == b"iCCP":
            packed = data[at + 8 : at + 8 + length].partition(b"\0")[2][1:]  # behind name, method
            return zlib.decompressobj().decompress(packed, MAX_PROFILE + 1)
        at += 12 + length
    return None


def _of_tiff(data):
    start, count = _pages(data)[0].get(_PROFILE, (0, 0))
    return data[start : start + min(count, MAX_PROFILE + 1)] or None


def _pages(data):
    """Per directory of a TIFF {tag: (value or its place, number of values)} of what is needed."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    head, entry, offset = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    found = []
    while start and len(found) < _MAX_PAGES:
        (entries,) = struct.unpack_from(order + head, data, start)
        start += struct.calcsize(head)
        page = {}
        for k in range(min(entries, _MAX_BLOCKS)):
            at = start + k * struct.calcsize(order + entry)
            tag, _, count, value = struct.unpack_from(order + entry, data, at)
            if tag in (_PROFILE, _REDUCED):
                page[tag] = value, count
        found.append(page)
        (start,) = struct.unpack_from(
            order + offset, data, start + entries * struct.calcsize(order + entry)
        )
    return found or [{}]
