"""Finds the pictures that a table names among those on the disk."""

import os
import re
import unicodedata
from pathlib import Path

from fundus_diag.data.labels import nfc
from fundus_diag.data.paths import is_utf8, not_there, wrong_path
from fundus_diag.utils.errors import DataError

ANYWHERE = "**"  # among `folders`: in any folder below the root
ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm",
    ".pgm", ".jp2", ".dcm", ".dicom", ".heic", ".heif", ".avif",
)  # fmt: skip


class Lookup:
    """The pictures below a root, looked up as tables write them.

    A name is taken as it stands, then without case, then by its stem: a table may lack the ending,
    or have another one than the disk; it may have Windows' separators. Folders are listed once.

    Attributes:
        root: folder.
        folders: where to look below it, in this order; `ANYWHERE` for all folders.
    """

    def __init__(self, root: Path, folders=(".",)):
        self.root, self.folders = root, list(folders)
        self._listed = {}
        self._everywhere = None

    def find(self, image: str) -> str | None:
        """Path of a picture below the root, as it is on the disk, or None where none is there.

        Raises:
            DataError: several pictures are as near, in one folder or in `ANYWHERE`.
        """
        tail = "/".join(x for x in re.split(r"[/\\]", image) if x not in ("", "."))
        for folder in self.folders:
            if folder == ANYWHERE:
                found = self._anywhere(tail)
            else:
                path = tail if folder == "." else f"{folder}/{tail}"
                found = path if self._exact(path) else self._near(path)
            if found:
                return found
        return None

    def _exact(self, path):
        """Whether a picture is there as it is written; the disk is asked of what is listed only."""
        if wrong_path(path):
            return False
        folder, _, name = path.rpartition("/")
        listed = name in self._list(folder)[2] or "#" in name  # the name of a frame is none of them
        return listed and not_there(self.root / path) is None

    def _near(self, path):
        *parts, name = [part for part in path.split("/") if part not in ("", ".")] or [""]
        at = ""
        for part in parts:
            (same, _), *_ = self._list(at)
            actual = same.get(_key(part), [])
            if not actual:
                return None
            at = f"{at}{actual[0]}/"
        _, (names, stems), _ = self._list(at)
        found = _closest(names, stems, name)
        return self._one(path, [at + x for x in found])

    def _anywhere(self, tail):
        if self._everywhere is None:
            self._everywhere = ({}, {})
            for folder, folders, files in os.walk(self.root):
                folders[:] = sorted(x for x in folders if not x.startswith("."))
                at = os.path.relpath(folder, self.root).replace(os.sep, "/")
                _index(self._everywhere, sorted(files), "" if at == "." else f"{at}/")
        name = tail.rpartition("/")[2]
        found = _closest(*self._everywhere, name)
        for depth in range(len(tail.split("/")), 1, -1):  # the most folders in common count
            end = "/" + _key("/".join(tail.split("/")[-depth:-1]))
            same = [x for x in found if ("/" + _key(x).rpartition("/")[0]).endswith(end)]
            found = same or found
            if same:
                break
        return self._one(tail, found)

    def _one(self, path, found):
        if len(found) > 1:
            raise DataError(
                f"{self.root}: {path!r} may be {found[0]!r} or {found[1]!r}: name its folder and "
                "ending in the mapping"
            )
        return found[0] if found else None

    def _list(self, at):
        """((folders, _), (files by name, files by stem), all names) of a folder below the root."""
        at = at.strip("/")
        if at not in self._listed:
            folders, files = ({}, {}), ({}, {})
            try:
                with os.scandir(self.root / at) as entries:
                    found = sorted((entry.name, entry.is_dir()) for entry in entries)
            except OSError:
                found = []  # its pictures are missing, as the build says of each
            _index(folders, [name for name, is_dir in found if is_dir])
            _index(files, [name for name, is_dir in found if not is_dir])
            self._listed[at] = folders, files, {name for name, _ in found}
        return self._listed[at]


def _index(into, names, at=""):
    by_name, by_stem = into
    for name in names:
        if is_utf8(name) and not name.startswith("."):
            by_name.setdefault(_key(name), []).append(at + name)
            stem, ending = os.path.splitext(name)
            if ending.lower() in ENDINGS:
                by_stem.setdefault(_key(stem), []).append(at + name)


def _closest(names, stems, name):
    """Files called as `name`: by the whole name, else the stem; of several, those in its case."""
    stem, ending = os.path.splitext(name)
    stem = stem if ending.lower() in ENDINGS else name
    found = names.get(_key(name)) or stems.get(_key(name)) or stems.get(_key(stem)) or []
    exact = [x for x in found if nfc(x.rpartition("/")[2]).startswith(nfc(stem))]
    return exact or found


def _key(name):
    return unicodedata.normalize("NFC", name).casefold()


def stem_of(image: str) -> str:
    """A picture's name without folders and its ending: of "a/RET1..JPG" it is "RET1."."""
    name = re.split(r"[/\\]", image)[-1]
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in ENDINGS else name
