"""What a DICOM file tells of its picture and of whose it is, before a pixel is read; by pydicom.

DICOM PS3.3 (C.7.6.3 image pixel, C.11.2 windows, C.8.17 ophthalmic photographs), PS3.5 (encoding),
PS3.10 (the file). Values are taken as they stand in the file: pydicom would check, and warn of, all
that it converts, in words that hold it.
"""

import io
import math
import re
import struct
import zlib
from dataclasses import dataclass, field

from fundus_diag.imaging.header import MAX_BYTES
from fundus_diag.imaging.limits import beyond, too_heavy
from fundus_diag.imaging.quiet import quiet

MARK = b"DICM"  # behind 128 bytes of anything
MAX_FRAMES = 100_000
NO_PYDICOM = "DICOM: pydicom is not installed; pip install '.[dicom]' in the clone"
BROKEN = "broken DICOM header"
NO_PICTURE = "DICOM without a picture"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = {  # transfer syntax: (without kinds of values, little-endian)
    "1.2.840.10008.1.2": (True, True),
    "1.2.840.10008.1.2.1": (False, True),
    "1.2.840.10008.1.2.2": (False, False),
    DEFLATED: (False, True),
}
_READS = 300_000  # of the file, some two an element: what takes more is no photograph
_PIXELS, _META, _SYNTAX, _CLASS = 0x7FE00010, 0x0002, 0x00020010, 0x00080016
_NUMBERS = {  # of two bytes: tag, and what it is where it is not told
    "samples": (0x00280002, 1),
    "planar": (0x00280006, 0),
    "rows": (0x00280010, 0),
    "columns": (0x00280011, 0),
    "allocated": (0x00280100, 0),
    "stored": (0x00280101, 0),
    "high": (0x00280102, None),
    "signed": (0x00280103, 0),
}
_PHOTOMETRIC, _FRAMES, _PROFILE = 0x00280004, 0x00280008, 0x00282000
# Centre, width, function, and what they count in: intercept, slope.
_WINDOW = (0x00281050, 0x00281051, 0x00281056, 0x00281052, 0x00281053)
_PALETTE = tuple((0x00281101 + k, 0x00281201 + k) for k in range(3))
_WHO = {"patient": 0x00100020, "issuer": 0x00100021, "study": 0x0020000D}
_EYES, _SHARED, _OF_FRAMES = (0x00200062, 0x00200060), 0x52009229, 0x52009230
_ANATOMY, _FRAME_EYE = 0x00209071, 0x00209072
_WANTED = [
    *(tag for tag, _ in _NUMBERS.values()),
    *(_CLASS, _PHOTOMETRIC, _FRAMES, _PROFILE, *_WINDOW, *_WHO.values(), *_EYES),
    *(tag for pair in _PALETTE for tag in pair),
    *(_SHARED, _OF_FRAMES),
]


class Refused(Exception):
    """A DICOM file is not taken; the text is the reason, in one line without its name."""


@dataclass
class Header:
    """The tags that are needed, and where the pixels stand.

    Attributes:
        syntax: UID of the transfer syntax; of "deflated" `content` is what was inflated.
        photometric: PhotometricInterpretation.
        samples, planar, rows, columns, allocated, stored, high, signed: of C.7.6.3.
        frames: number of pictures.
        window: (centre, width, function), or None.
        rescale: (slope, intercept).
        palette: three times (entries, first value, bits, bytes), or ().
        profile: ICC profile, or None.
        content, start, length: bytes of the data set, and of the pixels in it; length None where
            they are encapsulated.
        swapped: whether samples of one byte stand in words of the other order.
        who: {"patient", "issuer", "study"}: bytes. eyes: of each frame "left", "right" or "".
    """

    syntax: str
    photometric: str = ""
    numbers: dict = field(default_factory=dict)
    frames: int = 1
    window: tuple | None = None
    rescale: tuple = (1.0, 0.0)
    palette: tuple = ()
    profile: bytes | None = None
    content: bytes = b""
    start: int = 0
    length: int | None = 0
    swapped: bool = False
    who: dict = field(default_factory=dict)
    eyes: tuple = ("",)

    def __getattr__(self, name):
        try:
            return self.__dict__["numbers"][name]
        except KeyError:
            raise AttributeError(name) from None


class _Bounded(io.BytesIO):
    """Bytes that may be read so many times only: tiny elements would take minutes."""

    left = _READS

    def read(self, size=-1):
        self.left -= 1
        if self.left < 0:
            raise ValueError  # pydicom takes an EOFError for the end
        return super().read(size)


def read_header(data: bytes) -> Header:
    """`Header` of a DICOM file whose picture is of a size that may be decoded.

    Raises:
        Refused: it is not.
    """
    try:
        from pydicom.filereader import read_dataset
        from pydicom.uid import UID_dictionary
    except ImportError as error:
        raise Refused(NO_PYDICOM) from error
    try:
        syntax, start = _meta(data)
        if syntax == DEFLATED:
            data, start = _inflated(data[start:]), 0
        implicit, little = NATIVE.get(syntax, (False, True))
        file = _Bounded(data)
        file.seek(start)
        with quiet("pydicom"):
            tags = read_dataset(file, implicit, little, stop_when=_at_pixels, specific_tags=_WANTED)
            header = _header(tags, syntax, little)
        header.content, at = data, file.tell()
    except Refused:
        raise
    except Exception as error:  # pydicom meets bytes of any kind with errors of many kinds
        raise Refused(BROKEN) from error
    name = UID_dictionary.get(_text(tags, _CLASS), ("",))[0]
    if not (header.rows and header.columns and _find_pixels(header, at, implicit, little)):
        raise Refused(f"{NO_PICTURE} ({name})" if name else NO_PICTURE)
    reason = beyond(header.rows, header.columns)
    if reason:
        raise Refused(reason)
    if not 1 <= header.frames <= MAX_FRAMES:
        raise Refused(f"{header.frames} frames instead of 1 to {MAX_FRAMES}")
    return header


def _at_pixels(tag, kind, length):
    return tag >= _PIXELS


def _meta(data):
    """Transfer syntax, and where the data set behind the file's own header begins."""
    at, syntax = 132, ""
    for _ in range(256):
        group, element, kind, length = struct.unpack_from("<HH2sH", data, at)
        if group != _META:
            break
        at += 8
        if kind in (b"OB", b"UN", b"OW", b"SQ", b"UT"):
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
        if group << 16 | element == _SYNTAX:
            syntax = data[at : at + length].strip(b" \0").decode("ascii")
        at += length
    if not syntax:
        raise Refused(BROKEN)
    return syntax, at


def _inflated(packed):
    found = zlib.decompressobj(-15).decompress(packed, MAX_BYTES + 1)
    if len(found) > MAX_BYTES:
        raise Refused(f"{too_heavy(len(found))}, inflated")
    return found


def _header(tags, syntax, little):
    """`Header` of a data set, its pixels not yet found."""
    order = "<" if little else ">"
    numbers = {name: _number(tags, tag, order, usual) for name, (tag, usual) in _NUMBERS.items()}
    numbers["stored"] = numbers["stored"] or numbers["allocated"]
    if numbers["high"] is None:
        numbers["high"] = numbers["stored"] - 1
    centre, width, _, intercept, slope = (_real(tags, tag) for tag in _WINDOW)
    fine = centre is not None and width is not None and width >= 1
    frames = _text(tags, _FRAMES)
    if frames and not re.fullmatch(r"[+-]?\d{1,12}", frames):
        raise Refused(BROKEN)
    count = int(frames or 1)
    return Header(
        syntax,
        photometric=_text(tags, _PHOTOMETRIC),
        numbers=numbers,
        frames=count,
        window=(centre, width, _text(tags, _WINDOW[2]) or "LINEAR") if fine else None,
        rescale=(slope or 1.0, intercept or 0.0),
        palette=_palettes(tags, order),
        profile=_bytes(tags, _PROFILE) or None,
        who={name: _bytes(tags, tag).strip(b" \0") for name, tag in _WHO.items()},
        eyes=_eyes(tags, min(max(count, 1), MAX_FRAMES)),
    )


def _bytes(tags, tag):
    found = tags.get_item(tag) if tag in tags else None
    return found.value or b"" if found is not None else b""


def _text(tags, tag):
    """The first value of a text, "" for none."""
    return _bytes(tags, tag).decode("latin-1").split("\\")[0].strip(" \0")


def _number(tags, tag, order, usual):
    value = _bytes(tags, tag)
    return struct.unpack_from(order + "H", value)[0] if len(value) >= 2 else usual


def _real(tags, tag):
    try:
        found = float(_text(tags, tag))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _palettes(tags, order):
    found = []
    for descriptor, values in _PALETTE:
        told, content = _bytes(tags, descriptor), _bytes(tags, values)
        if len(told) < 6 or not content:
            return ()
        entries, first, bits = struct.unpack_from(order + "HHH", told)
        entries = entries or 65536
        if len(content) >= 2 * entries:
            found.append((entries, first, bits, content[: 2 * entries], order + "u2"))
        else:
            found.append((entries, first, bits, content[:entries], "u1"))
    return tuple(found)


def _eyes(tags, frames):
    """The eye of each frame: what its functional group says, else those of all, else the file."""
    whole = next((eye for eye in (_eye(_text(tags, tag)) for tag in _EYES) if eye), "")
    for group in tags[_SHARED].value if _SHARED in tags else ():
        whole = _eye_of_group(group) or whole
    own = [_eye_of_group(x) for x in tags[_OF_FRAMES].value] if _OF_FRAMES in tags else []
    own = (own + [""] * frames)[:frames]
    return tuple(eye or whole for eye in own)


def _eye_of_group(group):
    for anatomy in group[_ANATOMY].value if _ANATOMY in group else ():
        return _eye(_text(anatomy, _FRAME_EYE))
    return ""


def _eye(word):
    return {"L": "left", "R": "right"}.get(word, "")


def _find_pixels(header, at, implicit, little):
    """Whether pixels stand at `at`; where they begin and end is put into the header."""
    order = "<" if little else ">"
    try:
        group, element = struct.unpack_from(order + "HH", header.content, at)
        kind = b"OW" if implicit else header.content[at + 4 : at + 6]
        (length,) = struct.unpack_from(order + "I", header.content, at + (4 if implicit else 8))
    except struct.error:
        return False
    header.start = at + (8 if implicit else 12)
    header.length = None if length == 0xFFFFFFFF else length
    header.swapped = not little and kind == b"OW"
    return group << 16 | element == _PIXELS and length > 0
