"""Where the pictures of a table lie: what a path may be, and which file it means."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from fundus_diag.imaging.frames import split_frame
from fundus_diag.utils.errors import DataError

NO_FILE = "no such file"
_CONTROL = re.compile(r"[\x00-\x1f]")


def wrong_path(image: str) -> str | None:
    """Why no table can hold the path of a picture, or None."""
    if not image:
        return "is empty"
    if not is_utf8(image):
        return "is not UTF-8"
    if _CONTROL.search(image) or len(image) > 1000:
        return "is not the path of a file"
    if image != image.strip():
        return "begins or ends with a blank"
    # As POSIX or Windows would take it: from a root, a drive, or a folder above. Not by `pathlib`,
    # which takes seconds for the rows of a large table.
    up = ".." in image and ".." in re.split(r"[/\\]", image)
    if image[0] in "/\\" or image[1:2] == ":" or up:
        return "leaves the image root"
    return None


def inside(root: Path, image: str) -> Path | None:
    """Where the picture lies under the root, or None where its path cannot be taken.

    A name with accents is looked up as it is written, then composed, then decomposed (NFC, NFD),
    folder by folder; where none is there, the path is the one that is written. So are backslashes:
    as a part of a name, then as Windows has them, between folders.
    """
    if wrong_path(image):
        return None
    path = root / image
    if "\\" in image and not_there(path) == NO_FILE:
        found = inside(root, image.replace("\\", "/"))
        return path if found is None or not_there(found) == NO_FILE else found
    if image.isascii() or not_there(path) != NO_FILE:
        return path
    here = root
    for part in PurePosixPath(image).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        here = next((here / form for form in forms if _is_there(here / form)), here / part)
    return path if not_there(here) == NO_FILE else here


def _is_there(path):
    return os.path.lexists(split_frame(path)[0])


def not_there(path: Path) -> str | None:
    """Why there is no file to read at the path, or None: `Path.is_file` raises of what it meets.

    The path may name a frame of a file, `scan.dcm#2`.

    `NO_FILE`, or "cannot be read: .." where the name is too long, a folder may not be entered or
    the disk does not answer.
    """
    try:
        return None if stat.S_ISREG(os.stat(split_frame(path)[0]).st_mode) else NO_FILE
    except (FileNotFoundError, NotADirectoryError):
        return NO_FILE
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def is_utf8(name: str) -> bool:
    """Whether a file's name, as Python gives it, is UTF-8 on the disk."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(name: str) -> str:
    """The name as it can be printed: bytes that are no UTF-8 as \\xd5, control characters too."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return "".join(shown).replace("\\udc", "\\x")


def check_names(paths: Iterable[Path]) -> None:
    """Raises DataError of files whose names are not UTF-8: no table and no page can hold them."""
    odd = [escaped(str(path)) for path in paths if not is_utf8(str(path))]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise DataError(f"{', '.join(odd[:3])}{more}: the name of the file is not UTF-8: rename it")
