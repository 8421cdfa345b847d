"""Pictures whose path tells what they are: class, split, patient, eye."""

import os
import re
from pathlib import Path

from fundus_diag.data.datasets.lookup import stem_of
from fundus_diag.data.datasets.masks import mask_columns
from fundus_diag.data.labels import SPLIT_WORDS, eye_of, nfc
from fundus_diag.data.paths import escaped, wrong_path
from fundus_diag.utils.errors import DataError

SILENT = {"thumbs.db", "desktop.ini"}  # left by Windows; what begins with a dot is left by others


def path_rows(root: Path, description, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of the pictures whose path below the root fits `[files] path`, without case.

    The pattern's groups count: `class`, one of `[classes]`, by whose labels the picture is 1 and
    by those of the other classes 0; `split`, one of `[splits]` or of the usual words; `patient`;
    `eye`; `picture`: of several files in which it is the same only the first counts, as of an
    archive that holds itself once more. Files that do not fit are handed on as `strange`, unless
    they fit `beside` or their ending is none of `[files] extensions`.
    """
    if description.files.path is None:
        raise DataError(f"{description.path}: [files] names no path, a pattern of pictures' paths")
    pattern = re.compile(description.files.path, re.IGNORECASE)
    classes = {nfc(name).lower(): given for name, given in description.classes.items()}
    graded = list(dict.fromkeys(label for given in classes.values() for label in given))
    splits = SPLIT_WORDS | {name.lower(): x for name, x in description.splits.items()}
    masks = mask_columns(root, description) if labels == "masks" else None
    beside = re.compile(description.files.beside or "(?!)", re.IGNORECASE)
    rows, strange, seen, again = [], [], set(), []
    for image in _pictures(root, description.files.extensions):
        match = pattern.fullmatch(nfc(image))
        if not match or wrong_path(image):
            if not beside.fullmatch(nfc(image)):
                strange.append(image)
            continue
        parts = {name: (found or "").strip() for name, found in match.groupdict().items()}
        picture = parts.get("picture", image).lower()
        if picture in seen:
            again.append(image)
            continue
        seen.add(picture)
        row = {
            "image": image,
            "patient": description.patient_prefix + (parts.get("patient") or nfc(image)),
            "eye": eye_of(parts.get("eye", "")),
            "split": splits.get(parts.get("split", "").lower(), description.split),
            "where": f"picture {image!r}",
            "left_out": None,
        }
        if row["eye"] is None:
            raise DataError(
                f"{description.path}: {image!r}: {parts['eye']!r} is no word for an eye"
            )
        if graded and "class" in parts:
            name = parts["class"].lower()
            if name not in classes:
                raise DataError(f"{description.path}: {image!r}: [classes] has no {name!r}")
            row |= {label: float(label in classes[name]) for label in graded}
        if masks:
            row |= masks(stem_of(image), row | parts)
        rows.append(row)
    notes = []
    if again:
        shown = escaped(again[0])
        notes.append(f"left out: {len(again)} files that are there once more ('{shown}')")
    return {
        "rows": rows,
        "labels": [] if labels == "masks" else graded,
        "source": root,
        "image_root": root,
        "notes": notes,
        "strange": strange,
    }


def _pictures(root, extensions):
    """Paths below the root of all files with one of the endings, by name."""
    endings = tuple(ending.lower() for ending in extensions)
    denied = []
    for folder, folders, names in os.walk(root, onerror=denied.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        at = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in sorted(names):
            hidden = name.startswith(".") or name.lower() in SILENT
            if not hidden and name.lower().endswith(endings):
                yield name if at == "." else f"{at}/{name}"
    if denied:
        where = escaped(str(denied[0].filename))
        raise DataError(f"{where}: cannot be read: {denied[0].strerror}") from denied[0]
