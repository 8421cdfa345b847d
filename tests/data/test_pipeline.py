import numpy as np
import pytest
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


@pytest.mark.parametrize("pairs", [False, True])
def test_a_deterministic_epoch_can_be_made_again(photographs, pairs):
    pictures, _ = load_pictures(photographs, 32)
    rows = np.array([[0, 1], [2, -1], [4, 5]]) if pairs else np.arange(3)
    y = np.zeros((3, 1), "float32")
    settings = {"seed": [5, 2], "mixup": 0.3}
    runs = []
    for _ in range(2):
        made = training_batches(pictures, rows, y, [0, 1, 2, 0, 1, 2] * 4, 3, settings, True)
        runs.append([x["images"].numpy() if pairs else x.numpy() for x, _ in made])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
