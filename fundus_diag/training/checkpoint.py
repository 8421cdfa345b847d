"""The state that an interrupted run goes on from.

One file per finished epoch holds everything: all variables of the model and the optimizer, the
history, the epoch. It appears whole or not at all, and the one before is removed only after it,
so there is always a good one, whenever the process is killed. Arrays only, no pickle.
"""

import json
import zipfile

import numpy as np

from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import PARTIAL, atomic, make_folder

OWN = ("epoch-*.npz", "best-*.npz", f"{PARTIAL}*")  # what is written here, and what a kill leaves


def save_state(folder, epoch, arrays, facts, keep=()):
    """Writes `epoch-<epoch>.npz`, then removes all other states of the folder but `keep`.

    Args:
        folder: made if need be.
        epoch: number of finished epochs.
        arrays: {group: list of arrays}.
        facts: JSON value.
        keep: names of files that the state refers to.
    """
    path = save_arrays(folder, f"epoch-{epoch:05d}.npz", arrays, facts)
    for other in (x for pattern in OWN for x in folder.glob(pattern)):
        if other.name not in (path.name, *keep):
            other.unlink()


def load_state(folder):
    """(arrays, facts) of the newest state in the folder, or None when there is none.

    Raises:
        DataError: the file is damaged.
    """
    states = sorted(folder.glob("epoch-*.npz"))
    return load_arrays(states[-1]) if states else None


def epochs_kept(folder):
    """Number of epochs that the newest state in the folder is of; 0 where there is none."""
    return max((int(x.stem.split("-")[1]) for x in folder.glob("epoch-*.npz")), default=0)


def save_arrays(folder, name, arrays, facts=None):
    """Writes {group: list of arrays} and a JSON value to one file; returns its path."""
    make_folder(folder)
    flat = {f"{group}/{i}": a for group, items in arrays.items() for i, a in enumerate(items)}
    flat["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with atomic(folder / name) as partial:
        np.savez(partial, **flat)
    return folder / name


def load_arrays(path):
    """(arrays, facts) as `save_arrays` wrote them.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            arrays = {}
            names = [n for n in saved.files if n != "facts"]
            for name in sorted(names, key=lambda n: int(n.split("/")[1])):
                arrays.setdefault(name.split("/")[0], []).append(saved[name])
            return arrays, json.loads(bytes(saved["facts"]))
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: damaged checkpoint ({error})") from error
