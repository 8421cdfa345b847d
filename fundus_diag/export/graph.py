"""A trained run as TensorFlow functions: from the bytes of photographs to answers.

Decoding, preprocessing, calibration and thresholds are in the graph. What is wrong with one row is
said in that row: nothing that is sent stops the others.
"""

import numpy as np
import tensorflow as tf

from fundus_diag.export.maps import explained, laid_back, mapper
from fundus_diag.export.reading import NO_EYE, checked, error_of_pair, read, read_all
from fundus_diag.fast import freeze, input_spec
from fundus_diag.imaging.field import has_field

BLANK = "no field of view: nothing stands out"


def signatures(run, precision="float32", explain=True):
    """The functions of an exported run, by the name of their signature.

    Each returns a dict: `probability` (B, L) calibrated, NaN in a row with an error; `positive`
    (B, L); `label` (B, L), names; `gradable` (B,); `error` (B,). `explain` is of one photograph:
    one such row, `map` (K, height, width), of pairs `map_left` and `map_right`, and `map_label`
    (K,), names. K is 0 where there is an error.

    Args:
        run: `runs.Run`, finished.
        precision: of the network, see `fast.freeze`.
        explain: whether maps are wanted; they take a second copy of the weights.

    Returns:
        {name: tf.function}. Runs over single eyes have `serving_default`, `serve_pixels` and
        `explain`; runs over two eyes `serve_pair` as well, which is their `serving_default`.
    """
    frozen = freeze(lambda x: run.model(x, training=False), input_spec(run.model), precision)
    maps = mapper(run, lambda z: calibrated(run, z), precision) if explain else None

    def logits(inputs):
        flat = tf.nest.flatten(inputs)
        # oneDNN's fused convolutions fail on no rows at all.
        found = tf.cond(
            tf.shape(flat[0])[0] > 0,
            lambda: frozen(*flat)[0],
            lambda: tf.zeros((0, len(run.labels))),
        )
        return tf.ensure_shape(found, (None, len(run.labels)))

    make = _of_eyes if run.config["unit"] == "eye" else _of_pairs
    return make(run, logits, maps)


def calibrated(run, logits, dtype=tf.float64):
    """Calibrated probabilities (B, L) of logits, as `calibration.apply_calibration`."""
    logits = tf.cast(logits, dtype)
    if "temperature" in run.points:
        return tf.nn.softmax(logits / tf.constant(run.points["temperature"], dtype))
    entries = [run.points["labels"][label] for label in run.labels]
    slope, intercept = (tf.constant([e[k] for e in entries], dtype) for k in ("slope", "intercept"))
    return tf.sigmoid(slope * logits + intercept)


def called(run, probability):
    """Which labels probabilities (B, L) call, as `Run.call`: (B, L) bool."""
    if run.config["task"] == "grade":
        best = tf.argmax(probability, axis=1, output_type=tf.int32)[:, None]
        return best == tf.range(len(run.labels))
    thresholds = tf.constant(run.thresholds, probability.dtype)
    return probability >= thresholds  # never, where there is none


def _of_eyes(run, logits, maps):
    size, crop = run.config["image_size"], run.config["crop"]

    @_signature(_strings("image_bytes"))
    def serving_default(image_bytes):
        pictures, field, error = read_all(image_bytes, size, crop)
        return _answer(run, logits(pictures), error, field)

    @_signature(tf.TensorSpec((None, size, size, 3), tf.float32, "images"))
    def serve_pixels(images):
        images, error = checked(images)
        return _answer(run, logits(images), error, has_field(images))

    @_signature(tf.TensorSpec((), tf.string, "image_bytes"), _LABELS)
    def explain(image_bytes, labels):
        seen = read(image_bytes, size, crop)
        pixels = tf.reduce_prod(tf.cast(seen["size"], tf.int64))
        inputs = seen["picture"][None]
        found = explained(maps, inputs, labels, run.labels, seen["error"], pixels)
        placed = {"map": laid_back(found["map"], seen, found["error"])}
        return placed | _answer_of_one(run, found, seen["field"])

    made = {"serving_default": serving_default, "serve_pixels": serve_pixels}
    return made | ({"explain": explain} if maps else {})


def _of_pairs(run, logits, maps):
    size, crop = run.config["image_size"], run.config["crop"]

    @_signature(_strings("left_bytes"), _strings("right_bytes"))
    def serve_pair(left_bytes, right_bytes):
        there = tf.strings.length(tf.stack([left_bytes, right_bytes], axis=1)) > 0
        left, right = (read_all(data, size, crop) for data in (left_bytes, right_bytes))
        pictures, field, errors = (tf.stack(x, axis=1) for x in zip(left, right, strict=True))
        inputs = {"images": pictures, "mask": tf.cast(there, tf.float32)}
        field = tf.reduce_all(field | ~there, axis=1)
        return _answer(run, logits(inputs), error_of_pair(errors, there), field)

    @_signature(
        tf.TensorSpec((None, 2, size, size, 3), tf.float32, "images"),
        tf.TensorSpec((None, 2), tf.float32, "mask"),
    )
    def serve_pixels(images, mask):
        there = mask > 0
        # Whatever stands in the place of a missing eye, even NaN, must not reach the network.
        images, error = checked(tf.where(there[..., None, None, None], images, 0.0))
        field = tf.stack([has_field(images[:, 0]), has_field(images[:, 1])], axis=1) | ~there
        error = tf.where(tf.reduce_any(there, axis=1), error, NO_EYE)
        inputs = {"images": images, "mask": tf.cast(there, tf.float32)}
        return _answer(run, logits(inputs), error, tf.reduce_all(field, axis=1))

    eyes = [tf.TensorSpec((), tf.string, f"{eye}_bytes") for eye in ("left", "right")]

    @_signature(*eyes, _LABELS)
    def explain(left_bytes, right_bytes, labels):
        there = tf.strings.length(tf.stack([left_bytes, right_bytes])) > 0
        seen = [read(data, size, crop) for data in (left_bytes, right_bytes)]
        error = error_of_pair(tf.stack([x["error"] for x in seen])[None], there[None])[0]
        pixels = tf.reduce_sum([tf.reduce_prod(tf.cast(x["size"], tf.int64)) for x in seen])
        inputs = {
            "images": tf.stack([x["picture"] for x in seen])[None],
            "mask": tf.cast(there, tf.float32)[None],
        }
        found = explained(maps, inputs, labels, run.labels, error, pixels)
        placed = {
            f"map_{eye}": laid_back(found["map"][:, k], seen[k], found["error"])
            for k, eye in enumerate(("left", "right"))
        }
        field = tf.reduce_all(tf.stack([x["field"] for x in seen]) | ~there)
        return placed | _answer_of_one(run, found, field)

    made = {"serving_default": serve_pair, "serve_pair": serve_pair, "serve_pixels": serve_pixels}
    return made | ({"explain": explain} if maps else {})


def _answer(run, logits, error, field):
    """What is returned of B rows: of logits (B, L), errors (B,), and whether something is seen."""
    readable = error == ""
    probability = calibrated(run, logits)
    return {
        "probability": tf.cast(tf.where(readable[:, None], probability, np.nan), tf.float32),
        "positive": called(run, probability) & readable[:, None],
        # In every row, because TensorFlow Serving cuts answers into rows.
        "label": tf.tile(tf.constant([run.labels]), [tf.size(error), 1]),
        "gradable": readable & field,
        "error": tf.where(readable & ~field, BLANK, error),
    }


def _answer_of_one(run, found, field):
    """What `explain` returns beside the maps: whose they are, and a row of `_answer`."""
    error = found["error"]
    row = _answer(run, found["logits"][:1], error[None], field[None])
    return {
        "map_label": tf.gather(tf.constant(run.labels), found["chosen"]),
        **{name: value[0] for name, value in row.items()},
    }


def _signature(*specs):
    return tf.function(input_signature=specs, autograph=False)


def _strings(name):
    return tf.TensorSpec((None,), tf.string, name)


_LABELS = tf.TensorSpec((None,), tf.int32, "labels")
