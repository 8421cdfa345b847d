"""The fused LayerCAM map of a photograph inside an exported graph, laid back on the photograph."""

import keras
import tensorflow as tf

from fundus_diag.explain.filters import COARSE, MEDIAN
from fundus_diag.explain.fusion import finest, fused
from fundus_diag.explain.laying import field_in_picture, field_on_photograph
from fundus_diag.explain.methods.gradients import raw_maps
from fundus_diag.explain.methods.registry import METHODS, layer_names
from fundus_diag.imaging.preprocess import map_to_original
from fundus_diag.runs.freeze import freeze, input_spec

MAX_VALUES = 2**27  # of the maps of one answer: half a gigabyte


def cam_function(run, probabilities, precision="float32"):
    """A frozen function from pictures and labels to LayerCAM maps.

    Args:
        run: `run.Run`.
        probabilities: function of logits, by which the likeliest label is chosen.
        precision: see `freeze.freeze`.

    Returns:
        A function (inputs of one row, inside (1, S, S) bool, of a pair (2, S, S), where they show
        the field of view, labels (K,)) to a list: fused maps (K, h, w), of a pair (K, 2, h, w),
        filtered as `fundus-diag explain` does; logits (K, L), each of the same pass; the labels
        (K,). Without labels the likeliest one is explained, and K is 1. And where the cells of the
        maps stand, a `geometry.Grid`.
    """
    model, size = run.model, run.config["image_size"]
    names = layer_names(model, "layer_cam")
    grids = METHODS["layer_cam"].grids(model, names)
    network = keras.Model(model.input, [*(model.get_layer(x).output for x in names), model.output])

    def one_map(arguments):
        label, outputs = arguments["label"], {}

        def choose(logits):  # the same pass gives the label and its map
            top = tf.argmax(probabilities(logits), axis=1, output_type=tf.int32)
            chosen = tf.concat([label, top], axis=0)[:1]
            outputs.update(logits=logits, chosen=chosen)
            return chosen[:, None]

        layers = raw_maps(network, arguments["inputs"], choose)
        found = fused(layers, grids, arguments["inside"])[..., 0]
        if min(found.shape[1:]) >= COARSE:
            found = median(found, MEDIAN)
        if run.config["unit"] == "patient":
            found = tf.reshape(found, (-1, 2, *found.shape[1:]))
        return found, outputs["logits"], outputs["chosen"]

    signature = {"inputs": input_spec(model), "label": tf.TensorSpec((None,), tf.int32)}
    signature["inside"] = tf.TensorSpec((None, size, size), tf.bool)
    frozen = freeze(one_map, signature, precision)
    kinds = [tf.TensorSpec(x.shape[1:], x.dtype) for x in frozen.outputs]

    def maps(inputs, inside, labels):
        def one(k):
            arguments = {"inputs": inputs, "inside": inside, "label": labels[k : k + 1]}
            return [x[0] for x in frozen(*tf.nest.flatten(arguments))]

        count = tf.maximum(1, tf.size(labels))
        # One after the other: activations and gradients of many labels would fill the memory.
        return tf.map_fn(one, tf.range(count), parallel_iterations=1, fn_output_signature=kinds)

    return maps, finest(grids)


def median(maps, size):
    """Median of maps (N, h, w) over `size` x `size` cells; equal to `filters.median`."""
    around = size // 2
    wide = tf.pad(maps, [[0, 0], [around, around], [around, around]], "SYMMETRIC")
    height, width = maps.shape[1:]
    shifted = [wide[:, y : y + height, x : x + width] for y in range(size) for x in range(size)]
    return tf.sort(tf.stack(shifted, axis=-1), axis=-1)[..., size * size // 2]


def explained(maps, inputs, inside, labels, names, error, pixels):
    """Maps of one photograph, or pair: nothing where there is an error.

    Args:
        maps: of `cam_function`.
        inputs, inside: of the model, one row, and its fields of view.
        labels: (K,) numbers of labels, or (0,) for the likeliest.
        names: all L labels.
        error: what is wrong with the photograph, or "".
        pixels: of the photograph, int64.

    Returns:
        map (K, h, w) or (K, 2, h, w), chosen (K,), error, with which K is 0; logits (1, L).
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
    found, logits, chosen = maps(inputs, inside, labels)
    kept = tf.where(error == "", tf.size(chosen), 0)
    return {"map": found[:kept], "chosen": chosen[:kept], "logits": logits[:1], "error": error}


def field_of(seen, size):
    """Where the picture of a photograph that `reading.read` has seen shows its field of view."""
    return field_in_picture(seen["field"], seen["box"], *tf.unstack(seen["size"]), size)


def laid_back(maps, grid, seen, error):
    """Maps (K, h, w) in the photograph that `reading.read` has seen: (K, height, width).

    `grid`: of `cam_function`.
    """
    height, width = tf.unstack(seen["size"])

    def whole():
        laid = map_to_original(maps[..., None], seen["box"], height, width, grid)[..., 0]
        return tf.where(field_on_photograph(seen["field"], height, width), laid, 0.0)

    there = (error == "") & (height > 0)
    return tf.cond(there, whole, lambda: tf.zeros((tf.shape(maps)[0], height, width)))
