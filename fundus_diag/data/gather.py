"""The photographs that a command line names: files, folders, tables, or a list on stdin."""

import contextlib
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fundus_diag.data.datasets import lookup
from fundus_diag.data.manifest import read_photographs, resolve_images
from fundus_diag.data.names import who
from fundus_diag.data.paths import check_names, escaped, is_utf8
from fundus_diag.imaging.frames import split_frame
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.progress import bar

TABLES = (".csv", ".xlsx", ".xlsm")
STDIN = "-"
ENDINGS = {*lookup.ENDINGS, ""}  # hospitals keep DICOM files without an ending
NOTHING = "no photograph is there"


@dataclass(frozen=True)
class Gathered:
    """Photographs, one row each.

    Attributes:
        table: image (what it is called), path, patient and eye ("" where nobody knows).
        notes: lines on what was left out.
    """

    table: pd.DataFrame
    notes: list[str]


def check_paths(paths):
    """Refuses paths of a command line that are not there, before anything else is done.

    Raises:
        DataError: a path is not there or not UTF-8.
        UsageError: no path is named.
    """
    if not paths:
        raise UsageError("no photograph is named: files, folders, a table, or - for a list")
    check_names(paths)
    there = [x for x in paths if str(x) != STDIN]
    missing = [str(x) for x in there if not os.path.exists(split_frame(x)[0])]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataError(f"{', '.join(map(escaped, missing[:3]))}{more}: no such file or folder")


def gather(paths, pattern=None, image_root=None, salt=None):
    """Finds the photographs of a command line.

    Args:
        paths: files, folders (searched through, hidden ones left out), tables with image, patient
            and eye, or "-" for a list of paths on stdin. One that is named twice counts once.
        pattern: for names, see `names.who`.
        image_root: folder that paths of tables start from; by default the table's own.
        salt: function that gives the salt by which people in DICOM files are hashed; None leaves
            their tags unread.

    Returns:
        `Gathered`, in the order of `paths`, of a folder by name.

    Raises:
        DataError: a name is not UTF-8, a table is wrong, or no photograph is found. A file that is
            not there is for who reads it.
    """
    rows, other, unnamed = {}, Counter(), []
    check_names(paths)
    for path in paths:
        for image, file, patient, eye in _found(path, pattern, image_root, other):
            if not is_utf8(str(file)):
                unnamed.append(file)
                continue
            for row in _frames(image, Path(file), patient, eye, salt):
                rows.setdefault(os.path.realpath(row[1]), row)
    notes = []
    if other:
        listed = ", ".join(f"{ending or 'none'} {n}" for ending, n in other.most_common(5))
        count = sum(other.values())
        notes.append(f"left out: {count} files whose ending is no picture's ({listed})")
    if unnamed:
        shown = escaped(str(unnamed[0]))
        notes.append(f"left out: {len(unnamed)} files whose name is not UTF-8 ('{shown}')")
    if not rows:
        raise DataError("; ".join([f"{', '.join(map(str, paths[:3]))}: {NOTHING}", *notes]))
    table = pd.DataFrame(list(rows.values()), columns=["image", "path", "patient", "eye"])
    return Gathered(table, notes)


def _found(path, pattern, image_root, other):
    """Yields (image, file, patient, eye) of one path of the command line."""
    if str(path) == STDIN:
        for line in sys.stdin.read().splitlines():
            if line.strip():
                yield _of_file(line.strip(), Path(line.strip()), pattern)
    elif os.path.isdir(path):
        yield from _of_folder(Path(path), pattern, other)
    elif Path(path).suffix.lower() in TABLES:
        table = read_photographs(Path(path))
        root = Path(image_root) if image_root else Path(path).parent
        files = resolve_images(table, root, missing_ok=True)
        for (_, row), file in zip(table.table.iterrows(), files, strict=True):
            yield row["image"], file, row["patient"], row["eye"]
    else:
        yield _of_file(str(path), Path(path), pattern)


def _of_file(image, file, pattern):
    return image, file, *who(file.stem, pattern)


def _of_folder(folder, pattern, other):
    with bar() as progress:
        task = progress.add_task(f"searching {escaped(str(folder))}", total=None)
        denied = []
        for at, folders, names in os.walk(folder, onerror=denied.append):
            folders[:] = sorted(x for x in folders if not x.startswith("."))
            for name in sorted(x for x in names if not x.startswith(".")):
                file, ending = Path(at) / name, os.path.splitext(name)[1].lower()
                if ending not in ENDINGS or (not ending and not _is_dicom(file)):
                    other[ending] += 1
                    continue
                progress.advance(task)
                patient, eye = who(file.stem, pattern)
                inner = file.parent.relative_to(folder).as_posix()
                if eye and not patient and inner != ".":
                    patient = inner  # a folder a patient, with left.jpg and right.jpg
                yield file.relative_to(folder).as_posix(), file, patient, eye
        if denied:
            where = escaped(str(denied[0].filename))
            raise DataError(f"{where}: cannot be read: {denied[0].strerror}")


def _is_dicom(file):
    """Whether a file begins as DICOM files do."""
    try:
        with open(file, "rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _frames(image, file, patient, eye, salt):
    """Yields the row of a photograph; of a DICOM file one a frame, whose tags say who it is."""
    whole, frame = split_frame(file)
    if not _is_dicom(whole):
        yield image, file, patient, eye
        return
    from fundus_diag.imaging import dicom

    names = [str(file)] if frame else dicom.frames(file)
    for name in names:
        told = {"patient": "", "eye": ""}
        if salt is not None:
            with contextlib.suppress(DataError):  # whoever reads it says what is wrong
                told = dicom.facts(name, salt())
        shown = image + name[len(str(file)) :]
        yield shown, Path(name), told["patient"] or patient, told["eye"] or eye
