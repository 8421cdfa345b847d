"""`familiarity.npz` of a run: what its training photographs look like to its network.

A photograph is far from them when pooled features of it are, by `ood.mahalanobis`. Distances are
given in terms of a limit, the one that `SHARE` of the photographs of val lie beyond: above 1 a
photograph is unfamiliar.
"""

import io
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.metrics.ood import MOST as DIRECTIONS
from fundus_diag.metrics.ood import fit_mahalanobis, mahalanobis
from fundus_diag.runs.contents import FAMILIARITY
from fundus_diag.runs.freeze import inference
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import reason, write_bytes
from fundus_diag.utils.progress import track

BATCH = 32
MOST = 1000  # photographs of train that are looked at, evenly over its rows
SHARE = 0.01  # of the photographs of val that lie beyond the limit
LARGEST = 2**26  # bytes of the file
LEAST = 1e-6  # of a limit: where all photographs are the same one
# Of a file that is damaged; RuntimeError of an archive that is encrypted, or of another version.
FAULTS = (
    *(OSError, ValueError, KeyError, IndexError, EOFError, MemoryError, RuntimeError),
    zipfile.BadZipFile,
)


def fit_familiarity(model, pictures, rows):
    """What `with_distance` needs, with a limit of 1 for now: a dict of arrays.

    Args:
        model: classifier, in float32.
        pictures: `pictures.Pictures`.
        rows: `inputs.Rows`, of train.
    """
    numbers = np.unique(rows.pictures[rows.pictures >= 0])
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(MOST, len(numbers))).round().astype(int)]
    pair = isinstance(model.input, dict)  # then single eyes: what folds two of them is left out
    inputs = model.get_layer("fold_eyes").output if pair else model.input
    ask = inference(keras.Model(inputs, model.get_layer("head_pool").output))
    batches = scoring_batches(pictures, chosen, BATCH)
    steps = -(-len(chosen) // BATCH)
    found = [np.asarray(ask(x)) for x in track(batches, "looking at training photographs", steps)]
    return fit_mahalanobis(np.concatenate(found))


def with_limit(fitted, distances):
    """The same, with the limit that `SHARE` of these distances lie beyond, and those in its terms.

    Args:
        fitted: of `fit_familiarity`.
        distances: (N,) of photographs of val.
    """
    limit = max(float(np.quantile(distances, 1 - SHARE)), LEAST)
    scaled = {name: np.float32(fitted[name] * limit**2) for name in ("spread", "rest")}
    return {**fitted, **scaled}, distances / limit


def with_distance(model, fitted):
    """The classifier with a second output: the distance (B,) of its photographs.

    Of a pair that of the eye that is farther.

    Args:
        model: of `build_classifier`.
        fitted: of `read_familiarity`.
    """
    distance = mahalanobis(model.get_layer("head_pool").output, fitted)
    if isinstance(model.input, dict):
        each = ops.reshape(distance, (-1, 2))
        distance = ops.max(ops.where(model.input["mask"] > 0, each, 0.0), axis=1)
    return keras.Model(model.input, [model.output, distance])


def asking(model, fitted, precision="float32"):
    """A function of inputs of a classifier to (logits (B, L), distance (B,)), arrays.

    Args:
        model: of `build_classifier`.
        fitted: of `read_familiarity`; None: the distance is None.
        precision: see `freeze.inference`.
    """
    if fitted is None:
        step = inference(model, precision)
        return lambda inputs: (np.asarray(step(inputs)), None)
    step = inference(with_distance(model, fitted), precision)
    return lambda inputs: tuple(map(np.asarray, step(inputs)))


def said(distance):
    """A distance in words; "" of one within the limit, or where it is None."""
    if distance is None or not distance > 1:
        return ""
    times = f"{distance:.1f}" if distance < 100 else "more than 100"
    return f"{times} times as far from the training photographs as 99 % of those of validation"


def save_familiarity(run_dir, fitted):
    """Writes what `read_familiarity` reads."""
    # Not into the file: nor does a zip that cannot be finished end without a word.
    content = io.BytesIO()
    np.savez(content, **fitted)
    write_bytes(Path(run_dir) / FAMILIARITY, content.getvalue())


def read_familiarity(run_dir, model):
    """What `with_distance` needs, or None of a run that was trained before there was any.

    Raises:
        DataError: the file is not what `save_familiarity` writes, or of another network.
    """
    path = Path(run_dir) / FAMILIARITY
    if not path.is_file():
        return None
    width = model.get_layer("head_pool").output.shape[-1]
    try:
        fitted = _read(path)
        kept = fitted["basis"].shape[-1]
        shapes = {"mean": (width,), "basis": (width, kept), "spread": (kept,), "rest": ()}
        if {name: x.shape for name, x in fitted.items()} != shapes or kept > DIRECTIONS:
            raise ValueError("arrays of another shape are in it")
        if not all(x.dtype == np.float32 and np.isfinite(x).all() for x in fitted.values()):
            raise ValueError("what is no number is in it")
        if min(fitted["spread"].min(initial=1), fitted["rest"]) <= 0:
            raise ValueError("a spread in it is not above 0")
    except FAULTS as error:
        raise DataError(f"{path}: {reason(error)}") from error
    return fitted


def _read(path):
    # Arrays that lie in the file as they are: what it says of their sizes cannot exceed its own.
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        total = sum(x.file_size for x in entries)
        if total > min(LARGEST, path.stat().st_size) or any(x.compress_type for x in entries):
            raise ValueError("too large, or compressed")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}
