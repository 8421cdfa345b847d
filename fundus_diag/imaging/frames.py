"""Which file, and which of its frames, the path of a photograph means: `scan.dcm#2`."""

import os
import re
from pathlib import Path

_NAMED = re.compile(r"(?P<file>.+)#(?P<number>[1-9][0-9]{0,8})", re.DOTALL)


def split_frame(path) -> tuple[Path, int | None]:
    """The file that a path means, and the number of the frame that it names, from 1, or None.

    A file whose own name ends in `#2` means itself.
    """
    found = _NAMED.fullmatch(str(path))
    if not found or os.path.lexists(path):
        return Path(path), None
    return Path(found["file"]), int(found["number"])


def frame_name(path, number: int) -> str:
    """The path of frame `number`, from 1, of a file with several."""
    return f"{path}#{number}"
