"""The fused LayerCAM map of a photograph inside an exported graph, laid back on the photograph."""

import keras
import tensorflow as tf

from fundus_diag.explain import cam
from fundus_diag.explain.filters import COARSE, MEDIAN
from fundus_diag.explain.methods import layer_names
from fundus_diag.fast import freeze, input_spec
from fundus_diag.preprocess import map_to_original

MAX_VALUES = 2**28  # of the maps of one answer: 1 GiB


def mapper(run, probabilities, precision="float32"):
    """A frozen function from pictures and labels to LayerCAM maps.

    Args:
        run: `runs.Run`.
        probabilities: function of logits, by which the likeliest label is chosen.
        precision: see `fast.freeze`.

    Returns:
        A function (inputs of K rows, labels (K,) or (0,)) to a list: fused maps (K, h, w), of
        pairs (K, 2, h, w), filtered as `fundus-diag explain` does; logits (K, L); the labels (K,).
        Without labels the likeliest one of each row is explained.
    """
    model = run.model
    names = layer_names(model, "layer_cam")
    network = keras.Model(model.input, [*(model.get_layer(x).output for x in names), model.output])

    def maps(arguments):
        labels, outputs = arguments["labels"], {}

        def choose(logits):  # the same pass gives the label and its map
            top = tf.argmax(probabilities(logits), axis=1, output_type=tf.int32)
            chosen = tf.concat([labels, top], axis=0)[: tf.shape(logits)[0]]
            outputs.update(logits=logits, chosen=chosen)
            return chosen[:, None]

        layers = cam.raw_maps(network, arguments["inputs"], choose)
        found = cam.fused(layers, run.config["image_size"])[..., 0]
        if min(found.shape[1:]) >= COARSE:
            found = median(found, MEDIAN)
        if run.config["unit"] == "patient":
            found = tf.reshape(found, (-1, 2, *found.shape[1:]))
        return found, outputs["logits"], outputs["chosen"]

    signature = {"inputs": input_spec(model), "labels": tf.TensorSpec((None,), tf.int32)}
    frozen = freeze(maps, signature, precision)
    return lambda inputs, labels: frozen(*tf.nest.flatten({"inputs": inputs, "labels": labels}))


def median(maps, size):
    """Median of maps (N, h, w) over `size` x `size` cells; equal to `filters.median`."""
    around = size // 2
    wide = tf.pad(maps, [[0, 0], [around, around], [around, around]], "SYMMETRIC")
    height, width = maps.shape[1:]
    shifted = [wide[:, y : y + height, x : x + width] for y in range(size) for x in range(size)]
    return tf.sort(tf.stack(shifted, axis=-1), axis=-1)[..., size * size // 2]


def explained(make, inputs, labels, names, error, pixels):
    """Maps of one photograph, or pair: nothing where there is an error.

    Args:
        make: of `mapper`.
        inputs: of the model, one row.
        labels: (K,) numbers of labels, or (0,) for the likeliest.
        names: all L labels.
        error: what is wrong with the photograph, or "".
        pixels: of the photograph, int64.

    Returns:
        map (K, h, w) or (K, 2, h, w), chosen (K,), error, with which K is 0; logits (K, L), of an
        error (1, L).
    """
    known = tf.reduce_all((labels >= 0) & (labels < len(names)))
    few = tf.size(labels) <= len(names)
    fits = tf.cast(tf.maximum(1, tf.size(labels)), tf.int64) * pixels <= MAX_VALUES
    for fine, text in (
        (fits, "maps of so many labels at this size would be too large: ask for fewer"),
        (few, f"more than {len(names)} labels are asked for"),
        (known, f"labels must lie from 0 to {len(names) - 1}"),
    ):
        error = tf.where((error == "") & ~fine, text, error)
    labels = labels[: tf.where(error == "", tf.size(labels), 0)]
    rows = tf.maximum(1, tf.size(labels))
    inputs = tf.nest.map_structure(lambda x: tf.repeat(x, rows, axis=0), inputs)
    found, logits, chosen = make(inputs, labels)
    kept = tf.where(error == "", rows, 0)
    return {"map": found[:kept], "chosen": chosen[:kept], "logits": logits, "error": error}


def laid_back(maps, seen, error):
    """Maps (K, h, w) in the photograph that `reading.read` has seen: (K, height, width)."""
    height, width = tf.unstack(seen["size"])

    def whole():
        return map_to_original(maps[..., None], seen["box"], height, width)[..., 0]

    there = (error == "") & (height > 0)
    return tf.cond(there, whole, lambda: tf.zeros((tf.shape(maps)[0], height, width)))
