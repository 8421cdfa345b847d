"""Pictures of kinds that TensorFlow does not decode, to pixels.

GIF, WebP, AVIF, JPEG 2000, PNM; HEIC where pi-heif is installed, libheif with a decoder alone. By
Pillow, and the plain kinds of PNM by NumPy. What a file is says its content, not its name. Its
size is read before anything is decoded, by other means than Pillow's where that would reserve
memory by it first, or believe a part of the file that the decoder does not.
"""

import io
import re
import struct
from typing import NamedTuple

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from fundus_diag.imaging.header import MAX_PIXELS
from fundus_diag.imaging.quiet import quiet

OPENERS = {
    "GIF": GifImagePlugin.GifImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")  # brands of such files
NO_HEIF = "HEIC: pi-heif is not installed; pip install '.[heic]' in the clone, or save it as JPEG"
_PNM = re.compile(  # a comment may stand wherever a blank may
    rb"P(?P<kind>[56])(?:\s|#[^\n]{0,999}\n){1,99}(?P<width>\d{1,6})(?:\s|#[^\n]{0,999}\n){1,99}"
    rb"(?P<height>\d{1,6})(?:\s|#[^\n]{0,999}\n){1,99}(?P<top>\d{1,5})\s"
)
_J2K = b"\xff\x4f\xff\x51"  # start of a codestream and of its sizes


class Pixels(NamedTuple):
    """What a file shows.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright as EXIF says is for who calls; (H, W, 4) CMYK.
        more: whether the file holds further pictures.
        profile: ICC profile, or None.
        exif: a TIFF block with an orientation, or b"".
    """

    pixels: np.ndarray
    more: bool = False
    profile: bytes | None = None
    exif: bytes = b""


def kind_of(data: bytes) -> str:
    """Which of the kinds a file is, or ""."""
    if data[:4] == b"GIF8":
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 256)
        brands = [data[k : k + 4] for k in range(8, length, 4) if k != 12]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIC" if set(brands) & set(HEIC) and _heif() else ""
    if data[4:12] == b"jP  \r\n\x87\n" or data[:4] == _J2K:
        return "JPEG 2000"
    return "PNM" if re.match(rb"P[56][\s#]", data[:3]) else ""


def size(data: bytes, kind: str) -> tuple[int, int]:
    """Height and width that a file promises, pixels; (0, 0) where none can be read."""
    try:
        if kind == "PNM":
            found = _PNM.match(data[:4096])
            return (int(found["height"]), int(found["width"])) if found else (0, 0)
        if kind == "WebP":
            return _size_of_webp(data)
        with quiet(), _opener(kind)(io.BytesIO(data)) as opened:
            width, height = opened.size
        return (height, width) if kind != "JPEG 2000" or _honest(data, height, width) else (0, 0)
    except Exception:  # whatever a decoder says of bytes that are no such file
        return 0, 0


def read(data: bytes, kind: str) -> Pixels | None:
    """The first picture of a file whose size was found fit; None where it cannot be decoded."""
    try:
        if kind == "PNM":
            return _read_pnm(data)
        with quiet():
            opened = _opener(kind)(io.BytesIO(data))
        with opened:
            more = bool(getattr(opened, "is_animated", False))
            info = dict(opened.info)
            opened.load()
            pixels = rgb(opened)
    except Exception:  # as above
        return None
    return Pixels(pixels, more, info.get("icc_profile"), _tiff_block(info.get("exif") or b""))


def _opener(kind):
    return _heif() if kind == "HEIC" else OPENERS[kind]


def _heif():
    """Pillow's class of HEIC files, or None where its library is not installed."""
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        return None
    return HeifImageFile


def rgb(image: Image.Image) -> np.ndarray:
    """Pixels of a decoded picture, (H, W, 3) uint8 or (H, W, 4) CMYK: on black, upper 8 bits."""
    if image.mode == "CMYK":
        return np.asarray(image)
    if image.mode.startswith("I"):  # 16 bits, whatever its number type
        gray = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if "A" in image.mode or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[..., 3:].astype(np.uint16)
        return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)
    return np.asarray(image.convert("RGB"))


def inks(data: bytes) -> tuple[np.ndarray, bytes] | None:
    """(H, W, 4) uint8 CMYK of a JPEG or TIFF whose size was found fit, as stored, and its EXIF.

    None where it has no four inks, or Pillow does not decode it.
    """
    opener = JpegImagePlugin.JpegImageFile
    if data[:2] in (b"II", b"MM"):
        opener = TiffImagePlugin.TiffImageFile
    try:
        with quiet():
            opened = opener(io.BytesIO(data))
        with opened:
            if opened.mode != "CMYK":
                return None
            exif = opened.info.get("exif", b"")
            with quiet():
                opened.load()
            return np.asarray(opened), _tiff_block(exif)
    except Exception:  # as above
        return None


def as_png(pixels: np.ndarray) -> bytes:
    """A PNG of pixels (H, W, 3) uint8 RGB and nothing else."""
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    return cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _read_pnm(data):
    """Gray or RGB, 8 or 16 bits, of a file of one picture or of several one behind the other."""
    head = _PNM.match(data[:4096])
    height, width, top = (int(head[x]) for x in ("height", "width", "top"))
    channels = 3 if head["kind"] == b"6" else 1
    count = height * width * channels
    kind = np.dtype("u1" if top < 256 else ">u2")
    if not 0 < top < 65536 or len(data) < head.end() + count * kind.itemsize:
        return None
    values = np.frombuffer(data, kind, count, head.end()).reshape(height, width, channels)
    if top == 65535:
        values = values >> 8
    elif top != 255:
        scaled = np.minimum(values, top).astype(np.uint32) * 255 + top // 2
        values = scaled // top
    rest = data[head.end() + count * kind.itemsize :]
    pixels = np.broadcast_to(values.astype(np.uint8), (height, width, 3))
    return Pixels(pixels, _PNM.match(rest[:4096]) is not None)


def _size_of_webp(data):
    name, start = data[12:16], data[20:]
    if name == b"VP8X":
        return 1 + int.from_bytes(start[7:10], "little"), 1 + int.from_bytes(start[4:7], "little")
    if name == b"VP8L" and start[:1] == b"\x2f":
        bits = int.from_bytes(start[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if name == b"VP8 " and start[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", start, 6)
        return height & 0x3FFF, width & 0x3FFF
    return 0, 0


def _honest(data, height, width):
    """Whether the codestream of a JPEG 2000 has the size and channels of a picture as told."""
    at = data.find(_J2K)
    right, down, left, top = struct.unpack_from(">IIII", data, at + 8)
    tile_right, tile_down = struct.unpack_from(">II", data, at + 24)
    (channels,) = struct.unpack_from(">H", data, at + 40)
    tiles = (right // max(tile_right, 1) + 1) * (down // max(tile_down, 1) + 1)
    fits = (right - left, down - top) == (width, height) and right * down <= 4 * MAX_PIXELS
    return at >= 0 and fits and 1 <= channels <= 4 and tiles <= 65536


def _tiff_block(exif):
    exif = exif.removeprefix(b"Exif\0\0")
    return exif if exif[:4] in (b"II*\0", b"MM\0*") else b""
