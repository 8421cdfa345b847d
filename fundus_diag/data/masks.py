"""Masks of lesions on disk: `DIR/[LESION/]<stem of the image>*.png`, all above 0 is lesion."""

import re
from pathlib import Path

import cv2
import numpy as np

from fundus_diag.imaging.header import MAX_PIXELS
from fundus_diag.imaging.image_file import check_files, check_header, image_size, read_bytes
from fundus_diag.utils.errors import DataError, UsageError


def read_lesions(texts, labels):
    """{label: lesions} from texts such as "D=MA,HE"; None where there is none.

    Raises:
        UsageError: a text is not of that form, or the run has no such label.
    """
    lesions = {}
    for text in texts:
        label, _, names = text.partition("=")
        found = tuple(name for name in names.split(",") if name)
        if not found or any(not re.fullmatch(r"\w[\w-]*", name, re.ASCII) for name in found):
            raise UsageError(f"--lesions {text}: LABEL=FOLDER,FOLDER is asked for")
        if label not in labels:
            raise UsageError(f"--lesions {text}: the run has {', '.join(labels)}")
        lesions[label] = found
    return lesions or None


def check_folders(folder, lesions):
    """Refuses a folder that is not there, or holds none of the lesions.

    Raises:
        DataError: names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of masks")
    wanted = sorted({name for names in lesions.values() for name in names})
    if not any((folder / name).is_dir() for name in wanted):
        raise DataError(f"{folder}: no folder {', '.join(wanted)} in it")


def check_masks(folder, lesions, images):
    """Refuses masks of photographs that no decoder would take, by header and end of their files.

    Args:
        folder: of the masks.
        lesions: {label: names of its folders}.
        images: paths or names of the photographs.

    Raises:
        DataError: names the first.
    """
    wanted = {name for names in lesions.values() for name in names}
    files = sorted({file for image in images for name in wanted
                    for file in mask_files(folder, name, image)})  # fmt: skip
    for path, reason in check_files(files, check=check_header):
        raise DataError(f"{path}: {reason}")


def mask_files(folder, lesion, image):
    """Files of one lesion's mask in one photograph, of whose name the stem counts."""
    stem = re.escape(Path(image).stem)
    # "IDRiD_1" is not "IDRiD_12": what follows the stem must not go on with it.
    return [
        path
        for path in sorted((Path(folder) / lesion).glob("*.png"))
        if re.match(rf"{stem}(?![0-9A-Za-z])", path.name)
    ]


def read_mask(folder, lesions, image, shape):
    """All lesions of the given kinds in one photograph.

    Args:
        folder: of the masks.
        lesions: names of its folders.
        image: path or name of the photograph; its stem is looked for.
        shape: (H, W) of the photograph.

    Returns:
        (mask (H, W) bool, resized): whether a file had another size and was resized, by nearest
        neighbour. A lesion without a file is not there.

    Raises:
        DataError: a file is no mask; it is named.
    """
    mask, resized = np.zeros(shape, bool), False
    for lesion in lesions:
        for path in mask_files(folder, lesion, image):
            one = _read(path)
            if one.shape != shape:
                resized = True
                size = shape[1], shape[0]
                one = cv2.resize(one.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            mask |= one
    return mask, resized


def _read(path):
    data = read_bytes(path)
    height, width, kind = image_size(data)
    if kind != "PNG" or not 0 < height * width <= MAX_PIXELS:
        raise DataError(f"{path}: not a PNG of at most {MAX_PIXELS / 1e6:.0f} megapixels")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f"{path}: damaged PNG")
    # Some are drawn in colour; full opacity is no lesion.
    return image[..., :3].any(axis=-1) if image.ndim == 3 else image > 0
