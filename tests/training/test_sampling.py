import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fundus_diag.training import sampling
from fundus_diag.training.config import TrainConfig

NAN = np.nan
labels = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 6)),
    elements=st.sampled_from([0.0, 1.0, NAN]),
)


def test_rare_labels_are_repeated_up_to_the_median_count():
    y = np.zeros((100, 3))
    y[:40, 0], y[40:60, 1], y[60:65, 2] = 1, 1, 1  # counts 40, 20, 5: median 20
    np.testing.assert_allclose(sampling.label_repeats(y), [1, 1, 4])
    np.testing.assert_allclose(sampling.label_repeats(y, oversample_to=2), [1, 1, 8])
    np.testing.assert_allclose(sampling.label_repeats(y, oversample_to=0), [1, 1, 1])


def test_a_label_without_positives_is_neither_repeated_nor_part_of_the_median():
    y = np.zeros((30, 3))
    y[:20, 0], y[20:30, 1] = 1, 1  # counts 20, 10, 0: median of the first two is 15
    np.testing.assert_allclose(sampling.label_repeats(y), [1, 1.5, 1])
    np.testing.assert_allclose(sampling.positive_weights(y), [15 / 20, 15 / 10, 1])


def test_a_row_takes_the_largest_factor_of_its_labels():
    y = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [NAN, 1, NAN]])
    got = sampling.row_repeats(y, np.array([1, 2.5, 4]))
    np.testing.assert_allclose(got, [4, 1, 1, 2.5])


def test_weights_come_from_the_counts_after_repetition():
    y = np.zeros((100, 3))
    y[:40, 0], y[40:60, 1], y[60:65, 2] = 1, 1, 1
    factors = sampling.row_repeats(y, sampling.label_repeats(y))
    # After repetition the counts are 40, 20, 20: what oversampling evened out is not weighed again.
    np.testing.assert_allclose(sampling.positive_weights(y, factors), [0.5, 1, 1])


def test_multiplied_weights_raise_what_is_repeated_a_second_time():
    y = np.zeros((100, 3))
    y[:40, 0], y[40:60, 1], y[60:65, 2] = 1, 1, 1
    _, (_, repeats, weights) = plan_of(y, pos_weight="multiplied")
    np.testing.assert_allclose(repeats, [1, 1, 4])
    np.testing.assert_allclose(weights, [0.5, 1, 4])
    _, (_, _, weights) = plan_of(y, pos_weight="none")
    np.testing.assert_allclose(weights, 1)
    _, (factors, _, weights) = plan_of(y, pos_weight="multiplied", oversample_to=0)
    np.testing.assert_allclose(factors, 1)
    np.testing.assert_allclose(weights, [0.5, 1, 4])


def rare(counts, rows):
    """Labels with so many positives each, no two in one row."""
    y, first = np.zeros((rows, len(counts))), 0
    for k, count in enumerate(counts):
        y[first : first + count, k] = 1
        first += count
    return y


def plan_of(y, **flags):
    here = pathlib.Path()
    config = TrainConfig(here, here, here, weights="none", image_size=32, **flags).resolved()
    return config, sampling.sampling_plan(config, y)


def test_a_handful_of_positives_is_not_shown_a_thousand_times():
    y = rare([40_000, 7_720, 4], 70_000)
    config, (factors, repeats, weights) = plan_of(y)
    np.testing.assert_allclose(repeats, [1, 1, 10])
    assert factors.max() == 10
    assert weights[2] == 1  # nor does the loss make up for it
    (line,) = sampling.held_back(config, y, ["N", "D", "G"])
    assert line == (
        "label G: 4 positives in 70000 rows of train: each shown 10 times an epoch, not 1930 "
        "(--most-repeats)"
    )
    config, (factors, _, weights) = plan_of(y, most_repeats=0.0)  # as it was
    assert factors.max() == 1930
    assert sampling.held_back(config, y, ["N", "D", "G"]) == []
    config, (factors, _, _) = plan_of(y, most_repeats=50.0)
    assert factors.max() == 50
    # Without repetition the weight is held back in its place.
    _, (factors, _, weights) = plan_of(y, oversample_to=0.0)
    assert factors.max() == 1
    assert weights[2] == 10


def test_nothing_is_held_back_where_labels_are_not_that_rare():
    y = rare([400, 200, 40, 25], 1000)
    config, (factors, repeats, weights) = plan_of(y)
    np.testing.assert_allclose(repeats, [1, 1, 3, 4.8])
    assert sampling.held_back(config, y, list("NDGC")) == []
    # What the weights do: they lower the common; of the counts shown, 400 200 120 120, the median
    # is 160.
    np.testing.assert_allclose(weights, [0.4, 0.8, 4 / 3, 4 / 3])


@given(labels, st.floats(0, 5), st.floats(1, 20))
def test_no_positive_counts_more_often_than_allowed(y, target, most):
    repeats = sampling.label_repeats(y, target, most)
    assert (repeats <= most).all()
    assert (repeats <= sampling.label_repeats(y, target)).all()
    factors = sampling.row_repeats(y, repeats)
    weights = sampling.positive_weights(y, factors, most)
    assert (weights <= sampling.positive_weights(y, factors) + 1e-12).all()
    for k in np.flatnonzero((y == 1).any(axis=0)):
        mean = factors[y[:, k] == 1].mean()
        assert weights[k] * mean <= max(most, mean) + 1e-9


@given(labels, st.floats(0, 5))
def test_repetition_lifts_every_rare_label_to_the_target_and_no_row_is_lost(y, target):
    repeats = sampling.label_repeats(y, target)
    factors = sampling.row_repeats(y, repeats)
    assert (factors >= 1).all()
    counts = (y == 1).sum(axis=0)
    positive = counts > 0
    if positive.any():
        median = np.median(counts[positive])
        after = (factors[:, None] * (y == 1)).sum(axis=0)
        wanted = np.minimum(target * median, np.inf)
        rare = positive & (counts < median)
        assert (after[rare] >= np.maximum(wanted, counts[rare]) - 1e-6).all()
    order = sampling.draw_epoch(factors, seed=3, epoch=1)
    assert set(order) == set(range(len(y)))


def test_an_epoch_is_drawn_again_from_its_seed_and_differs_from_the_next():
    factors = np.full(50, 1.5)
    first = sampling.draw_epoch(factors, seed=7, epoch=1)
    np.testing.assert_array_equal(first, sampling.draw_epoch(factors, seed=7, epoch=1))
    assert not np.array_equal(first, sampling.draw_epoch(factors, seed=7, epoch=2))


def test_fractions_are_right_on_average():
    factors = np.array([1.0, 1.25, 2.5, 3.0])
    drawn = [np.bincount(sampling.draw_epoch(factors, 0, e), minlength=4) for e in range(4000)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), factors, atol=0.03)
    assert (np.array(drawn)[:, [0, 3]] == [1, 3]).all()  # whole factors are exact


def test_sensitivity_raises_the_weight_of_what_is_missed_smoothly_and_within_bounds():
    base = np.array([1.0, 2.0, 0.5])
    confusion = np.array([[[9, 0], [0, 10]], [[9, 0], [10, 0]], [[9, 0], [0, 0]]])
    got = sampling.reweight_by_sensitivity(base, base, confusion, bound=3, smoothing=0.5)
    # never missed: stays; always missed: half way to 3 x 2; nothing to miss: stays.
    np.testing.assert_allclose(got, [1, 0.5 * 2 + 0.5 * 6, 0.5])
    weights = base
    for _ in range(60):
        weights = sampling.reweight_by_sensitivity(weights, base, confusion, bound=3)
    np.testing.assert_allclose(weights, [1, 6, 0.5], rtol=1e-6)


def test_smoothing_is_the_share_of_the_old_weight():
    confusion = np.array([[[9, 0], [5, 5]]])  # half is missed: the target is 1 + (3 - 1) / 2
    got = sampling.reweight_by_sensitivity(
        np.array([1.0]), np.array([1.0]), confusion, bound=3, smoothing=0.9
    )
    np.testing.assert_allclose(got, [0.9 * 1 + 0.1 * 2])


@pytest.mark.parametrize("missed", [0, 3, 10])
def test_reweighting_never_lowers_below_the_base(missed):
    confusion = np.array([[[5, 5], [missed, 10 - missed]]])
    got = sampling.reweight_by_sensitivity(np.array([2.0]), np.array([2.0]), confusion)
    assert 2.0 <= got[0] <= 6.0
