"""A photograph in no more pixels than a picture of it needs, and its field of view.

Decoding is most of the work on originals of several megapixels, and a JPEG can be decoded at a half
or a quarter of its sides for much less (`decode.reduction`). Two pixels for each one of the picture
are left, so that the resize still has the last word on what is kept: pictures differ from those of
all pixels by less than rounding does, a tenth of a level on average.
"""

import functools

import tensorflow as tf

from fundus_diag.imaging.decode import decode_known, reduction, sound
from fundus_diag.imaging.field import locate_field
from fundus_diag.imaging.traced import CONTENT, traced

ENOUGH = 2  # pixels of the photograph for each of the picture, along a side
PIXELS = tf.TensorSpec((None, None, 3), tf.uint8)
# A large graph, made once for all sizes of pictures: it knows none.
traced_field = traced(locate_field, PIXELS)


def read_known(data, raw, header, image_size, crop, wanted=True):
    """The photograph of a file in which `decode.look` found nothing wrong, reduced; in a graph.

    Args:
        data, raw, header: see `decode.decode_known`.
        image_size: side of the picture that is wanted of it, pixels; int32.
        crop: see `preprocess.preprocess`. With "fundus" the field decides what is enough.
        wanted: whether the field of view is looked for; it must be with "fundus".

    Returns:
        image: (h, w, 3) uint8 RGB, upright. field: (5,) of `field.locate_field` in its pixels, 0
        where it is not wanted. times: () int32, pixels of the photograph to one of these, along a
        side.
    """
    least = ENOUGH * image_size

    def read(times, *_):
        image = decode_known(data, raw, header, times)
        field = traced_field(image) if wanted else tf.zeros(5)
        y0, x0, y1, x1, _ = tf.unstack(field)
        enough = tf.maximum(y1 - y0, x1 - x0) >= tf.cast(least, tf.float32)
        enough |= (times == 1) | (crop == "none")
        return tf.where(enough, 0, 1), image, field, times

    # A loop, so that the graph holds once what is done a second time where the field is small.
    begin = reduction(raw, header, least), tf.zeros((0, 0, 3), tf.uint8), tf.zeros(5), 0
    shapes = tf.TensorShape([]), PIXELS.shape, tf.TensorShape([5]), tf.TensorShape([])
    return tf.while_loop(
        lambda times, *_: times > 0,
        read,
        begin,
        shapes,
        parallel_iterations=1,
        maximum_iterations=2,
    )[1:]


@functools.cache
def reader(crop, wanted):
    """`read_known` of (content of a file, image_size) as a graph of its own; see `traced`.

    It raises tf.errors.InvalidArgumentError as `decode.decode` does.
    """

    def read(data, image_size):
        return read_known(*sound(data), image_size, crop, wanted)

    return traced(read, CONTENT, tf.TensorSpec((), tf.int32))


def in_photograph(box, times):
    """A box (4,), or a field (5,), of the pixels of `read_known`, in those of the photograph."""
    factor = tf.cast(times, tf.float32)
    return tf.concat([box[:4] * factor, box[4:]], axis=0)
