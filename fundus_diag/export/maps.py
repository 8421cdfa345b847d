"""The fused LayerCAM map inside an exported graph, and its place on the photograph."""

import keras
import numpy as np
import tensorflow as tf

from fundus_diag.explain.filters import COARSE, MEDIAN
from fundus_diag.explain.fusion import finest, fused
from fundus_diag.explain.laying import map_box, reached
from fundus_diag.explain.methods.gradients import raw_maps
from fundus_diag.explain.methods.registry import METHODS, layer_names
from fundus_diag.explain.overlay import ALPHA, COLOURS, FULL
from fundus_diag.export.reading import NO_ANSWER
from fundus_diag.imaging.inside import field_in_picture, field_on_photograph
from fundus_diag.imaging.preprocess import map_to_original
from fundus_diag.runs.freeze import freeze, input_spec

MAX_SIDE = 512  # of an overlay, px: a megabyte at most, a tenth of it as a rule


def cam_function(run, probabilities, precision="float32"):
    """A frozen function from pictures and labels to LayerCAM maps.

    Args:
        run: `run.Run`.
        probabilities: function of logits, by which the likeliest label is chosen.
        precision: see `freeze.freeze`.

    Returns:
        A concrete function of the flattened {"inputs": of the model, "inside": (B, S, S) bool, of
        pairs (2 B, S, S), where they show the field of view, "label": (B,)}, a label below 0 asking
        for the likeliest, to a list: fused maps (B, h, w), of pairs (B, 2, h, w), filtered as
        `fundus-diag explain` does; logits (B, L) of the same pass; the labels (B,). And where the
        cells of the maps stand, a `geometry.Grid`.
    """
    model, size = run.model, run.config["image_size"]
    names = layer_names(model, "layer_cam")
    grids = METHODS["layer_cam"].grids(model, names)
    network = keras.Model(model.input, [*(model.get_layer(x).output for x in names), model.output])

    def maps(arguments):
        label, outputs = arguments["label"], {}

        def choose(logits):  # the same pass gives the label and its map
            top = tf.argmax(probabilities(logits), axis=1, output_type=tf.int32)
            outputs.update(logits=logits, chosen=tf.where(label < 0, top, label))
            return outputs["chosen"][:, None]

        layers = raw_maps(network, arguments["inputs"], choose)
        found = fused(layers, grids, arguments["inside"])[..., 0]
        if min(found.shape[1:]) >= COARSE:
            found = median(found, MEDIAN)
        if run.config["unit"] == "patient":
            found = tf.reshape(found, (-1, 2, *found.shape[1:]))
        return found, outputs["logits"], outputs["chosen"]

    signature = {"inputs": input_spec(model), "label": tf.TensorSpec((None,), tf.int32)}
    signature["inside"] = tf.TensorSpec((None, size, size), tf.bool)
    return freeze(maps, signature, precision), finest(grids)


def median(maps, size):
    """Median of maps (N, h, w) over `size` x `size` cells; equal to `filters.median`."""
    around = size // 2
    wide = tf.pad(maps, [[0, 0], [around, around], [around, around]], "SYMMETRIC")
    height, width = maps.shape[1:]
    shifted = [wide[:, y : y + height, x : x + width] for y in range(size) for x in range(size)]
    return tf.sort(tf.stack(shifted, axis=-1), axis=-1)[..., size * size // 2]


def explained(maps, inputs, inside, label, names, error):
    """The map of one photograph, or of one pair; all of it zero where there is an error.

    Args:
        maps: of `cam_function`.
        inputs, inside: of the model, one row, and its fields of view.
        label: (1,) number of a label, or -1 for the likeliest.
        names: all L labels.
        error: (1,) what is wrong with the photograph, or "".

    Returns:
        map (1, h, w) or (1, 2, h, w), logits (1, L), chosen (1,), error (1,).
    """
    known = (label >= -1) & (label < len(names))
    wrong = f"label must lie from 0 to {len(names) - 1}, or be -1 for the likeliest"
    error = tf.where((error == "") & ~known, wrong, error)
    flat = tf.nest.flatten({"inputs": inputs, "inside": inside, "label": label})
    nothing = [tf.zeros((1, *x.shape[1:]), x.dtype) for x in maps.outputs]
    found = tf.cond(error[0] == "", lambda: list(maps(*flat)), lambda: nothing)
    found, logits, chosen = (
        tf.ensure_shape(x, y.shape) for x, y in zip(found, nothing, strict=True)
    )
    finite = tf.reduce_all(tf.math.is_finite(found))
    error = tf.where((error == "") & ~finite, NO_ANSWER, error)
    found = tf.where(finite, found, 0.0)
    return {"map": found, "logits": logits, "chosen": chosen, "error": error}


def field_of(seen, size):
    """Where the picture of a photograph that `reading.read` has seen shows its field of view."""
    return field_in_picture(seen["field"], seen["box"], *tf.unstack(seen["size"]), size)


def placed(name, maps, grid, inside, seen, error):
    """A map and where it lies on its photograph.

    Args:
        name: of the map among the outputs.
        maps: (1, h, w) in [0, 1].
        grid: where its cells stand in the picture, of `cam_function`.
        inside: (1, S, S), of `field_of`.
        seen: what `reading.read` gives of the photograph.
        error: (1,) why there is no map, or "".

    Returns:
        NAME: the map, 0 in cells without a part in the field of view. NAME_box (1, 4): its own box,
        [y0, x0, y1, x1] in pixels of the upright photograph; the middle of cell k lies at
        y0 + (k + .5) (y1 - y0) / h, and so across. NAME_overlay_bytes (1,): a PNG, see `overlay`.
        Zero and empty where there is no map or no photograph.
    """
    there = (error[0] == "") & (seen["size"][0] > 0)
    maps = tf.where(reached(inside, grid), maps, 0.0)
    png = tf.cond(there, lambda: overlay(maps[0], grid, seen), lambda: tf.constant(""))
    return {
        name: tf.where(there, maps, 0.0),
        f"{name}_box": tf.where(there, map_box(seen["box"], grid), 0.0)[None],
        f"{name}_overlay_bytes": png[None],
    }


def overlay(map, grid, seen):
    """What to lay over a photograph to see a map on it, as `explain.overlay.blend` draws it.

    Args:
        map: (h, w) in [0, 1].
        grid, seen: see `placed`.

    Returns:
        PNG of the photograph's shape, its longer side at most `MAX_SIDE`: colours, and how much
        they cover; all transparent where the map is 0, and outside of the field of view. Scalar
        string.
    """
    size = tf.cast(seen["size"], tf.float32)
    small = tf.maximum(1.0, tf.round(size * tf.minimum(1.0, MAX_SIDE / tf.reduce_max(size))))
    zoom = tf.tile(small / size, [2])
    height, width = tf.unstack(tf.cast(small, tf.int32))
    laid = map_to_original(map[None, ..., None], seen["box"] * zoom, height, width, grid)
    field = tf.concat([seen["field"][:4] * zoom, seen["field"][4:]], axis=0)
    laid = tf.where(field_on_photograph(field, height, width), laid[0, ..., 0], 0.0)
    laid = tf.clip_by_value(laid, 0.0, 1.0)
    table = tf.constant(COLOURS(np.arange(256), bytes=True)[:, :3])
    colours = tf.gather(table, tf.minimum(tf.cast(256 * laid, tf.int32), 255))
    cover = tf.cast(tf.round(255 * ALPHA * tf.minimum(laid / FULL, 1.0)), tf.uint8)
    return tf.io.encode_png(tf.concat([colours, cover[..., None]], axis=-1))
