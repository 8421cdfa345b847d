"""Photographs as a server is sent them: what is wrong with one is said, never raised."""

import functools

import tensorflow as tf

from fundus_diag.data.labels import EYES
from fundus_diag.imaging.decode import look
from fundus_diag.imaging.header import MAX_BYTES, PROBLEMS
from fundus_diag.imaging.preprocess import preprocess_known
from fundus_diag.imaging.quality import blank
from fundus_diag.imaging.raw import is_jpeg, is_png

AT_ONCE = 2  # photographs decoded side by side: one of 100 megapixels may take 2 GB meanwhile
NO_EYE = "no photograph of either eye"
NO_ANSWER = "the network gives no finite answer"


def read(data, image_size, crop, field=False):
    """A photograph, or what is wrong with it, from a scalar string.

    `field`: whether its field of view is wanted at any crop.

    Returns:
        picture (S, S, 3), box (4,) and field (5,), see `preprocess`; size (2,) int32 of the upright
        photograph; error: "", or why there is no picture, and then all else is zero; blank: "", or
        that nothing is seen in it.
    """
    return _traced(image_size, crop, field or crop == "fundus")(data)


@functools.lru_cache(maxsize=4)
def _traced(image_size, crop, with_its_field):
    """One function for all signatures: its graph is large, and stands once in what is saved.

    But where only maps need the field of view.
    """
    specs = [tf.TensorSpec((), tf.string)]
    return tf.function(lambda x: _read(x, image_size, crop, with_its_field), specs, autograph=False)


def _read(data, image_size, crop, with_its_field):
    def whole(data):
        found = preprocess_known(data, raw, header, image_size, crop, with_its_field)
        return *found[:4], blank(found[4][None])[0], tf.constant(True)

    def nothing():
        picture = tf.zeros((image_size, image_size, 3))
        size = tf.zeros(2, tf.int32)
        return picture, tf.zeros(4), tf.zeros(5), size, tf.constant(""), tf.constant(False)

    def tried():
        # Damage behind the header shows while decoding, and an error would end the whole batch; a
        # data set can leave out what fails.
        one = tf.data.Dataset.from_tensors(data).map(whole).ignore_errors(log_warning=False)
        return one.concatenate(tf.data.Dataset.from_tensors(nothing())).take(1).get_single_element()

    with tf.device("CPU:0"):  # many small ops, and decoding runs nowhere else
        code, raw, header = look(tf.strings.substr(data, 0, MAX_BYTES + 1))  # one more: too heavy
        picture, box, field, size, nothing_seen, decoded = tf.cond(code == 0, tried, nothing)
        kind = tf.where(is_jpeg(raw), "JPEG", tf.where(is_png(raw), "PNG", "BMP"))
        damaged = tf.where(decoded, "", tf.strings.join(["damaged ", kind]))
        error = tf.where(code == 0, damaged, tf.gather(tf.constant(PROBLEMS), code))
    seen = {"picture": picture, "box": box, "field": field, "size": size}
    return seen | {"error": error, "blank": nothing_seen}


def read_all(images, image_size, crop):
    """Of strings (B,): pictures (B, S, S, 3), errors (B,) and `blank` (B,), see `read`."""

    def one(data):
        seen = read(data, image_size, crop)
        return seen["picture"], seen["error"], seen["blank"]

    text = tf.TensorSpec((), tf.string)
    signature = (tf.TensorSpec((image_size, image_size, 3), tf.float32), text, text)
    return tf.map_fn(one, images, parallel_iterations=AT_ONCE, fn_output_signature=signature)


def text_of_pair(errors, there):
    """One text a row (B,) of those of left and right (B, 2) where these are `there` (B, 2)."""
    said = there & (errors != "")
    left, right = (
        tf.where(said[:, k], tf.strings.join([f"{eye} eye: ", errors[:, k]]), "")
        for k, eye in enumerate(EYES)
    )
    between = tf.where(tf.reduce_all(said, axis=1), "; ", "")
    return tf.strings.join([left, between, right])
