"""Image files on disk: their size before decoding, what is wrong with them, TIFF to PNG.

TensorFlow decodes JPEG, PNG and the common kinds of BMP. TIFF and the other kinds of BMP are
turned into PNG by OpenCV, after their header has been checked, so that all that follows sees one
way of decoding.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from fundus_diag.imaging import header, tiff
from fundus_diag.imaging.decode import traced_decode
from fundus_diag.imaging.header import MAX_BYTES, MAX_PIXELS, MIN_SIDE
from fundus_diag.imaging.room import promised, room
from fundus_diag.imaging.traced import traced
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.processes import cores
from fundus_diag.utils.progress import track

# One of each for all threads.
_facts = traced(header.header_facts)
NO_IMAGE = "not an image (JPEG, PNG, BMP, TIFF)"
_MAX_BITS = 16  # a sample of a TIFF; more are real numbers or refused anyway, and take much memory


def image_size(data: bytes) -> tuple[int, int, str]:
    """Height, width (pixels, before orientation) and kind of an image file, from its header.

    Returns:
        The kind is JPEG, PNG, BMP, TIFF or "". The size is (0, 0) where no header can be read.
    """
    kind = _kind(data)
    if kind == "TIFF":
        facts = tiff.tiff_facts(data)
        return facts.get(tiff.HEIGHT, 0), facts.get(tiff.WIDTH, 0), kind
    _, height, width = _facts(data) if kind else (0, 0, 0)
    return int(height), int(width), kind


def read_bytes(path) -> bytes:
    """Content of an image file that `decode` can take: TIFF and unusual BMP become PNG.

    Raises:
        DataError: the file cannot be read, is none of these kinds or beyond the limits. The
            content of JPEG, PNG and common BMP files is not looked at.
    """
    content, reason = _read(Path(path))
    data, reason = (None, reason) if reason else _decodable(content)
    if reason:
        raise DataError(f"{path}: {reason}")
    return data


def read_content(path) -> bytes:
    """Content of any file of at most `MAX_BYTES`.

    Raises:
        DataError: it cannot be read, or is larger.
    """
    content, reason = _read(Path(path))
    if reason:
        raise DataError(f"{path}: {reason}")
    return content


def open_file(path) -> tuple[bytes | None, np.ndarray | None, str | None]:
    """What one reading of a photograph tells.

    Returns:
        content: the bytes of the file, None where it cannot be read.
        picture: (H, W, 3) uint8 RGB, upright; None where there is none.
        reason: what keeps the photograph from being used, in one line without its name, or None.
            The whole picture is decoded, so a truncated or damaged file is found.
    """
    content, reason = _read(Path(path))
    data, reason = (None, reason) if reason else _decodable(content)
    if reason:
        return content, None, reason
    try:
        with decoding(data):
            # Not `.numpy()`, which copies: a photograph may take 300 MB.
            return content, np.asarray(memoryview(traced_decode(data))), None
    except tf.errors.OpError:
        return content, None, why_not(data)


def decoding(data: bytes):
    """Context in which `data`, of `read_bytes`, may be decoded: see `room`."""
    return room(promised(data))


def bits(data: bytes) -> int:
    """Bits a sample that an image file says to hold; 8 where it says nothing."""
    kind = _kind(data)
    if kind == "TIFF":
        return tiff.tiff_facts(data).get(tiff.BITS, 8)
    return data[24] if kind == "PNG" and len(data) > 24 else 8


def narrow_bits(data: bytes, picture) -> int:
    """12 or 14 where a file of 16 bits a sample uses no more of them, else 0.

    Cameras write such files; the upper 8 bits, which are taken, are nearly black then.

    Args:
        data: the file.
        picture: its decoded pixels, uint8, which hold the upper 8 bits.
    """
    if bits(data) != 16:
        return 0
    brightest = int(picture.max())
    return 12 if 0 < brightest < 2**4 else 14 if 0 < brightest < 2**6 else 0


def check_file(path) -> str | None:
    """What keeps a photograph from being used, in one line without its name; None if nothing."""
    return open_file(path)[2]


def check_header(path) -> str | None:
    """As `check_file`, but nothing is decoded: damage between header and end goes unseen."""
    data, reason = _read(Path(path))
    if reason:
        return reason
    if _kind(data) == "TIFF":
        height, width, _ = image_size(data)
        fine = min(height, width) >= MIN_SIDE and height * width <= MAX_PIXELS
    else:
        fine = _problem(data) in (header.OK, header.UNUSUAL)  # unusual BMP goes to OpenCV
    return None if fine else why_not(data)


def check_files(paths, workers: int | None = None, check=check_file) -> list[tuple[Path, str]]:
    """(path, reason) of the photographs that cannot be used, in the order of `paths`.

    Args:
        paths: image files.
        workers: threads; None is one a core.
        check: `check_file` or `check_header`.
    """
    paths = [Path(path) for path in paths]
    with ThreadPoolExecutor(workers or cores()) as pool:
        reasons = track(pool.map(check, paths), "looking at photographs", len(paths))
        return [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason]


def why_not(data: bytes) -> str:
    """Why `decode` refused `data`, in one line."""
    if not data:
        return "empty file"
    if len(data) > MAX_BYTES:
        return _too_heavy(len(data))
    height, width, kind = image_size(data)
    if not kind:
        code = _problem(data)
        named = header.PROBLEMS[code] if code > header.DAMAGED else ""
        return named.replace("PNG or BMP", "PNG, BMP or TIFF") or NO_IMAGE
    if height <= 0 or width <= 0:
        return f"broken {kind} header"
    if min(height, width) < MIN_SIDE:
        return f"{width}x{height} pixels: smaller than {MIN_SIDE}"
    if height * width > MAX_PIXELS:
        return f"{height * width / 1e6:.0f} megapixels, more than {MAX_PIXELS / 1e6:.0f}"
    if kind == "TIFF":
        return "truncated, damaged or unusual TIFF"
    code = _problem(data)
    return header.PROBLEMS[code] or f"damaged {kind}"


def _problem(data):
    """Code of what keeps `decode` from taking `data`; see `header.probe`."""
    return int(_facts(data)[0])


def _read(path):
    """(content, None) or (None, reason)."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            return None, _too_heavy(size)
        return path.read_bytes(), None
    except FileNotFoundError:
        return None, "no such file"
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"


def _decodable(data):
    """(what `decode` can take, None) or (None, reason)."""
    kind = _kind(data)
    if not kind:
        return None, why_not(data)
    foreign = kind == "TIFF" or (kind == "BMP" and _problem(data) == header.UNUSUAL)
    return _to_png(data, kind) if foreign else (data, None)


def _to_png(data, kind):
    height, width, _ = image_size(data)
    if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
        return None, why_not(data)
    if kind == "TIFF":
        facts = tiff.tiff_facts(data)
        if facts.get(tiff.TILE_WIDTH, 1) * facts.get(tiff.TILE_HEIGHT, 1) > MAX_PIXELS:
            return None, "broken TIFF header"
        if bits(data) > _MAX_BITS:
            return None, f"TIFF of {bits(data)} bits a sample instead of 8 or 16"
    with room(height * width):
        return _converted(data, kind)


def _converted(data, kind):
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
        return None, f"truncated, damaged or unusual {kind}"
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        return None, f"{kind} of {image.dtype} values instead of 8 or 16 bits"
    _, png = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if png.size > MAX_BYTES:
        return None, f"{_too_heavy(png.size)}, as PNG"
    return png.tobytes(), None


def _kind(data):
    starts = (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"BM", "BMP")
    tiff = ((start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
    return next((kind for start, kind in (*starts, *tiff) if data.startswith(start)), "")


def _too_heavy(size):
    return f"{size / 2**20:.0f} MB, more than {MAX_BYTES // 2**20}"
