"""An archive of small graded pictures in the form of MedMNIST, written out as PNG files.

The form (Yang et al. 2023, https://medmnist.com): one .npz file with the arrays `train_images`,
`train_labels` and so on for val and test.
"""

import zipfile
from pathlib import Path

import cv2
import numpy as np

from fundus_diag.data.datasets.descriptions import find_file
from fundus_diag.data.labels import SPLITS
from fundus_diag.data.paths import wrong_path
from fundus_diag.utils.errors import DataError, counted

MAX_BYTES = 2_000_000_000  # of the arrays; the largest published size takes 240 MB


def npz_rows(root: Path, description, labels: str, table: Path | None, out: Path) -> dict:
    """Rows of the archive with its own split; the pictures go to a folder beside the manifest.

    There is a column for each of the description's `grades`.
    """
    path = table or find_file(root, description, "archives")
    arrays = _load(path)
    grades = description.grades
    columns = [f"grade_{k}" for k in range(grades)]
    name = description.dataset or path.stem  # becomes a folder, and part of paths
    wrong = wrong_path(name)
    if wrong:
        raise DataError(f"{path}: dataset {name!r} {wrong}")
    folder = out.parent / name
    rows = []
    for split in SPLITS:
        pictures, truth = _check(path, split, arrays, grades)
        _write_pictures(folder / split, pictures)
        for i, grade in enumerate(truth):
            row = {
                "image": f"{name}/{split}/{i:04d}.png",
                "patient": f"{description.patient_prefix}{split}-{i:04d}",
                "eye": "",
                "split": split,
                "where": f"picture {i} of {split}",
                "left_out": None,
            }
            row |= {label: float(k == grade) for k, label in enumerate(columns)}
            rows.append(row)
    notes = [f"{counted(len(rows), 'picture')} written to {folder}"]
    return {
        "rows": rows,
        "labels": columns,
        "source": path,
        "image_root": out.parent,
        "notes": notes,
    }


def _load(path):
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise DataError(
                f"{path}: {size / 1e6:.0f} MB unpacked, more than {MAX_BYTES / 1e6:.0f}"
            )
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
        raise DataError(f"{path}: not an archive of arrays ({type(error).__name__})") from error


def _check(path, split, arrays, grades):
    """Pictures (n, h, w, 3) uint8 and grades (n,) int of one split."""
    names = f"{split}_images", f"{split}_labels"
    for name in names:
        if name not in arrays:
            raise DataError(f"{path}: no array {name!r}")
    pictures, truth = arrays[names[0]], arrays[names[1]]
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8:
        raise DataError(
            f"{path}: {names[0]} is {pictures.dtype} {pictures.shape}, not uint8 (n, h, w, 3)"
        )
    if truth.shape not in ((len(pictures),), (len(pictures), 1)) or truth.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {names[1]} is {truth.dtype} {truth.shape}, not {len(pictures)} integers"
        )
    truth = truth.reshape(-1)  # (n,)
    if truth.size and not (0 <= truth.min() and truth.max() < grades):
        raise DataError(f"{path}: {names[1]} holds grades outside 0 .. {grades - 1}")
    return pictures, truth


def _write_pictures(folder, pictures):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, picture in enumerate(pictures):
            done, data = cv2.imencode(".png", picture[..., ::-1])  # OpenCV writes BGR
            if not done:
                raise DataError(f"{folder}/{i:04d}.png: cannot be encoded")
            (folder / f"{i:04d}.png").write_bytes(data.tobytes())
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror}") from error
