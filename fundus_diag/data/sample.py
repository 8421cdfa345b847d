"""A balanced part of a table: few rows, in which rare labels are not rare."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fundus_diag.data import patients
from fundus_diag.data.manifest import read_manifest, summary
from fundus_diag.data.paths import inside
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import DataError, UsageError, counted
from fundus_diag.utils.processes import cores
from fundus_diag.utils.progress import track


def sample(path, out, per_label=None, one_per_eye=False, image_root=None, seed=0):
    """Writes a part of a manifest: whole patients, so many positives of every label, or fewer
    pictures of an eye.

    Args:
        path: manifest.
        out: manifest to write.
        per_label: positives of each label, in each split; all where there are fewer. Patients are
            drawn label by label, the rarest first, and bring all their rows. None takes everybody.
        one_per_eye: of several pictures of a patient's eye the sharpest stays.
        image_root: folder of the pictures; needed for `one_per_eye`.
        seed: of the draw.

    Returns:
        {"out", "rows", "notes": [line, ..], "splits": see `manifest.summary`}.

    Raises:
        UsageError: nothing is asked for, or a number is wrong.
        DataError: the table is wrong or has no label to balance, pictures cannot be read, or the
            file cannot be written.
    """
    if per_label is None and not one_per_eye:
        raise UsageError("--per-label N or --one-per-eye: say what the part shall be")
    if per_label is not None and per_label < 1:
        raise UsageError(f"--per-label {per_label}: at least 1")
    if one_per_eye and (image_root is None or not os.path.isdir(image_root)):
        raise UsageError("--one-per-eye needs --image-root, the folder of the pictures")
    manifest = read_manifest(path, need_labels=None)
    table, notes = manifest.table, []
    if per_label is not None and not manifest.labels:
        raise DataError(f"{path}: no label to balance")
    if one_per_eye:
        table, notes = _sharpest(table, Path(image_root), path)
    if per_label is not None:
        splits = table["split"].to_numpy() if "split" in table else np.full(len(table), "")
        y, who = table[list(manifest.labels)].to_numpy(), table["patient"].to_numpy()
        rng = np.random.default_rng(seed)
        kept = np.zeros(len(table), bool)
        for name in sorted(set(splits)):
            rows = np.flatnonzero(splits == name)
            kept[rows] = balanced(y[rows], who[rows], per_label, rng)
        table = table[kept].reset_index(drop=True)
    if not len(table):
        raise DataError(f"{path}: no row is left")
    write_manifest(table, out)
    return {
        "out": str(out),
        "rows": len(table),
        "notes": notes + patients.notes(table),
        "splits": summary(table, manifest.labels),
    }


def balanced(y, who, per_label, rng):
    """Which rows are taken: (N,) bool.

    Args:
        y: (N, L) of 1, 0 and NaN.
        who: (N,) patient of each row.
        per_label: positives wanted of each label.
        rng: NumPy generator.
    """
    kept = np.zeros(len(y), bool)
    for label in np.argsort((y == 1).sum(axis=0), kind="stable"):
        people = np.unique(who[y[:, label] == 1])
        for person in rng.permutation(people):
            if (y[kept, label] == 1).sum() >= per_label:
                break
            kept |= who == person
    return kept


def _sharpest(table, root, path):
    """The table with one picture of each patient's eye, and notes of how many were left out."""
    # TensorFlow takes seconds to import: tables alone shall not wait for it.
    from fundus_diag.imaging.image_file import open_file
    from fundus_diag.imaging.quality import sharpness

    several = table[(table["eye"] != "") & table.duplicated(["patient", "eye"], keep=False)]

    def look(image):
        picture = inside(root, image)
        pixels = open_file(picture)[1] if picture else None
        return -np.inf if pixels is None else sharpness(pixels)

    with ThreadPoolExecutor(cores()) as pool:
        looks = list(track(pool.map(look, several["image"]), "comparing pictures", len(several)))
    if several.size and np.isneginf(looks).any():
        bad = several["image"].iloc[int(np.argmin(looks))]
        raise DataError(f"{path}: {bad} cannot be read: `manifest check` says why")
    order = several.assign(sharpness=looks).sort_values("sharpness", ascending=False, kind="stable")
    drop = order.index[order.duplicated(["patient", "eye"])]
    rest = table.drop(index=drop).reset_index(drop=True)
    note = f"{counted(len(drop), 'picture')} left out, of eyes that have a sharper one"
    return rest, [note] if len(drop) else []
