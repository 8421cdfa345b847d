"""Masks of lesions on disk: `DIR/LESION/[FOLDERS/]<stem of the photograph>[_<lesion>].png`.

All above 0 is lesion. A photograph without a file of a lesion does not show it, so no file may be
overlooked, and none may count for another photograph:

- What follows the stem is a word, which may be the lesion's name, and perhaps a number: `P1_EX.png`
  and `P1_EX_2.png` are masks of `P1.jpg`, `P1_2_EX.png` and `P12_EX.png` are not. Of several
  photographs whose stem fits, the one with the longest gets the file.
- Folders below that of the lesion are the last folders of the photograph's path: a file there
  belongs to the photograph there, and what lies higher up is then not looked at.
- A file of two photographs, or of a kind that is no mask, is an error.
"""

import re
import unicodedata
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import cv2
import numpy as np

from fundus_diag.imaging.convert import FOREIGN
from fundus_diag.imaging.header import MAX_PIXELS
from fundus_diag.imaging.image_file import image_size, open_file, read_content
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.progress import track

KINDS = {  # JPEG blurs edges
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "PNM": (".pgm", ".ppm", ".pnm"),
}
ENDINGS = {ending for endings in KINDS.values() for ending in endings}
NO_FILES = {"thumbs.db", "desktop.ini"}  # which Windows leaves in folders of pictures


def read_lesions(texts, labels, flag="--lesions"):
    """{label: lesions} from texts such as "D=MA,HE"; None where there is none.

    Args:
        flag: that the texts stand behind, for messages.

    Raises:
        UsageError: a text is not of that form, or the run has no such label.
    """
    lesions = {}
    for text in texts:
        label, _, names = text.partition("=")
        found = tuple(name.strip() for name in names.split(",") if name.strip())
        if not found or any(x in (".", "..") or set(x) & set("\\/\0") for x in found):
            raise UsageError(f"{flag} {text}: LABEL=NAME,NAME is asked for")
        if label not in labels:
            raise UsageError(f"{flag} {text}: the run has {', '.join(labels)}")
        lesions[label] = found
    return lesions or None


def check_folders(folder, lesions, every=False):
    """Refuses a folder that is not there, or that lacks the folders of lesions.

    Args:
        folder: of the masks.
        lesions: {label: names of its folders}.
        every: whether all of them have to be there, or only one.

    Raises:
        DataError: names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of masks")
    wanted = sorted({name for names in lesions.values() for name in names})
    missing = [name for name in wanted if not (folder / name).is_dir()]
    if len(missing) == len(wanted) or (missing and every):
        raise DataError(f"{folder}: no folder {', '.join(missing)} in it")


def find_masks(folder, lesions, images):
    """Which files show which lesions of which photographs, by one walk through the folders.

    Args:
        folder: of the masks.
        lesions: {label: names of its folders}; one that is not there holds nothing.
        images: paths of the photographs, as their table has them: all of it, for the longest stem.

    Returns:
        ({image: {lesion: list of files}}, list of files that belong to none of the images).

    Raises:
        DataError: a file is no mask by its name, or belongs to two photographs.
    """
    images = list(dict.fromkeys(images))
    by_stem = defaultdict(list)
    for image in images:
        by_stem[_plain(PurePath(image).stem)].append(image)
    found, others = {image: {} for image in images}, []
    for lesion in sorted({name for names in lesions.values() for name in names}):
        deepest = defaultdict(list)  # image: [(number of folders, file)]
        for file in _files(Path(folder) / lesion):
            below = _folders(file.relative_to(Path(folder) / lesion))
            own = _owners(_plain(file.stem), below, lesion, by_stem)
            if len(own) > 1:
                raise DataError(f"{file}: is it a mask of {own[0]} or of {own[1]}?")
            for image in own:
                deepest[image].append((len(below), file))
            if not own:
                others.append(file)
        for image, files in deepest.items():
            depth = max(files)[0]
            found[image][lesion] = [file for deep, file in files if deep == depth]
    return found, others


def check_masks(found, images):
    """Refuses masks that cannot be read, by the headers of their files.

    Args:
        found: of `find_masks`.
        images: those of the photographs whose masks are looked at.

    Raises:
        DataError: names the first.
    """
    files = {file for image in images for one in found[image].values() for file in one}

    def problem(path):
        try:
            _header(path, read_content(path))
        except DataError as error:
            return error
        return None

    with ThreadPoolExecutor() as pool:
        for error in track(pool.map(problem, sorted(files)), "looking at masks", len(files)):
            if error:
                raise error


def read_mask(files, photograph, shape):
    """What one or several files show of a photograph.

    Args:
        files: of masks.
        photograph: its path, for messages.
        shape: (H, W) of the photograph, upright.

    Returns:
        (mask (H, W) bool, resized): whether a file had another size and was resized, by nearest
        neighbour. Without a file nothing is there.

    Raises:
        DataError: a file is no mask, or lies on its side beside the photograph; it is named.
    """
    mask, resized = np.zeros(shape, bool), False
    for path in files:
        one = _read(path)
        if one.shape != shape:
            if (one.shape[0] - one.shape[1]) * (shape[0] - shape[1]) < 0:
                raise DataError(
                    f"{path}: {one.shape[1]}x{one.shape[0]} pixels, but {photograph} has, upright, "
                    f"{shape[1]}x{shape[0]}: a mask of the photograph before it was turned?"
                )
            resized = True
            one = cv2.resize(one.view(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        mask |= one
    return mask, resized


def _files(folder):
    """Files below a folder, in order.

    Raises:
        DataError: one is no mask by its ending.
    """
    files = [
        x
        for x in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in x.relative_to(folder).parts)
        and x.name.lower() not in NO_FILES
        and not x.is_dir()
    ]
    for file in files:
        if file.suffix.lower() not in ENDINGS:
            raise DataError(f"{file}: no mask; masks are {', '.join(KINDS)}")
    return files


def _folders(path):
    """The folders of a relative path, outermost first."""
    return tuple(_plain(part) for part in PurePath(path).parts[:-1])


def _ends(parts, last):
    return parts[max(len(parts) - len(last), 0) :] == last


def _plain(text):
    """One spelling of a name, whichever way its accents are written."""
    return unicodedata.normalize("NFC", text)


def _owners(name, below, lesion, by_stem):
    """Of the photographs in these folders those of the longest stem that a mask's name fits."""
    for end in range(len(name), 0, -1):
        if name[:end] in by_stem and _fits(name[end:], lesion):
            own = [x for x in by_stem[name[:end]] if _ends(_folders(x), below)]
            if own:
                return own
    return []


def _fits(rest, lesion):
    """Whether what follows a stem says nothing, or which lesion it is; not, which photograph."""
    if rest and unicodedata.category(rest[0])[0] in "LNM":  # letters, numbers, marks on letters
        return False
    if rest[1:].casefold() == lesion.casefold():
        return True
    words, name = _words(rest), _words(lesion)
    numbered = len(words) > 1 and words[-1].isdecimal()
    words = words[:-1] if numbered else words
    # "3. Hard Exudates" holds "IDRiD_01_EX" and may hold "IDRiD_01_hard_exudates".
    name = name[1:] if name and name[0].isdecimal() else name
    return words in ([], name) or (len(words) == 1 and words[0].isalpha())


def _words(text):
    return [word for word in re.split(r"[\W_]+", text.casefold()) if word]


def _header(path, data):
    """Kind of a mask's file.

    Raises:
        DataError: it is none that is read here, or beyond the limits.
    """
    height, width, kind = image_size(data)
    if kind not in KINDS:
        raise DataError(f"{path}: no mask; masks are {', '.join(KINDS)}")
    if not (0 < height and 0 < width and height * width <= MAX_PIXELS):
        raise DataError(
            f"{path}: {width}x{height} pixels; a mask has 1 to {MAX_PIXELS / 1e6:.0f} million"
        )
    return kind


def _read(path):
    """(H, W) bool, as the file has it."""
    return read_levels(path) > 0


def levels_size(path):
    """(height, width) of a mask, by its header; TIFF files may be turned yet.

    Raises:
        DataError: the file is no mask, or beyond the limits.
    """
    data = read_content(path)
    _header(path, data)
    return image_size(data)[:2]


def read_levels(path):
    """(H, W) unsigned, the brightest channel of a mask as its file has it; 0 where transparent.

    What EXIF says of a turn is followed in TIFF alone.

    Raises:
        DataError: the file is no mask, or damaged.
    """
    data = read_content(path)
    kind, image, log = _header(path, data), None, cv2.utils.logging
    if kind in FOREIGN:
        image = open_file(path).picture
    else:
        before = log.setLogLevel(log.LOG_LEVEL_SILENT)  # the reason is given below, in one line
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            pass
        finally:
            log.setLogLevel(before)
    if image is None or image.dtype.kind != "u":
        raise DataError(f"{path}: damaged or unusual {kind}")
    if image.ndim == 2:
        return image
    # Some are drawn in colour; what is wholly transparent is not drawn, and full opacity no lesion.
    levels = image[..., :3].max(axis=-1)
    return np.where(image[..., 3] > 0, levels, 0) if image.shape[2] == 4 else levels
