"""Resamples of patients and the intervals they give."""

import numpy as np
import pytest

from fundus_diag.metrics import bootstrap, classification


def test_resamples_draw_whole_patients_and_do_not_depend_on_blocks_or_row_order():
    patients = np.array(list("aabcccd"))
    whole = np.concatenate(list(bootstrap.resamples(patients, 50, 1)), axis=1)
    pieces = np.concatenate(list(bootstrap.resamples(patients, 50, 1, block=7)), axis=1)
    np.testing.assert_array_equal(whole, pieces)
    assert (whole[0] == whole[1]).all()
    assert (whole[3] == whole[5]).all()
    first = [0, 2, 3, 6]  # one row of each patient
    np.testing.assert_array_equal(whole[first].sum(axis=0), 4)
    assert whole[first].std() > 0.5
    order = np.array([6, 3, 0, 2, 5, 1, 4])
    turned = np.concatenate(list(bootstrap.resamples(patients[order], 50, 1)), axis=1)
    np.testing.assert_array_equal(turned, whole[order])


def test_interval_of_a_mean_is_the_textbook_one_and_wider_for_twins():
    rng = np.random.default_rng(0)
    right = (rng.random(400) < 0.7).astype(float)
    y, one = np.ones((400, 1)), np.arange(400)

    def width(y, called, patients):
        draws = bootstrap.distribution(
            classification.statistic(y, np.full(y.shape, 0.5), called), patients, 2000, 0
        )
        (low, high), undefined = bootstrap.interval(draws["labels.accuracy"][:, 0])
        assert undefined == 0
        return low, high

    low, high = width(y, right[:, None], one)
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert [low, high] == pytest.approx([right.mean() - half, right.mean() + half], abs=0.006)
    twins = np.repeat(np.arange(400), 2)
    low_twins, high_twins = width(y[twins], right[twins][:, None], twins)
    assert [low_twins, high_twins] == pytest.approx([low, high], abs=1e-12)


def test_too_many_undefined_resamples_leave_no_interval():
    values = np.linspace(0, 1, 101)
    values[:11] = np.nan
    assert bootstrap.interval(values) == (None, 11)
    pair, undefined = bootstrap.interval(values[1:])
    assert undefined == 10
    assert pair == pytest.approx(np.percentile(np.linspace(0.11, 1, 90), [2.5, 97.5]))
    assert bootstrap.interval([]) == (None, 0)
