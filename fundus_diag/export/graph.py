"""A trained run as TensorFlow functions: from the bytes of photographs to answers.

Decoding, preprocessing, calibration and thresholds are in the graph. What is wrong with one row is
said in that row: nothing that is sent stops the others.
"""

import numpy as np
import tensorflow as tf

from fundus_diag.data.labels import EYES
from fundus_diag.export.maps import cam_function, explained, field_of, laid_back
from fundus_diag.export.reading import MAX_ROWS, NO_EYE, TOO_MANY, read, read_all, text_of_pair
from fundus_diag.imaging.quality import blank, checked
from fundus_diag.runs.freeze import freeze, input_spec


def signatures(run, precision="float32", explain=True):
    """The functions of an exported run, by the name of their signature.

    Each returns a dict: `probability` (B, L) calibrated, NaN in a row with an error; `positive`
    (B, L); `label` (B, L), names; `gradable` (B,); `error` (B,). `explain` is of one photograph:
    one such row, `map` (K, height, width), of pairs `map_left` and `map_right`, and `map_label`
    (K,), names. K is 0 where there is an error.

    Args:
        run: `run.Run`, finished.
        precision: of the network, see `freeze.freeze`.
        explain: whether maps are wanted; they take a second copy of the weights.

    Returns:
        {name: tf.function}. Runs over single eyes have `serving_default`, `serve_pixels` and
        `explain`; runs over two eyes `serve_pair` as well, which is their `serving_default`.
    """
    frozen = freeze(lambda x: run.model(x, training=False), input_spec(run.model), precision)
    maps = cam_function(run, lambda z: calibrated(run, z), precision) if explain else (None, None)

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
    return make(run, logits, *maps)


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
    # A label without a threshold is never called. OpenVINO holds any number to be above NaN.
    thresholds = np.nan_to_num(run.thresholds, nan=np.inf)
    return probability >= tf.constant(thresholds, probability.dtype)


def _of_eyes(run, logits, maps, grid):
    size, crop = run.config["image_size"], run.config["crop"]

    @_signature(_strings("image_bytes"))
    def serving_default(image_bytes):
        pictures, *said = read_all(image_bytes[:MAX_ROWS], size, crop)
        return _answer(run, logits(pictures), *said, tf.size(image_bytes))

    @_signature(tf.TensorSpec((None, size, size, 3), tf.float32, "images"))
    def serve_pixels(images):
        rows = tf.shape(images)[0]
        images, error = checked(images[:MAX_ROWS])
        return _answer(run, logits(images), error, blank(images), rows)

    @_signature(tf.TensorSpec((), tf.string, "image_bytes"), _LABELS)
    def explain(image_bytes, labels):
        seen = read(image_bytes, size, crop, field=True)
        pixels = tf.reduce_prod(tf.cast(seen["size"], tf.int64))
        inputs, inside = seen["picture"][None], field_of(seen, size)[None]
        found = explained(maps, inputs, inside, labels, run.labels, seen["error"], pixels)
        placed = {"map": laid_back(found["map"], grid, seen, found["error"])}
        return placed | _answer_of_one(run, found, seen["blank"][None])

    made = {"serving_default": serving_default, "serve_pixels": serve_pixels}
    return made | ({"explain": explain} if maps else {})


def _of_pairs(run, logits, maps, grid):
    size, crop = run.config["image_size"], run.config["crop"]

    def inputs_of(pictures, there):
        return {"images": pictures, "mask": tf.cast(there, tf.float32)}

    def error_of(errors, there):
        said = text_of_pair(errors, there)
        return tf.where(tf.reduce_any(there, axis=1), said, NO_EYE)

    @_signature(_strings("left_bytes"), _strings("right_bytes"))
    def serve_pair(left_bytes, right_bytes):
        rows = tf.size(left_bytes)
        eyes = [left_bytes[:MAX_ROWS], right_bytes[:MAX_ROWS]]
        there = tf.strings.length(tf.stack(eyes, axis=1)) > 0
        seen = [read_all(data, size, crop) for data in eyes]
        pictures, errors, blanks = (tf.stack(x, axis=1) for x in zip(*seen, strict=True))
        found = logits(inputs_of(pictures, there))
        return _answer(run, found, error_of(errors, there), text_of_pair(blanks, there), rows)

    @_signature(
        tf.TensorSpec((None, 2, size, size, 3), tf.float32, "images"),
        tf.TensorSpec((None, 2), tf.float32, "mask"),
    )
    def serve_pixels(images, mask):
        rows = tf.shape(images)[0]
        there = mask[:MAX_ROWS] > 0
        # Whatever stands in the place of a missing eye, even NaN, must not reach the network.
        pictures = tf.where(there[..., None, None, None], images[:MAX_ROWS], 0.0)
        folded, errors = checked(tf.reshape(pictures, (-1, size, size, 3)))
        error = error_of(tf.reshape(errors, (-1, 2)), there)
        blanks = text_of_pair(tf.reshape(blank(folded), (-1, 2)), there)
        found = logits(inputs_of(tf.reshape(folded, tf.shape(pictures)), there))
        return _answer(run, found, error, blanks, rows)

    eyes = [tf.TensorSpec((), tf.string, f"{eye}_bytes") for eye in EYES]

    @_signature(*eyes, _LABELS)
    def explain(left_bytes, right_bytes, labels):
        there = tf.strings.length(tf.stack([left_bytes, right_bytes]))[None] > 0
        seen = [read(data, size, crop, field=True) for data in (left_bytes, right_bytes)]
        error = error_of(tf.stack([x["error"] for x in seen])[None], there)[0]
        pixels = tf.reduce_sum([tf.reduce_prod(tf.cast(x["size"], tf.int64)) for x in seen])
        inputs = inputs_of(tf.stack([x["picture"] for x in seen])[None], there)
        inside = tf.stack([field_of(x, size) for x in seen])
        found = explained(maps, inputs, inside, labels, run.labels, error, pixels)
        placed = {
            f"map_{eye}": laid_back(found["map"][:, k], grid, seen[k], found["error"])
            for k, eye in enumerate(EYES)
        }
        blanks = text_of_pair(tf.stack([x["blank"] for x in seen])[None], there)
        return placed | _answer_of_one(run, found, blanks)

    made = {"serving_default": serve_pair, "serve_pair": serve_pair, "serve_pixels": serve_pixels}
    return made | ({"explain": explain} if maps else {})


def _answer(run, logits, error, nothing_seen, rows):
    """What is returned of `rows` rows, of which the first `MAX_ROWS` were read.

    Args:
        logits: (B, L) of those that were read.
        error, nothing_seen: (B,) why a row cannot be answered; that nothing is seen in it; or "".
        rows: all that were sent, scalar.
    """
    left = rows - tf.size(error)
    readable = tf.pad(error == "", [[0, left]])
    error = tf.concat(
        [tf.where(error == "", nothing_seen, error), tf.fill([left], TOO_MANY)], axis=0
    )
    probability = calibrated(run, tf.pad(logits, [[0, left], [0, 0]]))
    return {
        "probability": tf.cast(tf.where(readable[:, None], probability, np.nan), tf.float32),
        "positive": called(run, probability) & readable[:, None],
        # In every row, because TensorFlow Serving cuts answers into rows.
        "label": tf.tile(tf.constant([run.labels]), [rows, 1]),
        "gradable": error == "",
        "error": error,
    }


def _answer_of_one(run, found, nothing_seen):
    """What `explain` returns beside the maps: whose they are, and a row of `_answer`."""
    row = _answer(run, found["logits"], found["error"][None], nothing_seen, 1)
    return {
        "map_label": tf.gather(tf.constant(run.labels), found["chosen"]),
        **{name: value[0] for name, value in row.items()},
    }


def _signature(*specs):
    return tf.function(input_signature=specs, autograph=False)


def _strings(name):
    return tf.TensorSpec((None,), tf.string, name)


_LABELS = tf.TensorSpec((None,), tf.int32, "labels")
