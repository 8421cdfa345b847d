"""What is served: a run, or an export; both answer by the same graph."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from fundus_diag.export.card import model_card
from fundus_diag.export.graph import signatures
from fundus_diag.metrics.calibration import thresholds_array
from fundus_diag.runs.answers import validation_of
from fundus_diag.runs.run import Run, load_run
from fundus_diag.runs.run_files import read_config
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import reason, sha256

BESIDE = "assets.extra"


@dataclass(frozen=True)
class Served:
    """A model with all that answers need.

    Attributes:
        name, version: as in addresses.
        config: of the run.
        points: operating points of the run.
        functions: {signature: function of {input: array (B, ..)} to {output: array (B, ..)}}.
        specs: {signature: {input: (kind, shape of a row)}}, kind "string", "int32" or "float32".
        card: the model card, Markdown.
        run: the run, None of an export, which has maps by its signature `explain` alone.
        validation: of `answers.validation_of`, None of an export.
    """

    name: str
    version: str
    config: dict
    points: dict
    functions: dict
    specs: dict
    card: str
    run: Run | None = None
    validation: dict | None = None

    @property
    def labels(self):
        return tuple(self.config["labels"])

    @property
    def thresholds(self):
        """(L,) thresholds on the calibrated probability, NaN where a label has none."""
        return thresholds_array(self.points, self.labels)

    @property
    def pair(self):
        """Whether one answer is about both eyes of a patient."""
        return self.config["unit"] == "patient"


def served_run(run_dir, name=None):
    """A finished run.

    Args:
        run_dir: its folder.
        name: in addresses; by default that of the folder, of letters, digits, - and _.

    Raises:
        DataError: see `load_run`.
    """
    run = load_run(run_dir)
    concrete = {x: f.get_concrete_function() for x, f in signatures(run).items()}
    return Served(
        name or _name(run.run_dir.resolve()),
        "1",
        run.config,
        run.points,
        *_called(concrete),
        model_card(run),
        run,
        validation_of(run),
    )


def served_export(folder, name=None):
    """The newest version of a SavedModel that `fundus-diag export` wrote, or one version of it.

    Args:
        folder: --out of the export, or one of its numbered folders.
        name: in addresses; by default that of the export's folder.

    Raises:
        DataError: no export is there, or its files are not those that were written.
    """
    folder = Path(folder)
    version = _newest(folder)
    beside = version / BESIDE
    _check_sums(version, beside)
    config = read_config(beside)
    try:
        loaded = tf.saved_model.load(str(version))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise DataError(f"{version}: cannot be loaded: {error}") from error
    found = _called(dict(loaded.signatures), keep=loaded)
    return Served(
        name or _name(version.resolve().parent),
        version.resolve().name,
        config,
        load_operating_points(beside / "thresholds.json"),
        *found,
        _text(beside / "model_card.md"),
    )


def _name(folder):
    """The name of a folder as it may stand in an address."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name).strip("-") or "model"


def _newest(folder):
    if (folder / "saved_model.pb").is_file():
        return folder
    try:
        names = [x.name for x in folder.iterdir() if x.name.isascii() and x.name.isdigit()]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    there = [x for x in names if (folder / x / "saved_model.pb").is_file()]
    if not there:
        raise DataError(f"{folder}: no SavedModel that export wrote is there")
    return folder / max(there, key=int)


def _check_sums(version, beside):
    """Raises DataError where a file is not the one that was exported: graphs are programs."""
    path = beside / "SHA256SUMS"
    listed = dict(reversed(line.split("  ", 1)) for line in _text(path).splitlines())
    known = {(beside / name).resolve(): digest for name, digest in listed.items()}
    for file in (x for x in version.rglob("*") if x.is_file()):
        if file == path:
            continue
        digest = known.pop(file.resolve(), None)
        if digest is None:
            raise DataError(f"{file}: is not listed in {path}")
        if digest != sha256(file):
            raise DataError(f"{file}: is not the file of {path}")
    if known:
        raise DataError(f"{next(iter(known))}: is missing; it is listed in {path}")


def _text(path):
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from error


def _called(concrete, keep=None):
    """({signature: function of arrays}, {signature: its inputs}) of concrete functions.

    `keep`: what has to live as long as the functions do.
    """
    functions, specs = {}, {}
    for name, function in concrete.items():
        given = function.structured_input_signature
        inputs = {x.name: x for x in [*given[0], *given[1].values()]}
        specs[name] = {k: (x.dtype.name, tuple(x.shape[1:])) for k, x in inputs.items()}
        functions[name] = functools.partial(_call, function, keep)
    return functions, specs


def _call(function, keep, inputs):
    # NumPy's objects are made strings by way of a list.
    tensors = {
        name: tf.constant(rows.tolist() if rows.dtype == object else rows)
        for name, rows in inputs.items()
    }
    return {name: np.asarray(rows) for name, rows in function(**tensors).items()}
