"""Tiny runs of random weights and their exports, for the tests of what is exported."""

import base64
import functools
import json
from pathlib import Path

import numpy as np
import odd_images
import tensorflow as tf
from tiny import make_photographs, ready_run

from fundus_diag import load_run
from fundus_diag.cli import main
from fundus_diag.export import graph

SIZE = 40  # px: maps of 19 x 19 cells, which get a median
UNITS = ("eye", "patient", "grade")
FLAGS = {
    "patient": {"unit": "patient"},
    "grade": {"task": "grade", "grade_head": "ordinal", "crop": "none"},
}
KINDS = {"label": tf.int32, "images": tf.float32, "mask": tf.float32}  # of inputs, else bytes
THRESHOLDS = {"eye": {"A": 0.51}, "patient": {"A": 0.43, "B": 0.45}}
INTERCEPTS = {"eye": {"A": 0.2}}  # either label is the likeliest of some; by its logits B always is


def table_of_two(path, root):
    """Writes a table of 7_left.png, of no label, and 7_right.png, of A; returns its flags."""
    path.write_text("image,patient,eye,A,B\n7_left.png,7,left,0,0\n7_right.png,7,right,1,0\n")
    return ["--manifest", str(path), "--image-root", str(root)]


def make_runs(folder, units=UNITS):
    """Finished runs over drawn discs, `folder/<unit>`, where there are none; returns `folder`.

    Of single eyes label A has a threshold and B has none.
    """
    for unit in (x for x in units if not (folder / x).exists()):
        name = "grades" if unit == "grade" else "photographs"
        manifest = folder / name / "manifest.csv"
        if not manifest.exists():
            make_photographs(folder / name, grades=unit == "grade")
        ready_run(manifest, folder / unit, **FLAGS.get(unit, {}), image_size=SIZE)
        if unit != "grade":
            set_thresholds(folder / unit, THRESHOLDS[unit], INTERCEPTS.get(unit, {}))
    return folder


def set_thresholds(run, thresholds, intercepts):
    points = json.loads((run / "thresholds.json").read_text())
    for label, entry in points["labels"].items():
        entry |= {"slope": 1.3, "intercept": intercepts.get(label, -0.2)}
        entry["threshold"] = thresholds.get(label)
    (run / "thresholds.json").write_text(json.dumps(points))


def export(run, out, *words):
    """`fundus-diag export`; the exit status."""
    return main(["export", str(run), "--out", str(out), *map(str, words)])


@functools.lru_cache(maxsize=8)
def signatures(model):
    """{name: function} of the folder of an export, or of a run: then it has not been saved."""
    if (model / "config.json").exists():
        return graph.signatures(load_run(model))
    return tf.saved_model.load(str(model / "1")).signatures


def serve(model, name="serving_default", **inputs):
    """{name: array} that a signature answers; lists of bytes and of numbers are made tensors."""
    found = signatures(model)[name](**{k: _tensor(k, v) for k, v in inputs.items()})
    return {k: v.numpy() for k, v in found.items()}


def _tensor(name, value):
    return tf.constant(value, KINDS.get(name, tf.string))


def rest(model, name, instances):
    """`predictions` of TensorFlow Serving's REST API for `instances`, a dict a row.

    By its json_tensor.cc: each instance names every input, a name that ends in _bytes is written in
    base64, and every output has a row an instance. The text is JSON as strict parsers read it.
    """
    assert all(x.keys() == instances[0].keys() for x in instances)
    found = serve(model, name, **{k: [x[k] for x in instances] for k in instances[0]})
    assert {len(x) for x in found.values()} == {len(instances)}
    rows = [{k: _plain(k, v[i]) for k, v in found.items()} for i in range(len(instances))]
    return json.loads(json.dumps(rows, allow_nan=False))


def _plain(name, value):
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    value = np.asarray(value)
    return texts(value) if value.dtype == object or value.dtype.kind == "S" else value.tolist()


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


def merged(model, name, requests):
    """Answers of requests, each a dict of lists, that a server merges into one: a list of dicts."""
    together = {k: sum((list(x[k]) for x in requests), []) for k in requests[0]}
    found = serve(model, name, **together)
    cuts = np.cumsum([len(next(iter(x.values()))) for x in requests])
    assert {len(x) for x in found.values()} == {cuts[-1]}
    parts = {k: np.split(v, cuts[:-1]) for k, v in found.items()}
    return [{k: v[i] for k, v in parts.items()} for i in range(len(requests))]


def alike(model, name, requests):
    """Whether requests are answered as they are alone."""
    for request, got in zip(requests, merged(model, name, requests), strict=True):
        want = serve(model, name, **request)
        assert got.keys() == want.keys()
        for key, value in want.items():
            if value.dtype == np.float32:
                np.testing.assert_allclose(got[key], value, atol=1e-5)
            elif "overlay" not in key:
                np.testing.assert_array_equal(got[key], value)


def different(folder):
    """Photographs of several sizes and kinds, good and bad, and none."""
    files = odd_images.odd_files()
    left = contents("", photographs(folder, count=3))
    return [left[0], b"text", files["rgb.jpg"], left[1][:-40], files["gray.png"], b"", left[2]]
