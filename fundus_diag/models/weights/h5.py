"""Reads and writes HDF5 files of weights: our own `.weights.h5`, and Keras's older `.h5`.

A file may come from anywhere. Nothing is followed out of it (links, external and virtual storage),
and no array is read before its shape is known to be wanted.
"""

import contextlib
import json
from pathlib import Path

import h5py
import keras
import numpy as np

from fundus_diag.models.weights.strict import Array
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import atomic, check_room

MAX_OBJECTS = 20_000
MAX_DEPTH = 8
MAX_RECORD = 60_000  # characters; HDF5 keeps attributes of up to 64 KiB
RECORD = "fundus_diag"
SEEN = "fundus_diag_photographs"  # fingerprints of the photographs learned from, beside the layers
MAX_SEEN = 20_000_000
OVERHEAD = 4_000_000  # bytes at most that a file takes beside its arrays


def own_arrays(path):
    """Arrays of a `.weights.h5` as Keras writes it, {"<layer>/<number>": Array}.

    The arrays of an optimizer are no weights and are left out.

    Raises:
        DataError: the file cannot be read, or leads out of itself.
    """
    arrays = {}
    with reading(path):
        file = h5py.File(path, "r")
        for place, dataset in _datasets(path, file, ()):
            if place[0] == "optimizer" or place == (SEEN,):
                continue
            key = "/".join(place)
            if len(place) == 4 and place[0] == "layers" and place[2] == "vars":
                name = dataset.parent.attrs.get("name")
                key = f"{name if isinstance(name, str) else place[1]}/{place[3]}"
            if key in arrays:
                raise DataError(f"{path}: two layers are called {key.rpartition('/')[0]!r}")
            arrays[key] = _array(path, key, dataset)
    return arrays


def keras_arrays(path):
    """Arrays of a `.h5` of Keras 1 or 2, in its order: {layer: [Array, ...]}.

    Raises:
        DataError: the file cannot be read, or leads out of itself.
    """
    found = {}
    with reading(path):
        file = h5py.File(path, "r")
        root = file if "layer_names" in file.attrs else _child(path, file, "model_weights")
        for layer in _names(root, "layer_names"):
            group = _child(path, root, layer)
            for i, name in enumerate(_names(group, "weight_names")):
                dataset = group
                for part in name.split("/"):
                    dataset = _child(path, dataset, part)
                found.setdefault(layer, []).append(_array(path, f"{layer}/{i}", dataset))
    return found


def save(model, path, record=None, seen=None):
    """Writes a network's weights, not its optimizer, and, as JSON, where they come from.

    Args:
        model: network.
        path: file to write.
        record: JSON value, or None.
        seen: (n,) uint64, fingerprints of the photographs that it learned from, or None.

    Raises:
        UsageError: the file's name does not end in .weights.h5.
        DataError: it cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(".weights.h5"):
        raise UsageError(f"--out {path}: must end in .weights.h5")
    text = json.dumps(record)
    if len(text) > MAX_RECORD:
        raise DataError(f"{path}: the record of its source has {len(text)} characters, too many")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The same layers, never compiled: Keras writes a model's optimizer beside its weights.
        bare = keras.Model(model.inputs, model.outputs)
        # HDF5 does not survive a disk that is full: what is open then cannot be closed.
        weights = sum(np.prod(x.shape) * np.dtype(x.dtype).itemsize for x in bare.variables)
        check_room(path, int(1.05 * weights) + OVERHEAD)
        with atomic(path, RuntimeError) as partial:  # so it says that it could not close
            bare.save_weights(partial)
            if record is not None:
                with h5py.File(partial, "r+") as file:
                    file.attrs[RECORD] = text
                    if seen is not None:
                        file.create_dataset(SEEN, data=np.asarray(seen, np.uint64))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {_reason(error)}") from error


def read_record(path):
    """Where a `.weights.h5` comes from, as `save` wrote it; None where it does not say.

    Raises:
        DataError: the file cannot be read, or the record is none.
    """
    with reading(path), h5py.File(path, "r") as file:
        text = file.attrs.get(RECORD)
        if text is None:
            return None
        record = json.loads(text) if isinstance(text, str) and len(text) <= MAX_RECORD else None
        if not isinstance(record, dict):
            raise DataError(f"{path}: its attribute {RECORD!r} is no record")
        return record


def read_seen(path):
    """Fingerprints (n,) uint64 of the photographs that weights were learned from; None: unknown.

    Raises:
        DataError: the file cannot be read.
    """
    with reading(path), h5py.File(path, "r") as file:
        if file.get(SEEN, getlink=True) is None:
            return None
        dataset = _child(path, file, SEEN)
        whole = (
            isinstance(dataset, h5py.Dataset) and not dataset.external and not dataset.is_virtual
        )
        if not whole or dataset.dtype != np.uint64 or dataset.ndim != 1 or dataset.size > MAX_SEEN:
            raise DataError(f"{path}: {SEEN!r} is no list of fingerprints")
        return dataset[()]


@contextlib.contextmanager
def reading(path):
    """Turns what a reader of a broken file throws into one line that names the file."""
    try:
        yield
    except (DataError, UsageError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}") from error


def _reason(error):
    return " ".join(str(error).split())[:200]


def _datasets(path, group, place):
    """((name, ...), dataset) of everything below a group."""
    waiting, seen = [(place, group)], 0
    while waiting:
        place, group = waiting.pop()
        for name in group:
            seen += 1
            if seen > MAX_OBJECTS or len(place) >= MAX_DEPTH:
                raise DataError(f"{path}: too many or too deep groups for weights")
            child = _child(path, group, name)
            if isinstance(child, h5py.Group):
                waiting.append(((*place, name), child))
            else:
                yield (*place, name), child


def _child(path, group, name):
    # The link comes first: `in` would follow it, into another file too.
    link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
    if link is None:
        raise DataError(f"{path}: holds no {name!r}; no weights file")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{path}: {name!r} is a link to another place; not followed")
    return group[name]


def _array(path, name, dataset):
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: {name} is no array")
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{path}: {name} lies in another file; not followed")

    def read():
        with reading(path):
            return np.asarray(dataset[()], np.float32)

    return Array(name, tuple(dataset.shape or ()), str(dataset.dtype), read)


def _names(group, attribute):
    """A list of names that Keras keeps as an attribute."""
    names = [x.decode() if isinstance(x, bytes) else str(x) for x in group.attrs[attribute]]
    if len(names) > MAX_OBJECTS:
        raise DataError(f"{group.file.filename}: too many layers for weights")
    return names
