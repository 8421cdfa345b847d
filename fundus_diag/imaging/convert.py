"""Photographs that TensorFlow does not decode, or whose colours are not sRGB, to plain pixels."""

import cv2
import numpy as np
import tensorflow as tf

from fundus_diag.imaging import blocks, foreign, icc, tiff
from fundus_diag.imaging.decode import UPRIGHT
from fundus_diag.imaging.header import MAX_PIXELS, exif_orientation
from fundus_diag.imaging.raw import padded

FOREIGN = {"GIF", "WebP", "AVIF", "HEIC", "JPEG 2000", "PNM"}
_MAX_BITS = 16  # a sample of a TIFF; more are real numbers or refused anyway, and take much memory


class Refused(Exception):
    """A file cannot be converted; the text is the reason, in one line without its name."""


def unreadable(kind: str) -> str:
    """What is said of a file of this kind that its decoder refuses."""
    return f"truncated, damaged or unusual {kind}"


def to_pixels(data: bytes, kind: str) -> tuple[np.ndarray, bool]:
    """The first picture of a TIFF, odd BMP or file of `FOREIGN` whose size was found fit.

    Returns:
        pixels (H, W, 3) uint8 sRGB, upright, and whether the file holds further pictures.

    Raises:
        Refused: it cannot be decoded.
    """
    if kind not in FOREIGN:
        profile = blocks.profile(data, kind)
        return in_srgb(_by_opencv(data, kind), profile, data), blocks.holds_more(data, kind)
    found = foreign.read(data, kind)
    if found is None or found.pixels.shape[2] == 4:
        raise Refused(unreadable(kind))
    return _upright(in_srgb(found.pixels, found.profile), found.exif), found.more


def changes(profile: bytes | None) -> bool:
    """Whether colours of this profile are others than sRGB."""
    return bool(profile) and icc.is_another(profile)


def in_srgb(pixels: np.ndarray, profile: bytes | None, data: bytes = b"") -> np.ndarray:
    """Pixels (H, W, 3) in sRGB; as they are where the profile says nothing else.

    Args:
        pixels: uint8 RGB, upright.
        profile: ICC profile or None.
        data: the JPEG or TIFF that they come from: of inks (CMYK) the profile needs all four.
    """
    if not profile or not icc.is_another(profile):
        return pixels
    if icc.of_inks(profile):
        inks = foreign.inks(data)
        if inks is None:
            return pixels
        found = icc.to_srgb(inks[0], profile)
        return pixels if found is None else _upright(found, inks[1])
    found = icc.to_srgb(pixels, profile)
    return pixels if found is None else found


def _by_opencv(data, kind):
    if kind == "TIFF":
        facts = tiff.tiff_facts(data)
        if facts.get(tiff.TILE_WIDTH, 1) * facts.get(tiff.TILE_HEIGHT, 1) > MAX_PIXELS:
            raise Refused("broken TIFF header")
        bits = facts.get(tiff.BITS, 8)
        if bits > _MAX_BITS:
            raise Refused(f"TIFF of {bits} bits a sample instead of 8 or 16")
    flags = cv2.IMREAD_UNCHANGED if kind == "TIFF" else cv2.IMREAD_COLOR
    log = cv2.utils.logging
    before = log.setLogLevel(log.LOG_LEVEL_SILENT)  # the reason is given below, in one line
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    finally:
        log.setLogLevel(before)
    if image is None:
        raise Refused(unreadable(kind))
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise Refused(f"{kind} of {image.dtype} values instead of 8 or 16 bits")
    return _rgb(image)


def _rgb(image):
    """RGB of what OpenCV decodes: gray, BGR, or BGR and a transparency, which is laid on black."""
    image = image if image.ndim == 3 else image[..., None]
    if image.shape[2] in (1, 2):
        image = np.repeat(image[..., :1], 3, axis=2)
    colours = image[..., 2::-1]
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.uint16)
        colours = ((colours * alpha + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(colours)


def _upright(pixels, exif):
    """Pixels turned as an EXIF block says, by the rule for JPEG and PNG."""
    if not exif:
        return pixels
    orientation = int(exif_orientation(padded(b"\0" + exif), tf.constant(1, tf.int64)))
    transposed, axes = UPRIGHT[orientation - 1]
    pixels = pixels.transpose(1, 0, 2) if transposed else pixels
    return np.ascontiguousarray(np.flip(pixels, axes))
