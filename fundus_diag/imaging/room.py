"""How many pixels are decoded at a time: memory is bounded, whatever the number of threads."""

import contextlib
import struct
import threading

from fundus_diag.imaging.jpeg import MAX_SEGMENTS

MAX_AT_ONCE = 200_000_000  # pixels, about 2 GB while they are decoded

_free = MAX_AT_ONCE
_changed = threading.Condition()


@contextlib.contextmanager
def room(pixels: int):
    """Waits until a picture of so many pixels may be decoded beside those that are.

    A picture larger than what is allowed at once is decoded alone. Never to be nested: two that
    hold a part would wait for each other.
    """
    global _free
    taken = min(max(pixels, 0), MAX_AT_ONCE)
    with _changed:
        _changed.wait_for(lambda: _free >= taken)
        _free -= taken
    try:
        yield
    finally:
        with _changed:
            _free += taken
            _changed.notify_all()


def promised(data: bytes) -> int:
    """Pixels that a JPEG, PNG or BMP promises; 0 where none can be read.

    A glance that costs nothing, to reserve room by. What may be decoded says `header.probe`.
    """
    height = width = 0
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        height, width = struct.unpack(">II", data[16:24])
    elif data.startswith(b"BM") and len(data) >= 26:
        height, width = struct.unpack("<ii", data[18:26])
    elif data.startswith(b"\xff\xd8"):
        at = 2
        for _ in range(MAX_SEGMENTS):
            if at + 9 >= len(data):
                break
            if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
                at += 1
            elif data[at + 1] == 0x01 or 0xD0 <= data[at + 1] <= 0xD8:
                at += 2
            elif data[at + 1] in (0xD9, 0xDA):
                break
            else:
                if data[at + 1] >> 4 == 0xC and data[at + 1] not in (0xC4, 0xC8, 0xCC):
                    height, width = struct.unpack(">HH", data[at + 5 : at + 9])
                at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return abs(height * width)
