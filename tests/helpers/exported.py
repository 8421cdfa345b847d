"""Tiny runs of random weights and their exports, for the tests of what is exported."""

import functools
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from tiny import make_photographs, ready_run

from fundus_diag import load_run
from fundus_diag.cli import main

SIZE = 40  # px: maps of 19 x 19 cells, which get a median
UNITS = ("eye", "patient", "grade")
FLAGS = {
    "patient": {"unit": "patient"},
    "grade": {"task": "grade", "grade_head": "ordinal", "crop": "none"},
}
THRESHOLDS = {"eye": {"A": 0.41}, "patient": {"A": 0.43, "B": 0.45}}


def make_runs(folder, units=UNITS):
    """Finished runs over drawn discs, `folder/<unit>`; returns `folder`.

    Of single eyes label A has a threshold and B has none.
    """
    for unit in units:
        name = "grades" if unit == "grade" else "photographs"
        manifest = folder / name / "manifest.csv"
        if not manifest.exists():
            make_photographs(folder / name, grades=unit == "grade")
        ready_run(manifest, folder / unit, **FLAGS.get(unit, {}), image_size=SIZE)
        if unit != "grade":
            set_thresholds(folder / unit, THRESHOLDS[unit])
    return folder


def set_thresholds(run, thresholds):
    points = json.loads((run / "thresholds.json").read_text())
    for label, entry in points["labels"].items():
        entry |= {"slope": 1.3, "intercept": -0.2, "threshold": thresholds.get(label)}
    (run / "thresholds.json").write_text(json.dumps(points))


def export(run, out, *words):
    """`fundus-diag export`; the exit status."""
    return main(["export", str(run), "--out", str(out), *map(str, words)])


@functools.lru_cache(maxsize=8)
def signatures(folder):
    """Of a SavedModel that was exported to a folder."""
    return tf.saved_model.load(str(folder / "1")).signatures


def serve(folder, name="serving_default", **inputs):
    """{name: array} that a signature answers; lists of bytes and of numbers are made tensors."""
    found = signatures(folder)[name](**{k: _tensor(k, v) for k, v in inputs.items()})
    return {k: v.numpy() for k, v in found.items()}


def _tensor(name, value):
    kinds = {"labels": tf.int32, "images": tf.float32, "mask": tf.float32}
    return tf.constant(value, kinds.get(name, tf.string))


def texts(array):
    """Strings of an array of bytes, in its shape, as lists."""
    return np.char.decode(np.asarray(array, "S")).tolist()


def contents(folder, names):
    """Bytes of files of a folder."""
    return [(Path(folder) / name).read_bytes() for name in names]


def photographs(folder, eye="left", count=6):
    """Paths of the first photographs of an eye that `make_photographs` drew."""
    return sorted((folder / "photographs").glob(f"*_{eye}.png"))[:count]


def run_of(folder, unit):
    return load_run(folder / unit)
