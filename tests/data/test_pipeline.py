import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from discs import levels, write_discs

from fundus_diag.data.pictures import load_pictures
from fundus_diag.data.pipeline import scoring_batches, training_batches

PLAIN = {"seed": [0, 1], "geometry": False, "colour": False}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("photographs"))


def test_scoring_takes_each_row_once_in_order(photographs):
    pictures, _ = load_pictures(photographs, 32)
    rows = np.array([4, 0, 6, 2, 1])
    got = np.concatenate([levels(x) for x in scoring_batches(pictures, rows, 2)])
    np.testing.assert_array_equal(got, rows)


def test_training_follows_the_order_drawn_with_each_rows_own_labels(photographs):
    pictures, _ = load_pictures(photographs, 32)
    rows = np.array([5, 3, 1])  # row number -> photograph
    y = np.array([[1, 0], [0, 1], [np.nan, 1]], "float32")
    order = [2, 0, 2, 1, 0, 2]
    batches = list(training_batches(pictures, rows, y, order, 2, PLAIN))
    np.testing.assert_array_equal(np.concatenate([levels(x) for x, _ in batches]), rows[order])
    np.testing.assert_array_equal(np.concatenate([z for _, z in batches]), y[order])


def test_an_incomplete_last_batch_of_training_is_left_out_unless_it_is_the_only_one(photographs):
    pictures, _ = load_pictures(photographs, 32)
    y = np.zeros((7, 1), "float32")
    sizes = [len(z) for _, z in training_batches(pictures, np.arange(7), y, range(7), 3, PLAIN)]
    assert sizes == [3, 3]
    sizes = [len(z) for _, z in training_batches(pictures, np.arange(7), y, range(2), 3, PLAIN)]
    assert sizes == [2]


@contextlib.contextmanager
def busy():
    """Threads that take the cores away, and give them back, at moments of their own."""
    stop = threading.Event()

    def work():
        rng = np.random.default_rng()
        while not stop.is_set():
            matrix = rng.random((rng.integers(100, 400),) * 2)
            matrix @ matrix

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(work)
        try:
            yield
        finally:
            stop.set()


@pytest.mark.parametrize(
    ("pairs", "mixing"), [(False, {"mixup": 0.3, "cutmix": 1.0}), (True, {"mixup": 0.3})]
)
def test_an_epoch_is_the_same_bit_by_bit_whatever_the_threads_do(photographs, pairs, mixing):
    pictures, _ = load_pictures(photographs, 32)
    rows = np.array([[0, 1], [2, -1], [4, 5]]) if pairs else np.arange(3)
    y = np.eye(3, dtype="float32")
    order = [0, 1, 2] * 40

    def epoch():
        made = training_batches(pictures, rows, y, order, 3, {"seed": [5, 2], **mixing})
        return [np.concatenate([np.ravel(part) for part in (*tf.nest.flatten(x), labels)])
                for x, labels in made]  # fmt: skip

    alone = epoch()
    with busy():
        beside_others = epoch()
    assert len(alone) == 40
    assert len({x.tobytes() for x in alone}) == 40
    for a, b in zip(alone, beside_others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_row_is_changed_by_its_place_in_the_epoch_alone(photographs):
    """A batch that stands in another epoch at the same place is changed in the same way."""
    pictures, _ = load_pictures(photographs, 32)
    y = np.zeros((7, 1), "float32")
    settings = {"seed": [5, 2]}
    one, other = (
        [x.numpy() for x, _ in training_batches(pictures, np.arange(7), y, order, 2, settings)]
        for order in ([0, 1, 2, 3, 4, 5], [6, 6, 2, 3, 1, 5])
    )
    np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_array_equal(one[2][1], other[2][1])
    assert np.abs(one[2][0] - other[2][0]).max() > 1
