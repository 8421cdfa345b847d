"""Image files on disk: their size before decoding, what is wrong with them, other kinds to PNG.

TensorFlow decodes JPEG, PNG and the common kinds of BMP. All others (`convert`) are turned into
PNG, after their header has been checked, so that all that follows sees one way of decoding; and so
are photographs whose colours are, by their profile, not sRGB.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from fundus_diag.imaging import blocks, convert, dicom, foreign, header, tiff
from fundus_diag.imaging.decode import traced_decode
from fundus_diag.imaging.frames import split_frame
from fundus_diag.imaging.header import MAX_BYTES
from fundus_diag.imaging.limits import beyond, too_heavy
from fundus_diag.imaging.room import promised, room
from fundus_diag.imaging.traced import traced
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.processes import cores
from fundus_diag.utils.progress import track

_facts = traced(header.header_facts)
NO_IMAGE = "not an image (JPEG, PNG, BMP, TIFF, DICOM)"
NO_FRAME = "only frames of DICOM files have numbers"
MORE = "hold several pictures, of which the first is taken"


class Opened(NamedTuple):
    """What one reading of a photograph tells.

    Attributes:
        content: the bytes of the file, None where it cannot be read; of a frame of a DICOM file
            those of its picture, so that the same picture is the same in whatever file.
        picture: (H, W, 3) uint8 RGB, upright; None where there is none.
        reason: what keeps the photograph from being used, in one line without its name, or None.
            The whole picture is decoded, so a truncated or damaged file is found.
        more: whether the file holds further pictures, see `MORE`.
    """

    content: bytes | None
    picture: np.ndarray | None = None
    reason: str | None = None
    more: bool = False


class _Data(NamedTuple):
    """What `decode` can take, or why there is nothing; and whether the file holds more pictures."""

    data: bytes | None = None
    reason: str | None = None
    more: bool = False


def image_size(data: bytes) -> tuple[int, int, str]:
    """Height, width (pixels, before orientation) and kind of an image file, from its header.

    Returns:
        The kind is JPEG, PNG, BMP, TIFF, DICOM, one of `convert.FOREIGN`, or "". The size is (0, 0)
        where no header can be read.
    """
    kind = kind_of(data)
    if kind == "TIFF":
        facts = tiff.tiff_facts(data)
        return facts.get(tiff.HEIGHT, 0), facts.get(tiff.WIDTH, 0), kind
    if kind == "DICOM":
        return *dicom.size(data), kind
    if kind in convert.FOREIGN:
        return *foreign.size(data, kind), kind
    _, height, width = _facts(data) if kind else (0, 0, 0)
    return int(height), int(width), kind


def read_bytes(path) -> bytes:
    """Content of an image file that `decode` can take; see `read_photograph`."""
    return read_photograph(path)[0]


def read_photograph(path) -> tuple[bytes, bool]:
    """What `decode` can take of an image file, and whether it holds further pictures; see `MORE`.

    Raises:
        DataError: the file cannot be read, is of no kind that is read or beyond the limits. JPEG,
            PNG and common BMP files in sRGB are handed on as they are, sound or not.
    """
    _, found = _opened(path)
    if found.reason:
        raise DataError(f"{path}: {found.reason}")
    return found.data, found.more


def decodable(content: bytes) -> tuple[bytes, bool]:
    """As `read_photograph`, of the content of a file.

    Raises:
        DataError: what is wrong with it, without a name.
    """
    found = _Data(None, too_heavy(len(content)))
    if len(content) <= MAX_BYTES:
        found = _decodable(content, None)
    if found.reason:
        raise DataError(found.reason)
    return found.data, found.more


def read_content(path) -> bytes:
    """Content of any file of at most `MAX_BYTES`.

    Raises:
        DataError: it cannot be read, or is larger.
    """
    content, reason = _read(Path(path))
    if reason:
        raise DataError(f"{path}: {reason}")
    return content


def open_file(path) -> Opened:
    """The content of a file and its photograph, decoded; see `Opened`."""
    content, found = _opened(path)
    if found.reason:
        return Opened(content, None, found.reason)
    if content is not None and dicom.is_dicom(content):
        content = found.data
    try:
        with decoding(found.data):
            # Not `.numpy()`, which copies: a photograph may take 300 MB.
            picture = np.asarray(memoryview(traced_decode(found.data)))
        return Opened(content, picture, None, found.more)
    except tf.errors.OpError:
        return Opened(content, None, why_not(found.data))


def decoding(data: bytes):
    """Context in which `data`, of `read_bytes`, may be decoded: see `room`."""
    return room(promised(data))


def check_file(path) -> str | None:
    """What keeps a photograph from being used, in one line without its name; None if nothing."""
    return open_file(path).reason


def check_header(path) -> str | None:
    """As `check_file`, but nothing is decoded: damage between header and end goes unseen."""
    file, frame = split_frame(path)
    data, reason = _read(file)
    if reason:
        return reason
    height, width, kind = image_size(data)
    if kind == "DICOM":
        return dicom.check(data, frame)
    if frame is not None:
        return NO_FRAME
    if kind == "TIFF" or kind in convert.FOREIGN:
        return why_not(data) if beyond(height, width) else None
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
        return too_heavy(len(data))
    height, width, kind = image_size(data)
    if not kind:
        return _unknown(data)
    if height <= 0 or width <= 0:
        return f"broken {kind} header"
    if beyond(height, width):
        return beyond(height, width)
    if kind == "TIFF" or kind in convert.FOREIGN:
        return convert.unreadable(kind)
    code = _problem(data)
    return header.PROBLEMS[code] or f"damaged {kind}"


def _unknown(data):
    """What is said of a file of none of the kinds that are read."""
    code = _problem(data)
    kind = header.PROBLEMS[code].partition(",")[0] if code > header.DAMAGED else ""
    said = foreign.NO_HEIF if kind == "HEIC" else f"{kind}: save it as JPEG or PNG"
    return said if kind else NO_IMAGE


def _problem(data):
    """Code of what keeps `decode` from taking `data`; see `header.probe`."""
    return int(_facts(data)[0])


def _read(path):
    """(content, None) or (None, reason)."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            return None, too_heavy(size)
        return path.read_bytes(), None
    except FileNotFoundError:
        return None, "no such file"
    except OSError as error:
        return None, f"cannot be read: {error.strerror}"


def _opened(path):
    """(content of the file or None, `_Data`)."""
    file, frame = split_frame(path)
    content, reason = _read(file)
    return content, _Data(None, reason) if reason else _decodable(content, frame)


def _decodable(data, frame):
    """`_Data` of the content of a file."""
    kind = kind_of(data)
    if kind == "DICOM":
        return _of_dicom(data, frame)
    if not kind or frame is not None:
        return _Data(None, NO_FRAME if kind else why_not(data))
    odd_bmp = kind == "BMP" and _problem(data) == header.UNUSUAL
    if kind == "TIFF" or kind in convert.FOREIGN or odd_bmp:
        return _converted(data, kind)
    profile = blocks.profile(data, kind)
    return _in_srgb(data, profile, more=blocks.holds_more(data, kind))


def _converted(data, kind):
    height, width, _ = image_size(data)
    if beyond(height, width):
        return _Data(None, why_not(data))
    with room(height * width):
        try:
            pixels, more = convert.to_pixels(data, kind)
        except convert.Refused as error:
            return _Data(None, str(error))
        return _png(pixels, more)


def _of_dicom(data, frame):
    try:
        found = dicom.read(data, frame)
    except dicom.Refused as error:
        return _Data(None, str(error))
    more = frame is None and found.frames > 1
    if found.jpeg is not None:
        return _in_srgb(found.jpeg, found.profile, found.inverted, more)
    return _png(convert.in_srgb(found.pixels, found.profile), more)


def _in_srgb(data, profile, inverted=False, more=False):
    """A JPEG or PNG as it is, or with other levels as a PNG; what is damaged, `decode` refuses."""
    if not inverted and not convert.changes(profile):
        return _Data(data, None, more)
    try:
        with decoding(data):
            pixels = np.asarray(memoryview(traced_decode(data)))
            pixels = convert.in_srgb(pixels, profile, data)
            return _png(255 - pixels if inverted else pixels, more)
    except tf.errors.OpError:
        return _Data(data, None, more)


def _png(pixels, more):
    data = foreign.as_png(pixels)
    if len(data) > MAX_BYTES:
        return _Data(None, f"{too_heavy(len(data))}, as PNG")
    return _Data(data, None, more)


def kind_of(data: bytes) -> str:
    """The kind of an image file by its first bytes, see `image_size`."""
    starts = (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"BM", "BMP")
    tiff = ((start, "TIFF") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
    known = next((kind for start, kind in (*starts, *tiff) if data.startswith(start)), "")
    return known or ("DICOM" if dicom.is_dicom(data) else foreign.kind_of(data))
