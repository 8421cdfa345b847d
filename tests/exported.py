"""Tiny runs of random weights and their exports, for the tests of what is exported."""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tiny import make_photographs

from fundus_diag import load_run
from fundus_diag.cli import main
from fundus_diag.manifest import read_manifest, summary
from fundus_diag.models import build_classifier
from fundus_diag.phases import calibrate_batch_norm
from fundus_diag.scoring.calibration import save_operating_points

SIZE = 40  # px: maps of 19 x 19 cells, which get a median
# `whole` takes photographs without a crop; `grade` has an ordinal head.
UNITS = ("eye", "patient", "grade", "whole")


def make_runs(folder, units=UNITS):
    """Finished runs over drawn discs, `folder/<unit>`; returns `folder`.

    Of single eyes label A has a threshold and B has none.
    """
    tf.config.run_functions_eagerly(True)
    try:
        for unit in units:
            name = "grades" if unit == "grade" else "photographs"
            manifest = folder / name / "manifest.csv"
            if not manifest.exists():
                make_photographs(folder / name, grades=unit == "grade")
            _write_run(folder / unit, read_manifest(manifest), unit)
    finally:
        tf.config.run_functions_eagerly(False)
    return folder


def _write_run(folder, manifest, unit):
    labels, pair, grade = list(manifest.labels), unit == "patient", unit == "grade"
    keras.utils.set_random_seed(1)
    options = {"unit": "patient" if pair else "eye", "ordinal": grade}
    model = build_classifier("tiny", SIZE, len(labels), **options)
    shape = (16, 2, SIZE, SIZE, 3) if pair else (16, SIZE, SIZE, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    calibrate_batch_norm(
        model, [{"images": images, "mask": np.ones((16, 2), "float32")} if pair else images]
    )
    kernel = model.get_layer("head_logits")
    kernel.set_weights([4 * x for x in kernel.get_weights()])  # answers that differ
    folder.mkdir()
    model.save_weights(folder / "model.weights.h5")
    config = {
        "version": "0",
        "encoder": "tiny",
        "image_size": SIZE,
        "unit": "patient" if pair else "eye",
        "task": "grade" if grade else "multi_label",
        "labels": labels,
        "crop": "none" if unit == "whole" else "fundus",
        "pretrained": False,
        "weights": "none",
        "data": {
            "manifest": str(manifest.path),
            "image_root": str(manifest.path.parent),
            "bad_images": [["somebody.png", "truncated"]],
            "sha256": manifest.sha256,
            "splits": summary(manifest.table, labels),
        },
        "flags": {
            "manifest": str(manifest.path),
            "run_dir": str(folder),
            "on_bad_image": "fail",
            "grade_head": "ordinal" if grade else "softmax",
        },
        "versions": {},
        "finished": "today",
    }
    (folder / "config.json").write_text(json.dumps(config))
    point = {"positives": 1, "negatives": 1, "slope": 1.3, "intercept": -0.2}
    thresholds = {"eye": {"A": 0.41}, "whole": {"A": 0.335}, "patient": {"A": 0.43, "B": 0.45}}
    thresholds = thresholds.get(unit, {})
    points = {x: {**point, "threshold": thresholds.get(x)} for x in labels}
    points = {"split": "val", "criterion": "argmax" if grade else "f1", "labels": points}
    points |= {"temperature": 1.3} if grade else {}
    save_operating_points(folder / "thresholds.json", points)


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
