"""DICOM files as photographs: which frames they have, whose they are, and their pictures.

Ophthalmic photographs, secondary captures and whatever else holds a picture; of 8 or 16 bits,
plain, as baseline JPEG, JPEG 2000 or in run lengths. Nothing that stands in a tag leaves here but
what a picture is made of: of the people two hashes, of the eye its side.
"""

import hashlib
import hmac
import re
from typing import NamedTuple

import numpy as np

from fundus_diag.imaging import dicom_pixels as encodings
from fundus_diag.imaging.dicom_header import MARK, Refused, read_header
from fundus_diag.imaging.frames import frame_name, split_frame
from fundus_diag.imaging.room import promised, room
from fundus_diag.utils.errors import DataError

# What stands in the place of a number of somebody: the same in files of many people.
_NOBODY = re.compile(
    r"(?i)[^a-z1-9]*|anon|anonym|anonymi[sz]ed|anonymous|unknown|unspecified|unnamed|nobody|none|null"
    r"|n/?a|no[ _-]?(?:name|id)|patient|removed|deidentified|de-identified"
)


class Frame(NamedTuple):
    """One picture of a DICOM file: a JPEG, or pixels.

    Attributes:
        jpeg: its own bytes, or None.
        pixels: (H, W, 3) uint8 RGB where it is none.
        inverted: whether the levels of the JPEG mean the opposite.
        profile: ICC profile, or None.
        frames: number of pictures in the file.
    """

    jpeg: bytes | None
    pixels: np.ndarray | None
    inverted: bool
    profile: bytes | None
    frames: int


def is_dicom(data: bytes) -> bool:
    """Whether the bytes begin a DICOM file."""
    return data[128:132] == MARK


def frames(path) -> list[str]:
    """The paths by which the pictures of a DICOM file are named: itself where it has one.

    Also of a file that is none, or cannot be read: whoever reads it says why.
    """
    try:
        count = read_header(_content(path)).frames
    except (OSError, Refused):
        count = 1
    return [str(path)] if count == 1 else [frame_name(path, k + 1) for k in range(count)]


def facts(path, salt: str) -> dict:
    """Whose photograph a DICOM file, or one of its frames, is; without a word of what it says.

    Args:
        path: file, or one of its frames.
        salt: of the run: hashes of two runs have nothing in common.

    Returns:
        patient: 16 hex digits, the same for the same PatientID of the same issuer; "" where there
            is none, or one that stands for nobody. study: the same of the StudyInstanceUID.
        eye: "left", "right" or "".

    Raises:
        DataError: the file cannot be read.
    """
    file, frame = split_frame(path)
    try:
        header = read_header(_content(file))
        check_frame(header, frame)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except Refused as error:
        raise DataError(f"{path}: {error}") from error
    who = header.who
    patient = who["patient"]
    if _NOBODY.fullmatch(patient.decode("latin-1")) and patient.isascii():
        patient = b""
    elif who["issuer"]:  # a backslash stands in neither
        patient = who["issuer"] + b"\\" + patient
    return {
        "patient": _hashed(patient, salt),
        "study": _hashed(who["study"], salt),
        "eye": header.eyes[(frame or 1) - 1],
    }


def _hashed(text, salt):
    return hmac.new(salt.encode(), text, hashlib.sha256).hexdigest()[:16] if text else ""


def _content(path):
    """Content of a DICOM file within the limits; Refused says what else it is."""
    from fundus_diag.imaging.image_file import NO_IMAGE, read_content  # which knows this file

    try:
        data = read_content(path)
    except DataError as error:
        raise Refused(str(error).removeprefix(f"{path}: ")) from error
    if not is_dicom(data):
        raise Refused(NO_IMAGE)
    return data


def check(data: bytes, frame: int | None = None) -> str | None:
    """What keeps a frame from being decoded, as far as the header tells, or None."""
    try:
        _checked(data, frame)
    except Refused as error:
        return str(error)
    return None


def size(data: bytes) -> tuple[int, int]:
    """Height and width that the header tells, pixels; (0, 0) where it is not taken."""
    try:
        header = read_header(data)
    except Refused:
        return 0, 0
    return header.rows, header.columns


def read(data: bytes, frame: int | None = None) -> Frame:
    """`Frame` number `frame`, from 1; None is the first.

    Raises:
        Refused: it cannot be taken.
    """
    header = _checked(data, frame)
    number, count = frame or 1, header.frames
    profile = header.profile if header.samples == 3 else None
    if header.syntax in encodings.JPEG:
        jpeg = _jpeg(header, encodings.frame_bytes(header, number))
        return Frame(jpeg, None, header.photometric == "MONOCHROME1", profile, count)
    with room(header.rows * header.columns):
        if header.length is not None:
            samples = encodings.native(header, number)
        elif header.syntax == encodings.RLE:
            packed = encodings.frame_bytes(header, number)
            samples = encodings.run_lengths(header, packed)
        else:
            packed = encodings.frame_bytes(header, number)
            samples = encodings.jpeg_2000(header, packed)
        return Frame(None, encodings.to_rgb(header, samples), False, profile, count)


def check_frame(header, frame):
    """Raises Refused where a file has no such frame."""
    if frame is not None and frame > header.frames:
        raise Refused(f"no frame {frame}: the file has {header.frames}")


def _checked(data, frame):
    """Header of a file whose frame may be decoded."""
    header = read_header(data)
    check_frame(header, frame)
    if header.syntax not in encodings.SYNTAXES or (header.length is None) == (
        header.syntax in encodings.NATIVE
    ):
        raise Refused(f"DICOM in {_syntax_name(header.syntax)}: save it uncompressed or as JPEG")
    if not _usual(header):
        photometric = header.photometric
        if not re.fullmatch("[A-Z0-9_ ]{1,16}", photometric):
            photometric = "no colours"
        told = f"{header.samples} x {header.stored} bits in {header.allocated}, {photometric}"
        raise Refused(f"DICOM of an unusual kind ({told}): save it as RGB of 8 bits")
    return header


def _usual(header):
    """Whether pixels of this kind are read."""
    kind, jpeg = header.photometric, header.syntax in encodings.JPEG
    one, three = kind in encodings.GRAY, kind in encodings.COLOURS
    three |= header.syntax in encodings.JPEG_2000 and kind in encodings.TRANSFORMED
    one |= kind == encodings.PALETTE and len(header.palette) == 3 and not jpeg
    bits = header.allocated in (8, 16) and 1 <= header.stored <= header.allocated
    bits &= header.stored - 1 <= header.high < header.allocated
    if "YBR" in kind or jpeg:
        bits &= header.allocated == 8 and header.stored == 8
    if kind == "YBR_FULL_422" and not jpeg:
        bits &= header.syntax in encodings.NATIVE
    return bits and ((one and header.samples == 1) or (three and header.samples == 3))


def _syntax_name(syntax):
    from pydicom.uid import UID_dictionary

    return UID_dictionary.get(syntax, ("an unknown transfer syntax",))[0]


def _jpeg(header, data):
    """The JPEG of a frame, so that a decoder takes its colours as the file says they are.

    What has three channels and says nothing of itself is taken for YCbCr by decoders; the mark that
    Adobe's programs write says RGB.
    """
    if promised(data) != header.rows * header.columns:
        raise Refused(encodings.DAMAGED)
    silent = b"JFIF\0" not in data[:64] and b"Adobe" not in data[:4096]
    if header.photometric == "RGB" and silent:
        return data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0" + data[2:]
    return data
