"""tf.data pipelines of single eyes or pairs of eyes.

Pictures are decoded once (`load_pictures`), which also finds every file that cannot be read
before training starts. An epoch of training is a list of row numbers (`sampling.draw_epoch`);
validation and test take each row exactly once, in order, never augmented.
"""

import contextlib

import numpy as np
import tensorflow as tf

from fundus_diag.data.augment import augmenter
from fundus_diag.imaging import preprocess
from fundus_diag.imaging.image_file import check_files, read_bytes
from fundus_diag.utils.errors import DataError


def training_batches(pictures, rows, y, order, batch_size, augmentation, *, drop_remainder=True):
    """One epoch of training batches.

    Args:
        pictures: `Pictures`.
        rows: (N,) picture numbers, or (N, 2) of left and right eye, -1 where there is none.
        y: (N, L) float32 of 1, 0, NaN.
        order: row numbers of this epoch, with repetitions.
        batch_size: an incomplete last batch is left out (batch statistics of one or two pictures
            say little, and each epoch is drawn anew), unless it is the only one.
        augmentation: arguments of `augmenter`.
        drop_remainder: False keeps that last batch.

    Returns:
        tf.data.Dataset of (inputs, y), the same bit by bit at every call; inputs are (B, S, S, 3)
        float32, or for pairs a dict of `images` (B, 2, S, S, 3) and `mask` (B, 2).
    """
    batch_size = min(batch_size, len(order))
    augment = augmenter(**augmentation)
    y = tf.constant(y, tf.float32)

    def prepare(step, chosen_rows, images, mask):
        images, labels = augment(step, images, tf.gather(y, chosen_rows))
        return _inputs(images, mask), labels

    return (
        _fetch(pictures, rows, np.asarray(order), batch_size, drop_remainder)
        .enumerate()
        .map(lambda step, batch: prepare(step, *batch), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(2)
        .with_options(_unsharded())
    )


def scoring_batches(pictures, rows, batch_size):
    """Batches of inputs, each row exactly once, in order, as photographed."""
    fetched = _fetch(pictures, rows, np.arange(len(rows)), batch_size, drop_remainder=False)
    batches = fetched.map(lambda _, images, mask: _inputs(tf.cast(images, tf.float32), mask))
    return batches.prefetch(2).with_options(_unsharded())


def _fetch(pictures, rows, order, batch_size, drop_remainder):
    """Dataset of (row numbers, images, mask); mask (B, 0) for single eyes."""
    rows = np.asarray(rows, np.int64)
    pairs = rows.ndim == 2
    size = pictures.image_size
    # The place of a missing eye is filled with its fellow, mirrored. The mask keeps it away from
    # the head; a black picture would still bend the batch statistics of the encoder.
    mask = (rows >= 0).astype(np.float32) if pairs else np.zeros((len(rows), 0), np.float32)
    filled = np.where(rows >= 0, rows, rows[:, ::-1]) if pairs else rows

    def complete(chosen, images):
        images = tf.ensure_shape(
            images, (None, 2, size, size, 3) if pairs else (None, size, size, 3)
        )
        seen = tf.gather(mask, chosen)
        if pairs:
            here = tf.reshape(seen, (-1, 2, 1, 1, 1)) > 0
            images = tf.where(here, images, tf.reverse(images, [-2]))
        return chosen, images, seen

    dataset = tf.data.Dataset.from_tensor_slices(tf.constant(order, tf.int64))
    if pictures.array is not None:
        dataset = dataset.batch(batch_size, drop_remainder=drop_remainder).map(
            lambda chosen: (
                chosen,
                tf.numpy_function(lambda i: pictures.array[filled[i]], [chosen], tf.uint8),
            ),
            num_parallel_calls=2,
        )
    else:
        dataset = dataset.map(
            lambda chosen: (chosen, _decode(pictures, tf.gather(filled, chosen))),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).batch(batch_size, drop_remainder=drop_remainder)
    return dataset.map(complete)


@contextlib.contextmanager
def naming_failures(pictures):
    """Turns what TensorFlow says when a photograph fails in an epoch into one line that names it.

    Only of pictures that are decoded when they are asked for.

    Raises:
        DataError: photographs could be read when the run began, and cannot be now.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if pictures.array is not None or isinstance(error, tf.errors.ResourceExhaustedError):
            raise
        # A file that changed is found by looking again; one that is back, by what was said of it.
        bad = list(pictures.failures) or check_files(pictures.paths)
        if not bad:
            raise
        raise DataError(f"{bad[0][0]}: {bad[0][1]}; go on with --resume") from error


def _decode(pictures, numbers):
    paths = tf.constant([str(p) for p in pictures.paths])

    def read(path):
        try:
            return read_bytes(path.decode())
        except DataError as error:
            name = path.decode()
            pictures.failures.append((name, str(error).removeprefix(f"{name}: ")))
            raise

    def one(number):
        data = tf.numpy_function(read, [paths[number]], tf.string)
        data = tf.ensure_shape(data, ())
        picture, _ = preprocess.preprocess(data, pictures.image_size, pictures.crop)
        return picture

    if numbers.shape.rank == 0:
        return one(numbers)
    return tf.stack([one(numbers[0]), one(numbers[1])])


def _inputs(images, mask):
    return images if mask.shape[1] == 0 else {"images": images, "mask": mask}


def _unsharded():
    """On one machine with several devices each batch is split; the data set itself is not."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
