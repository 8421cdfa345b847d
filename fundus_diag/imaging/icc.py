"""Colours of a photograph as sRGB, where its file says by an ICC profile that they are others.

By Little CMS through Pillow. What a profile of nobody knows what says is ignored: the pixels are
then taken as they are, as all others are.
"""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

from fundus_diag.imaging.blocks import MAX_PROFILE

SAME = 2  # levels: a profile that moves no colour by more is sRGB by another name
ROWS = 2**22  # pixels converted at a time
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_LEVELS = np.linspace(0, 255, 9).round().astype(np.uint8)


def to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray | None:
    """Pixels in sRGB, or None where they stay as they are.

    Args:
        pixels: (H, W, 3) RGB, or gray with three equal channels; (H, W, 4) CMYK; uint8.
        profile: content of an ICC profile.

    Returns:
        (H, W, 3) uint8; None where the profile is sRGB, broken, too large or of other channels.
    """
    mode, transform = _transform(profile) if len(profile) <= MAX_PROFILE else ("", None)
    if transform is None or (mode == "CMYK") != (pixels.shape[2] == 4):
        return None
    source = pixels[..., :1] if mode == "L" else pixels
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    step = max(1, ROWS // pixels.shape[1])
    for row in range(0, len(pixels), step):
        result[row : row + step] = _applied(transform, source[row : row + step], mode)
    return result


def is_another(profile: bytes) -> bool:
    """Whether a profile is of colours that are not sRGB, and can be converted."""
    return len(profile) <= MAX_PROFILE and _transform(profile)[1] is not None


def of_inks(profile: bytes) -> bool:
    """Whether a profile is of four inks, CMYK."""
    return _transform(profile)[0] == "CMYK"


def _applied(transform, pixels, mode):
    part = np.ascontiguousarray(pixels[..., 0] if mode == "L" else pixels)
    return np.asarray(transform.apply(Image.fromarray(part, mode=mode)))


@functools.lru_cache(maxsize=8)
def _transform(profile):
    """(mode of the pixels, how they become sRGB), ("", None) where there is nothing to do."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(opened.profile.xcolor_space, "")
        if not mode:
            return "", None
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(
            opened,
            target,
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        called = (opened.profile.profile_description or "").strip().lower()
        return ("", None) if _is_srgb(transform, mode, called) else (mode, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, MemoryError):
        return "", None


def _is_srgb(transform, mode, called):
    """By what it does to colours, or, of RGB, by its name: perceptual tables of sRGB move some."""
    if mode == "CMYK":
        return False
    levels = _LEVELS if mode == "RGB" else np.arange(256, dtype=np.uint8)
    count = 3 if mode == "RGB" else 1
    grid = np.stack(np.meshgrid(*[levels] * count, indexing="ij"), -1).reshape(1, -1, count)
    moved = np.abs(_applied(transform, grid, mode).astype(int) - grid)
    return int(moved.max()) <= SAME or (mode == "RGB" and called.startswith("srgb"))
