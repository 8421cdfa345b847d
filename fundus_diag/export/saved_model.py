"""A SavedModel with the extra files that TensorFlow Serving looks for."""

import numpy as np
import tensorflow as tf

from fundus_diag.export.graph import signatures
from fundus_diag.export.samples import drawn_photographs
from fundus_diag.export.segments import segment_signatures
from fundus_diag.export.warmup import NAME, write_requests
from fundus_diag.runs.segmenter import Segmenter
from fundus_diag.utils.errors import UsageError

MAX_BYTES = 2**31 - 1  # of a protocol buffer, which holds the weights
BYTES = {"float32": 4, "bfloat16": 2}  # of one weight; maps keep their kernels in float32 as well


def check_size(run, precision, explain):
    """Raises UsageError where the weights do not fit into a SavedModel."""
    bytes_of_maps = 4 if explain else 0
    size = run.model.count_params() * (BYTES[precision] + bytes_of_maps)
    if size > 0.98 * MAX_BYTES:  # the graph itself takes some
        cheaper = "use --no-explain" if explain else "use --precision bfloat16, onnx or openvino"
        raise UsageError(
            f"--format saved_model: {size / 2**30:.1f} GiB of weights, more than 2: {cheaper}"
        )


def write_saved_model(run, folder, precision="float32", explain=True):
    """Writes a SavedModel, with the requests to warm up on: drawn photographs, of nobody.

    Args:
        run: `run.Run`.
        folder: existing.
        precision: see `freeze.freeze`.
        explain: whether it gets the signature `explain`.
    """
    segmenter = isinstance(run, Segmenter)
    made = segment_signatures(run, precision) if segmenter else signatures(run, precision, explain)
    module = tf.Module()
    module.functions = list(made.values())  # what is reachable is saved
    # Gradients are in the graphs already; those that a network brings of its own cannot be saved.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=made, options=options)
    extra = folder / "assets.extra"
    extra.mkdir()
    write_requests(extra / NAME, list(_requests(run, made)))


def _requests(run, made):
    """(signature, inputs), such as may be merged with others: a row a photograph or pair."""
    photographs = drawn_photographs(2)
    pair = run.config["unit"] == "patient"
    size = run.config.get("patch_size", run.config["image_size"])

    def sent(count):
        names = ("left_bytes", "right_bytes") if pair else ("image_bytes",)
        return dict.fromkeys(names, photographs[:count])

    for count in (1, 2):
        yield "serving_default", sent(count)
    shape = (1, 2, size, size, 3) if pair else (1, size, size, 3)
    images = {"images": tf.fill(shape, 127.0).numpy()}
    yield "serve_pixels", images | ({"mask": [[1.0, 1.0]]} if pair else {})
    if "explain" in made:
        yield "explain", sent(1) | {"label": np.array([-1], "int32")}
