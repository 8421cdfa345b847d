"""Splits that stay as they are: those of the table itself, or those of another one's patients."""

from dataclasses import replace

import numpy as np

from fundus_diag.data.labels import SPLITS
from fundus_diag.data.manifest import read_photographs
from fundus_diag.utils.errors import DataError, UsageError, counted


def as_in(manifest, path):
    """The manifest with the splits that its patients have in another one.

    Args:
        manifest: `Manifest`.
        path: of the other, with splits.

    Returns:
        (the same with a column split, "" of patients that the other does not name; the splits that
        occur; notes).

    Raises:
        DataError: the other has no splits, or none of these patients.
    """
    other = read_photographs(path).table
    if "split" not in other or not (other["split"] != "").any():
        raise DataError(f"{path}: no splits that others could stand in")
    other = other[other["split"] != ""]
    home = dict(zip(other["patient"], other["split"], strict=True))
    found = [home.get(person, "") for person in manifest.table["patient"]]
    strangers = sorted({p for p, x in zip(manifest.table["patient"], found, strict=True) if not x})
    if not any(found):
        raise DataError(f"{path}: none of the patients of {manifest.path}")
    notes = []
    if strangers:
        notes.append(f"{counted(len(strangers), 'patient')} not in {path.name}, dealt out")
    kept = [name for name in SPLITS if name in found]
    return replace(manifest, table=manifest.table.assign(split=found)), kept, notes


def kept_splits(manifest, people, keep, notes):
    """The split that each row stays in, "" of the others; None where none is kept.

    Whoever has a row in a split that is kept stays there with all rows; a note says of how many.
    """
    if not keep:
        return None
    strange = [name for name in keep if name not in SPLITS]
    table = manifest.table
    before = np.asarray(table["split"] if "split" in table else [""] * len(table), object)
    absent = [name for name in keep if name not in set(before)]
    if strange or absent:
        raise UsageError(f"--keep {(strange or absent)[0]}: {manifest.path} has no row in it")
    kept = np.where(np.isin(before, list(keep)), before, "")
    home = {}
    for person, name in zip(people, kept, strict=True):
        if name and home.setdefault(person, name) != name:
            notes.append(f"patients who share a picture stay in two splits that are kept: {person}")
    moved = [i for i, person in enumerate(people) if not kept[i] and person in home]
    for i in moved:
        kept[i] = home[people[i]]
    if moved:
        notes.append(
            f"{counted(len(moved), 'row')} of people in a split that is kept put there too, "
            f"such as {table['image'].iloc[moved[0]]!r}"
        )
    return kept
