"""A trained run as TensorFlow functions: from the bytes of photographs to answers.

Decoding, preprocessing, calibration and thresholds are in the graph. What is wrong with one row is
said in that row: nothing that is sent stops the others. All that goes in and comes out has a row a
photograph or pair: a server may merge what it is sent by several clients, and cut the answer again.
"""

import numpy as np
import tensorflow as tf

from fundus_diag.data.labels import EYES
from fundus_diag.export.chunks import in_chunks
from fundus_diag.export.maps import cam_function, explained, field_of, placed
from fundus_diag.export.reading import NO_ANSWER, NO_EYE, read, read_all, text_of_pair
from fundus_diag.imaging.gradability import measures, said
from fundus_diag.imaging.quality import blank, checked
from fundus_diag.runs.familiarity import with_distance
from fundus_diag.runs.freeze import freeze, input_spec

CHUNK = 16  # rows that the network takes at once: what it holds of them must fit into the memory
NONE = -1.0  # in the place of a probability that there is not: JSON knows no NaN


def signatures(run, precision="float32", explain=True):
    """The functions of an exported run, by the name of their signature.

    Each returns a dict: `probability` (B, L) calibrated, `NONE` in a row that cannot be answered;
    `positive` (B, L); `label` (B, L), names; `gradable` (B,); `error` (B,); `quality_reason` (B,)
    of runs that have limits; `distance` (B,), `NONE` where there is no answer, and `unfamiliar`
    (B,), of runs that know their training photographs, but not of `explain`. That also takes
    `label` (B,), numbers of labels or -1 for the likeliest, and returns with it `map_label` (B,),
    names, and what `maps.placed` does, of pairs with `_left` or `_right` behind `map`.

    Args:
        run: `run.Run`, finished.
        precision: of the network, see `freeze.freeze`.
        explain: whether maps are wanted; they take a second copy of the weights.

    Returns:
        {name: tf.function}. Runs over single eyes have `serving_default`, `serve_pixels` and
        `explain`; runs over two eyes `serve_pair` as well, which is their `serving_default`.
    """
    model = run.model if run.familiar is None else with_distance(run.model, run.familiar)
    frozen = freeze(lambda x: model(x, training=False), input_spec(model), precision)
    maps = cam_function(run, lambda z: calibrated(run, z), precision) if explain else (None, None)

    def scored(inputs):
        logits, *distance = frozen(*tf.nest.flatten(inputs))
        logits = tf.ensure_shape(logits, (None, len(run.labels)))
        return logits, tf.ensure_shape(distance[0], (None,)) if distance else None

    make = _of_eyes if run.config["unit"] == "eye" else _of_pairs
    return make(run, scored, *maps)


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


def _of_eyes(run, scored, maps, grid):
    size, crop = run.config["image_size"], run.config["crop"]

    @_signature(_rows("image_bytes", tf.string))
    def serving_default(image_bytes):
        def answer(image_bytes):
            pictures, *texts = read_all(image_bytes, size, crop)
            return _answer(run, *scored(pictures), *texts, poor(run, pictures))

        return in_chunks(answer, [image_bytes], CHUNK)

    @_signature(_rows("images", tf.float32, size, size, 3))
    def serve_pixels(images):
        def answer(images):
            images, error = checked(images)
            return _answer(run, *scored(images), error, blank(images), poor(run, images))

        return in_chunks(answer, [images], CHUNK)

    @_signature(_rows("image_bytes", tf.string), _LABEL)
    def explain(image_bytes, label):
        def answer(image_bytes, label):
            seen = read(image_bytes[0], size, crop, field=True)
            inputs, inside = seen["picture"][None], field_of(seen, size)[None]
            found = explained(maps, inputs, inside, label, run.labels, seen["error"][None])
            own = placed("map", found["map"], grid, inside, seen, found["error"])
            return own | _answer_with_map(run, found, seen["blank"][None], poor(run, inputs))

        return in_chunks(answer, [image_bytes, label], 1)

    made = {"serving_default": serving_default, "serve_pixels": serve_pixels}
    return made | ({"explain": explain} if maps else {})


def _of_pairs(run, scored, maps, grid):
    size, crop = run.config["image_size"], run.config["crop"]
    both = [_rows(f"{eye}_bytes", tf.string) for eye in EYES]

    def inputs_of(pictures, there):
        return {"images": pictures, "mask": tf.cast(there, tf.float32)}

    def poor_of(pictures, there):
        if not run.limits:
            return None
        each = poor(run, tf.reshape(pictures, (-1, size, size, 3)))
        return text_of_pair(tf.reshape(each, (-1, 2)), there)

    def error_of(errors, there):
        texts = text_of_pair(errors, there)
        return tf.where(tf.reduce_any(there, axis=1), texts, NO_EYE)

    @_signature(*both)
    def serve_pair(left_bytes, right_bytes):
        def answer(*eyes):
            there = tf.strings.length(tf.stack(eyes, axis=1)) > 0
            seen = [read_all(data, size, crop) for data in eyes]
            pictures, errors, blanks = (tf.stack(x, axis=1) for x in zip(*seen, strict=True))
            found = scored(inputs_of(pictures, there))
            texts = error_of(errors, there), text_of_pair(blanks, there)
            return _answer(run, *found, *texts, poor_of(pictures, there))

        return in_chunks(answer, [left_bytes, right_bytes], CHUNK)

    @_signature(_rows("images", tf.float32, 2, size, size, 3), _rows("mask", tf.float32, 2))
    def serve_pixels(images, mask):
        def answer(images, mask):
            there = mask > 0
            # Whatever stands in the place of a missing eye, even NaN, must not reach the network.
            pictures = tf.where(there[..., None, None, None], images, 0.0)
            folded, errors = checked(tf.reshape(pictures, (-1, size, size, 3)))
            error = error_of(tf.reshape(errors, (-1, 2)), there)
            blanks = text_of_pair(tf.reshape(blank(folded), (-1, 2)), there)
            found = scored(inputs_of(tf.reshape(folded, tf.shape(pictures)), there))
            return _answer(run, *found, error, blanks, poor_of(folded, there))

        return in_chunks(answer, [images, mask], CHUNK)

    @_signature(*both, _LABEL)
    def explain(left_bytes, right_bytes, label):
        def answer(left_bytes, right_bytes, label):
            there = tf.strings.length(tf.stack([left_bytes, right_bytes], axis=1)) > 0
            seen = [read(data[0], size, crop, field=True) for data in (left_bytes, right_bytes)]
            error, blanks, pictures = (
                tf.stack([x[name] for x in seen])[None] for name in ("error", "blank", "picture")
            )
            inputs, inside = inputs_of(pictures, there), [field_of(x, size) for x in seen]
            error = error_of(error, there)
            found = explained(maps, inputs, tf.stack(inside), label, run.labels, error)
            texts = text_of_pair(blanks, there)
            row = _answer_with_map(run, found, texts, poor_of(pictures, there))
            for k, eye in enumerate(EYES):
                own, one = found["map"][:, k], inside[k][None]
                row |= placed(f"map_{eye}", own, grid, one, seen[k], found["error"])
            return row

        return in_chunks(answer, [left_bytes, right_bytes, label], 1)

    made = {"serving_default": serve_pair, "serve_pair": serve_pair, "serve_pixels": serve_pixels}
    return made | ({"explain": explain} if maps else {})


def poor(run, pictures):
    """Why pictures (B, S, S, 3) are poor by the run's limits: (B,) texts, or None without them."""
    if not run.limits:
        return None
    return said(measures(pictures, run.config["crop"]), run.limits)


def _answer(run, logits, distance, error, nothing_seen, why_poor):
    """What is returned of each row.

    Args:
        logits: (B, L).
        distance: (B,), or None.
        error, nothing_seen: (B,) why a row cannot be answered; that nothing is seen in it; or "".
        why_poor: (B,), of `poor`.
    """
    finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
    error = tf.where((error == "") & ~finite, NO_ANSWER, error)
    readable = (error == "")[:, None]
    error = tf.where(error == "", nothing_seen, error)
    probability = calibrated(run, logits)
    more = {} if why_poor is None else {"quality_reason": tf.where(error == "", why_poor, "")}
    if distance is not None:
        more["distance"] = tf.where(readable[:, 0], distance, NONE)
        more["unfamiliar"] = more["distance"] > 1
    return {
        "probability": tf.cast(tf.where(readable, probability, NONE), tf.float32),
        "positive": called(run, probability) & readable,
        "label": tf.tile(tf.constant([run.labels]), [tf.size(error), 1]),
        "gradable": error == "",
        "error": error,
        **more,
    }


def _answer_with_map(run, found, nothing_seen, why_poor):
    """`_answer` of what `maps.explained` found, and whose the maps are."""
    names = tf.gather(tf.constant(run.labels), found["chosen"])
    named = tf.where(found["error"] == "", names, "")
    answer = _answer(run, found["logits"], None, found["error"], nothing_seen, why_poor)
    return {"map_label": named, **answer}


def _signature(*specs):
    return tf.function(input_signature=specs, autograph=False)


def _rows(name, kind, *shape):
    return tf.TensorSpec((None, *shape), kind, name)


_LABEL = _rows("label", tf.int32)
