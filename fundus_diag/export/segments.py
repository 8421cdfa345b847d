"""A segmenter for other programs: from the bytes of photographs to masks of their own size.

A SavedModel has the signatures `serving_default` and `segment`, which are one, and `serve_pixels`;
ONNX and OpenVINO take windows of pictures, as the network does.
"""

from dataclasses import replace

import cv2
import numpy as np
import tensorflow as tf

from fundus_diag.export.chunks import in_chunks
from fundus_diag.export.graph import calibrated, called
from fundus_diag.export.reading import NO_ANSWER, read
from fundus_diag.export.samples import drawn_photographs
from fundus_diag.imaging.inside import field_on_photograph
from fundus_diag.imaging.preprocess import loaded, map_to_original
from fundus_diag.models.geometry import pixels
from fundus_diag.runs.freeze import freeze, input_spec
from fundus_diag.runs.windows import starts, weights
from fundus_diag.utils.errors import DataError

LEVELS = 255  # of a probability in a PNG
AT_ONCE = 4  # windows
# Share of the pixels of a drawn photograph that may be called otherwise than the run does.
OTHERWISE = {"float32": 1e-3, "bfloat16": 0.02}


def segment_signatures(run, precision="float32"):
    """The functions of an exported segmenter, by the name of their signature.

    `segment` takes `image_bytes` (B,) and returns a dict: `class` (B, K), names; `mask_bytes`
    (B, K), PNG files of the upright photograph's size, 255 where the class is called; `probability_
    bytes` (B, K), the same of probabilities in 255ths; `area` (B, K), pixels that are called;
    `gradable` (B,); `error` (B,). Files are empty in a row that cannot be answered.

    Args:
        run: `segmenter.Segmenter`.
        precision: of the network, see `freeze.freeze`.
    """
    size, side = run.config["image_size"], run.config["patch_size"]
    crop, classes = run.config["crop"], len(run.classes)
    frozen = freeze(lambda x: run.model(x, training=False), input_spec(run.model), precision)

    def network(windows):
        return tf.ensure_shape(frozen(windows)[0], (None, side, side, classes))

    sent = tf.TensorSpec((None,), tf.string, "image_bytes")

    @tf.function(input_signature=[sent], autograph=False)
    def segment(image_bytes):
        def answer(image_bytes):
            seen = read(image_bytes[0], size, crop, field=True)
            return _answer(run, seen, over_picture(network, seen["picture"], run.config))

        return in_chunks(answer, [image_bytes], 1)

    spec = tf.TensorSpec((None, side, side, 3), tf.float32, "images")

    @tf.function(input_signature=[spec], autograph=False)
    def serve_pixels(images):
        probability = calibrated(run, network(images), tf.float32)
        return {"probability": probability, "positive": called(run, probability)}

    return {"serving_default": segment, "segment": segment, "serve_pixels": serve_pixels}


def over_picture(network, picture, config):
    """As `windows.over_windows`, in TensorFlow ops: probabilities (S, S, K) of a picture."""
    size, side = config["image_size"], config["patch_size"]
    begins = starts(size, side, config["overlap"])
    corners = np.array([(y, x) for y in begins for x in begins], np.int32)
    weight = tf.constant(weights(side)[..., None])
    share = np.zeros((size, size, 1), np.float32)
    for y, x in corners:
        share[y : y + side, x : x + side] += weights(side)[..., None]
    classes = network(tf.zeros((1, side, side, 3))).shape[-1]

    def step(first, total):
        part = tf.constant(corners)[first : first + AT_ONCE]
        cut = tf.map_fn(
            lambda at: tf.slice(picture, [at[0], at[1], 0], [side, side, 3]),
            part,
            fn_output_signature=tf.TensorSpec((side, side, 3), tf.float32),
        )
        said = weight * tf.sigmoid(network(cut))
        laid = tf.map_fn(
            lambda one: tf.pad(
                one[1],
                [
                    [one[0][0], size - side - one[0][0]],
                    [one[0][1], size - side - one[0][1]],
                    [0, 0],
                ],
            ),
            (part, said),
            fn_output_signature=tf.TensorSpec((None, None, classes), tf.float32),
        )
        total += tf.ensure_shape(tf.reduce_sum(laid, axis=0), (size, size, classes))
        return first + AT_ONCE, total

    nothing = tf.zeros((size, size, classes))
    _, total = tf.while_loop(
        lambda first, _: first < len(corners), step, (0, nothing), parallel_iterations=1
    )
    return total / tf.constant(share)


def check_segments(run, folder, precision):
    """Loads a SavedModel and compares its masks with the run's on drawn photographs.

    Returns:
        {"photographs", "largest_difference" of a probability, "called_otherwise"}.

    Raises:
        DataError: more pixels are called otherwise than `OTHERWISE` allows.
    """
    served = tf.saved_model.load(str(folder)).signatures
    files = list(drawn_photographs(3))
    found = served["segment"](image_bytes=tf.constant(files))
    apart, otherwise = 0.0, 0.0
    for i, data in enumerate(files):
        one = loaded(data, run.config["image_size"], run.config["crop"])
        field = field_on_photograph(one.field, *one.photograph.shape[:2]).numpy()
        want = run.on_photograph(one) * field[..., None]
        for k in range(len(run.classes)):
            said, mask = (_pixels(found[x][i, k]) for x in ("probability_bytes", "mask_bytes"))
            apart = max(apart, np.abs(said / LEVELS - want[..., k]).max() - 0.5 / LEVELS)
            differs = (mask > 0) != (want[..., k] >= np.float32(run.thresholds[k]))
            otherwise = max(otherwise, float(differs.mean()))
    if not otherwise <= OTHERWISE[precision]:
        raise DataError(
            f"the export is not what the run is: {otherwise:.2%} of a photograph's pixels are "
            "called otherwise: nothing was written"
        )

    facts = {"photographs": len(files), "largest_difference": max(0.0, float(apart))}
    return facts | {"called_otherwise": otherwise}


def windows_of(run):
    """The run as one of windows: its pictures have the size that the network sees."""
    return replace(run, config=run.config | {"image_size": run.config["patch_size"]})


def _answer(run, seen, probability):
    """A row of `segment_signatures`."""
    height, width = tf.unstack(tf.maximum(seen["size"], 1))
    grid = pixels(run.config["image_size"])
    laid = map_to_original(probability[None], seen["box"], height, width, grid)[0]
    field = field_on_photograph(seen["field"], height, width)
    laid = tf.where(field[..., None], laid, 0.0)
    finite = tf.reduce_all(tf.math.is_finite(laid))
    error = tf.where((seen["error"] == "") & ~finite, NO_ANSWER, seen["error"])
    there = error == ""
    mask = (laid >= tf.constant(np.maximum(run.thresholds, 1e-9), tf.float32)) & there
    levels = tf.cast(tf.round(tf.where(finite, laid, 0.0) * LEVELS), tf.uint8)

    def files(planes):
        made = [tf.io.encode_png(planes[..., k : k + 1]) for k in range(len(run.classes))]
        return tf.where(there, tf.stack(made), "")[None]

    nothing_seen = tf.where(there, seen["blank"], error)
    return {
        "class": tf.constant([run.classes]),
        "mask_bytes": files(tf.cast(mask, tf.uint8) * 255),
        "probability_bytes": files(levels),
        "area": tf.reduce_sum(tf.cast(mask, tf.int32), axis=(0, 1))[None],
        "gradable": (nothing_seen == "")[None],
        "error": nothing_seen[None],
    }


def _pixels(data):
    return cv2.imdecode(np.frombuffer(data.numpy(), np.uint8), cv2.IMREAD_UNCHANGED)
