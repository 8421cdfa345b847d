"""A SavedModel as TensorFlow Serving lays it out: a numbered version with its extra files."""

import tensorflow as tf

from fundus_diag.export.graph import signatures
from fundus_diag.export.samples import drawn_photographs
from fundus_diag.export.warmup import NAME, write_requests
from fundus_diag.utils.errors import UsageError

VERSION = "1"
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
    """Writes `folder/1`, with the requests to warm up on: drawn photographs, of nobody.

    Args:
        run: `run.Run`.
        folder: existing.
        precision: see `freeze.freeze`.
        explain: whether it gets the signature `explain`.
    """
    made = signatures(run, precision, explain)
    module = tf.Module()
    module.functions = list(made.values())  # what is reachable is saved
    tf.saved_model.save(module, str(folder / VERSION), signatures=made)
    extra = folder / VERSION / "assets.extra"
    extra.mkdir()
    write_requests(extra / NAME, list(_requests(run, made)))


def _requests(run, made):
    first, second = drawn_photographs(2)
    pair = run.config["unit"] == "patient"
    size = run.config["image_size"]
    shape = (1, 2, size, size, 3) if pair else (1, size, size, 3)
    for count in (1, 2):
        batch = [first, second][:count]
        yield (
            "serving_default",
            ({"left_bytes": batch, "right_bytes": batch} if pair else {"image_bytes": batch}),
        )
    images = {"images": tf.fill(shape, 127.0).numpy()}
    yield "serve_pixels", images | ({"mask": [[1.0, 1.0]]} if pair else {})
    if "explain" in made:
        labels = {"labels": tf.zeros((0,), tf.int32).numpy()}
        photographs = {"left_bytes": first, "right_bytes": second}
        yield "explain", labels | (photographs if pair else {"image_bytes": first})
