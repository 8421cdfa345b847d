"""Pixels of one frame of a DICOM file: out of their encoding, and to RGB of 8 bits.

DICOM PS3.5 (8.2 native, A.4 encapsulated, annex G run lengths), PS3.3 (C.7.6.3.1.2 kinds of colour,
C.7.6.3.1.5 palettes, C.11.2.1.2 windows). Of more than 8 bits the upper 8 are taken, as of a PNG.
"""

import io
import struct

import numpy as np
from PIL import Jpeg2KImagePlugin

from fundus_diag.imaging import foreign
from fundus_diag.imaging.dicom_header import NATIVE, Header, Refused
from fundus_diag.imaging.quiet import quiet

JPEG = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
JPEG_2000 = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
RLE = "1.2.840.10008.1.2.5"
SYNTAXES = {*NATIVE, *JPEG, *JPEG_2000, RLE}
GRAY, COLOURS = {"MONOCHROME1", "MONOCHROME2"}, {"RGB", "YBR_FULL", "YBR_FULL_422"}
TRANSFORMED = {"YBR_RCT", "YBR_ICT"}  # by JPEG 2000, which takes it back
PALETTE = "PALETTE COLOR"
TRUNCATED = "truncated"
DAMAGED = "damaged DICOM"
_MAX_ITEMS = 200_000  # parts of encapsulated pixels
_ROWS = 2**21  # pixels converted at a time


def frame_bytes(header: Header, frame: int) -> bytes:
    """The encoded bytes of a frame, from 1, of encapsulated pixels.

    Raises:
        Refused: they are not there.
    """
    items = _items(header)
    table, parts = items[0], items[1:]
    if header.frames == 1:
        return b"".join(parts)
    if len(parts) == header.frames:
        return parts[frame - 1]
    starts = _starts(table, parts, header)
    if len(starts) != header.frames:
        raise Refused(DAMAGED)
    return b"".join(parts[slice(*(starts + [len(parts)])[frame - 1 : frame + 1])])


def _items(header):
    found, at, content = [], header.start, header.content
    while len(found) < _MAX_ITEMS:
        if at + 8 > len(content):
            raise Refused(TRUNCATED)
        group, element, length = struct.unpack_from("<HHI", content, at)
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000):
            raise Refused(DAMAGED)
        if at + 8 + length > len(content):
            raise Refused(TRUNCATED)
        found.append(content[at + 8 : at + 8 + length])
        at += 8 + length
    if len(found) < 2:
        raise Refused(DAMAGED)
    return found


def _starts(table, parts, header):
    """Numbers of the parts that frames begin with: by the table of offsets, else by their marks."""
    if len(table) >= 4 * header.frames:
        places, at = {}, 0
        for number, part in enumerate(parts):
            places[at] = number
            at += 8 + len(part)
        told = struct.unpack_from(f"<{header.frames}I", table)
        return sorted({places[x] for x in told if x in places})
    marks = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
    return [number for number, part in enumerate(parts) if part.startswith(marks)]


def native(header: Header, frame: int) -> np.ndarray:
    """Samples (rows, columns, samples) of a frame of plain pixels, as they are stored.

    Raises:
        Refused: the file ends too early.
    """
    count = header.rows * header.columns
    halved = header.photometric == "YBR_FULL_422"  # four bytes for two pixels
    values = 2 * count if halved else header.samples * count
    if halved and header.columns % 2:
        raise Refused(DAMAGED)
    size = values * header.allocated // 8
    at = header.start + (frame - 1) * size
    end = header.start + min(header.length or 0, len(header.content) - header.start)
    if at + size > end:
        raise Refused(TRUNCATED)
    if header.allocated == 8 and header.swapped:  # two samples in a word of the other order
        words = np.frombuffer(header.content, np.uint8, (end - header.start) // 2 * 2, header.start)
        raw = words.reshape(-1, 2)[:, ::-1].reshape(-1)[at - header.start :][:values]
    else:
        order = ">" if NATIVE[header.syntax][1] is False else "<"
        kind = np.dtype("u1" if header.allocated == 8 else order + "u2")
        raw = np.frombuffer(header.content, kind, values, at)
    if raw.size < values:
        raise Refused(TRUNCATED)
    if halved:
        pairs = raw.reshape(header.rows, header.columns // 2, 4)
        luma = pairs[..., :2].reshape(header.rows, header.columns)
        chroma = np.repeat(pairs[..., 2:], 2, axis=1)
        return np.concatenate([luma[..., None], chroma], axis=2)
    return _laid_out(raw, header, header.planar == 1)


def _laid_out(raw, header, by_plane):
    if by_plane and header.samples > 1:
        return np.moveaxis(raw.reshape(header.samples, header.rows, header.columns), 0, -1)
    return raw.reshape(header.rows, header.columns, header.samples)


def run_lengths(header: Header, data: bytes) -> np.ndarray:
    """Samples (rows, columns, samples) of a frame in run lengths; as long as the picture at most.

    Raises:
        Refused: the frame is damaged.
    """
    width = header.allocated // 8
    count, size = header.samples * width, header.rows * header.columns
    if len(data) < 64 or struct.unpack_from("<I", data)[0] != count:
        raise Refused(DAMAGED)
    starts = [*struct.unpack_from(f"<{count}I", data, 4), len(data)]
    planes = [
        _unpacked(data[start:end], size) for start, end in zip(starts, starts[1:], strict=False)
    ]
    if any(len(plane) < size for plane in planes):
        raise Refused(DAMAGED)
    bytes_of = [np.frombuffer(plane, np.uint8, size) for plane in planes]
    if width == 2:  # the upper byte of a sample stands before its lower one
        pairs = zip(bytes_of[::2], bytes_of[1::2], strict=True)
        bytes_of = [high.astype(np.uint16) << 8 | low for high, low in pairs]
    return _laid_out(np.stack(bytes_of).reshape(-1), header, True)


def _unpacked(packed, size):
    """Bytes of a segment of runs (PS3.5 G.3.2), decoded no further than `size` asks for."""
    found, at, end = bytearray(), 0, len(packed)
    while at < end and len(found) < size:
        head = packed[at]
        if head < 128:
            found += packed[at + 1 : at + 2 + head]
            at += 2 + head
        elif head > 128:
            found += packed[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    return bytes(found)


def jpeg_2000(header: Header, data: bytes) -> np.ndarray:
    """Samples (rows, columns, samples) of a frame in JPEG 2000; the header gets their bits.

    Raises:
        Refused: the frame is damaged, or not as the file says.
    """
    at = data.find(b"\xff\x4f\xff\x51")
    try:
        if foreign.size(data, "JPEG 2000") != (header.rows, header.columns):
            raise Refused(DAMAGED)
        channels, bits = struct.unpack_from(">HB", data, at + 40)
        with quiet():
            image = Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(data))
        with image:
            image.load()
            found = np.asarray(image)
    except Refused:
        raise
    except Exception as error:  # whatever a decoder says of bytes that are no such file
        raise Refused(DAMAGED) from error
    signed, bits = bool(bits & 0x80), (bits & 0x7F) + 1
    found = found.reshape(header.rows, header.columns, -1)
    if channels != header.samples or found.shape[2] != channels or bits > 16:
        raise Refused(DAMAGED)
    wide = found.dtype != np.uint8
    found = found >> ((16 if wide else 8) - min(bits, 16 if wide else 8))  # Pillow fills them up
    stored = min(bits, 16 if wide else 8)
    if signed:  # Pillow begins at 0
        found = (found.astype(np.int32) - (1 << stored - 1)) & ((1 << stored) - 1)
    allocated = 16 if wide else 8
    header.numbers |= {"stored": stored, "high": stored - 1, "allocated": allocated}
    header.numbers["signed"] = int(signed)
    return found


def to_rgb(header: Header, samples: np.ndarray) -> np.ndarray:
    """Samples as they are stored to RGB, (rows, columns, 3) uint8."""
    if header.photometric == PALETTE:
        tables = [_palette(header, k) for k in range(3)]
        return np.stack([table[samples[..., 0]] for table in tables], axis=-1)
    if header.photometric in GRAY:
        gray = _tones(header)[samples[..., 0]]
        return np.repeat(gray[..., None], 3, axis=-1)
    if header.allocated != 8 or header.stored != 8:
        samples = _upper(_values(header), header.stored)[samples]
    if header.photometric in ("YBR_FULL", "YBR_FULL_422"):
        return _from_ybr(samples)
    return np.ascontiguousarray(samples, np.uint8)


def _values(header):
    """What each pattern of `allocated` bits means as a number, int64: shifted, masked, signed."""
    raw = np.arange(1 << header.allocated, dtype=np.int64)
    values = (raw >> (header.high + 1 - header.stored)) & ((1 << header.stored) - 1)
    if header.signed:
        values -= (values >> (header.stored - 1)) << header.stored
    return values


def _upper(values, stored):
    """The upper 8 of `stored` bits; of fewer bits the whole range. Signed numbers begin at 0."""
    values = values - min(int(values.min()), 0)
    if stored >= 8:
        return (values >> (stored - 8)).astype(np.uint8)
    return (values * 255 // ((1 << stored) - 1)).astype(np.uint8)


def _tones(header):
    """Gray level of each pattern of bits: window, or the stored range; MONOCHROME1 inverted."""
    values = _values(header)
    if header.window is None or header.stored <= 8:
        levels = _upper(values, header.stored)
    else:
        slope, intercept = header.rescale
        x = values * slope + intercept
        centre, width, function = header.window
        with np.errstate(over="ignore", invalid="ignore"):
            if function == "SIGMOID":
                share = 1 / (1 + np.exp(-4 * (x - centre) / width))
            elif function == "LINEAR_EXACT":
                share = (x - centre) / width + 0.5
            else:  # of width 1 a threshold
                share = (x - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
                share = np.where(x <= centre - width / 2, 0, share)
        levels = np.rint(np.clip(np.nan_to_num(share), 0, 1) * 255).astype(np.uint8)
    return 255 - levels if header.photometric == "MONOCHROME1" else levels


def _palette(header, channel):
    entries, first, bits, content, kind = header.palette[channel]
    if header.signed and first >= 32768:
        first -= 65536
    values = np.frombuffer(content, kind)
    wide = bits > 8 and kind != "u1"
    levels = (values >> 8 if wide else values & 255).astype(np.uint8)
    return levels[np.clip(_values(header) - first, 0, len(levels) - 1)]


def _from_ybr(samples):
    """RGB of luma and two chromas of 8 bits, (H, W, 3); some rows at a time."""
    found = np.empty(samples.shape, np.uint8)
    step = max(1, _ROWS // samples.shape[1])
    for row in range(0, len(samples), step):
        y, blue, red = np.moveaxis(samples[row : row + step].astype(np.float32), -1, 0)
        blue, red = blue - 128, red - 128
        green = y - 0.114 * 1.772 / 0.587 * blue - 0.299 * 1.402 / 0.587 * red
        rgb = np.stack([y + 1.402 * red, green, y + 1.772 * blue], axis=-1)
        found[row : row + step] = np.clip(np.rint(rgb), 0, 255)
    return found
