"""Pictures in one folder per class."""

import os
import re
from collections import Counter
from pathlib import Path

from fundus_diag.data.labels import eye_of, nfc
from fundus_diag.data.paths import escaped, wrong_path
from fundus_diag.utils.errors import DataError

SILENT = {"thumbs.db", "desktop.ini"}  # left by Windows; what begins with a dot is left by others
NOT_READ = "in folders that may not be read"


def folder_rows(root: Path, description, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of the pictures in DIR/<class>/ and DIR/<split>/<class>/.

    A picture is 1 for the labels of its own folder and 0 for those of the other folders. Of files
    that are left out a note says how many, why, and names one.
    """
    classes = {nfc(name).lower(): given for name, given in description.classes.items()}
    if not classes:
        raise DataError(f"{description.path}: no table [classes]")
    graded = list(dict.fromkeys(label for given in classes.values() for label in given))
    splits = {name.lower(): split for name, split in description.splits.items()}
    files = description.files
    endings = tuple(ending.lower() for ending in files.extensions)
    name = re.compile(files.name or "(?!)", re.IGNORECASE)  # by default matches nothing
    left_out: dict[str, list[str]] = {}
    rows = []
    for split, class_name, picture in _pictures(root, classes, splits, endings, left_out):
        match = name.fullmatch(nfc(picture.stem))
        image = picture.relative_to(root).as_posix()
        wrong = wrong_path(image)
        if wrong:
            _leave(left_out, f"whose path {wrong}", image)
            continue
        parts = match.groupdict() if match else {}
        word = parts.get("eye") or ""
        eye = eye_of(word)
        if eye is None:
            raise DataError(f"{description.path}: {image!r}: eye {word!r} is no word for an eye")
        # Without a patient in its name, a picture is told apart by its path: classes may each have
        # a picture 001.jpg.
        patient = (parts.get("patient") or "").strip() or nfc(image)
        rows.append(
            {
                "image": image,
                "patient": description.patient_prefix + patient,
                "eye": eye,
                "split": split,
                "where": f"picture {image!r}",
                "left_out": None,
            }
            | {label: float(label in classes[class_name]) for label in graded}
        )
    notes = [_note(reason, images) for reason, images in left_out.items()]
    return {"rows": rows, "labels": graded, "source": root, "image_root": root, "notes": notes}


def _pictures(root, classes, splits, endings, left_out):
    """(split, class, path) of the pictures in class folders; other files go to `left_out`."""
    unknown = "in folders that stand for no class"
    for folder in _entries(root):
        if not os.path.isdir(folder):
            _leave(left_out, "in no folder of a class", folder.name)
            continue
        split, outer = splits.get(_key(folder), ""), _key(folder) in splits
        for class_folder in _entries(folder) if outer else [folder]:
            within = class_folder.relative_to(root).as_posix()
            if not os.path.isdir(class_folder):
                _leave(left_out, "in no folder of a class", within)
                continue
            if _key(class_folder) not in classes:
                _leave_folder(left_out, unknown, root, class_folder)
                continue
            for picture in _entries(class_folder):
                if os.path.isdir(picture):
                    _leave_folder(left_out, "in folders inside a class", root, picture)
                elif picture.name.lower().endswith(endings):
                    yield split, _key(class_folder), picture
                else:
                    ending = "whose ending is not in [files] extensions"
                    _leave(left_out, ending, picture.relative_to(root).as_posix())


def _key(folder):
    """The name by which a folder is looked up: accents in one form, without case."""
    return nfc(folder.name).lower()


def _entries(folder):
    """What stands in a folder, by name, without hidden files.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted((folder / entry.name for entry in entries), key=str)
    except OSError as error:
        raise DataError(f"{escaped(str(folder))}: cannot be read: {error.strerror}") from error
    return [path for path in found if not _hidden(path.name)]


def _hidden(name):
    return name.startswith(".") or name.lower() in SILENT


def _leave(left_out, reason, image):
    left_out.setdefault(reason, []).append(image)


def _leave_folder(left_out, reason, root, folder):
    """Every file at or below the folder, under the folder's own name."""
    denied = []
    for at, folders, names in os.walk(folder, onerror=denied.append):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in sorted(names):
            if not _hidden(name):
                _leave(left_out, reason, (Path(at) / name).relative_to(root).as_posix())
    for error in denied:
        _leave(left_out, NOT_READ, Path(error.filename).relative_to(root).as_posix())


def _note(reason, images):
    """A line on files left out: how many, why, one of them; of endings each with its number."""
    example = f"'{escaped(images[0])}'"
    if "ending" in reason:
        counts = Counter(os.path.splitext(image)[1].lower() or "none" for image in images)
        shown = [(x if x == x.strip() else repr(x), n) for x, n in counts.most_common(5)]
        example += ": " + ", ".join(f"{escaped(ending)} {n}" for ending, n in shown)
    return f"left out: {len(images)} files {reason} ({example})"
