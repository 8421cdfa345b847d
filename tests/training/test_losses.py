import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.training.losses import (
    OverlapCrossentropy,
    WeightedBinaryCrossentropy,
    grade_loss,
)

NAN = np.nan


def by_hand(y_true, logits, pos_weight):
    """Mean over all entries of the batch of the weighted cross-entropy, ungraded ones 0."""
    total = 0.0
    for i in range(y_true.shape[0]):
        for k in range(y_true.shape[1]):
            p = 1 / (1 + np.exp(-logits[i, k]))
            if y_true[i, k] == 1:
                total -= pos_weight[k] * np.log(p)
            elif y_true[i, k] == 0:
                total -= np.log(1 - p)
    return total / y_true.size


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    y = rng.choice([0.0, 1.0, NAN], size=(7, 4)).astype("float32")
    return y, rng.normal(size=(7, 4)).astype("float32"), np.array([0.5, 1, 2, 7])


def test_weighted_bce_equals_its_definition(batch):
    y, logits, weights = batch
    got = float(WeightedBinaryCrossentropy(weights)(y, logits))
    assert got == pytest.approx(by_hand(y, logits, weights), rel=1e-5)


def test_an_ungraded_label_weighs_nothing_whatever_the_network_says(batch):
    y, logits, weights = batch
    other = np.where(np.isnan(y), 50.0, logits).astype("float32")
    loss = WeightedBinaryCrossentropy(weights)
    assert float(loss(y, logits)) == float(loss(y, other))


def test_gradients_are_finite_and_zero_where_nothing_is_graded(batch):
    y, logits, weights = batch
    y = y.copy()
    y[2] = NAN
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = WeightedBinaryCrossentropy(weights)(y, z)
    gradient = tape.gradient(value, z).numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[np.isnan(y)], 0)
    assert (gradient[~np.isnan(y)] != 0).all()


def test_gradient_on_a_positive_grows_with_its_weight_and_on_a_negative_does_not():
    gradients = []
    for weight in (1.0, 5.0):
        z = tf.Variable([[0.3, 0.3]])
        with tf.GradientTape() as tape:
            value = WeightedBinaryCrossentropy([weight, weight])(np.array([[1.0, 0.0]]), z)
        gradients.append(tape.gradient(value, z).numpy()[0])
    assert gradients[1][0] == pytest.approx(5 * gradients[0][0], rel=1e-5)
    assert gradients[1][1] == pytest.approx(gradients[0][1], rel=1e-6)


def test_extreme_logits_stay_finite():
    y, logits = np.array([[1.0, 0.0]]), np.array([[-1e4, 1e4]])
    assert float(WeightedBinaryCrossentropy([1, 1])(y, logits)) == pytest.approx(1e4, rel=1e-3)


def test_grade_loss_with_smoothing_equals_its_definition():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(6, 5))
    y = np.eye(5)[rng.integers(5, size=6)]
    smooth = 0.9 * y + 0.1 / 5
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    want = -(smooth * log_p).sum(axis=1).mean()
    assert float(grade_loss(0.1)(y, logits)) == pytest.approx(want, rel=1e-5)


def overlap_by_hand(y, logits, m):
    """Pixel by pixel, class by class, in float64."""
    entropies, lost = [], []
    for k in range(y.shape[-1]):
        tp = fn = fp = 0.0
        known = 0
        for truth, z in zip(y[..., k].ravel(), logits[..., k].ravel().astype(float), strict=True):
            if np.isnan(truth):
                continue
            p = 1 / (1 + np.exp(-z))
            entropies.append(-truth * np.log(p) - (1 - truth) * np.log(1 - p))
            tp, fn, fp = tp + p * truth, fn + (1 - p) * truth, fp + p * (1 - truth)
            known += 1
        if tp + fn >= 1:
            lost.append(-np.log((tp + 0.01) / (tp + m * fn + (1 - m) * fp + 0.01)))
    return np.mean(entropies) + np.mean(lost)


@pytest.fixture
def segments():
    """Masks (3, 6, 5, 4) with shares and NaN, the last class known nowhere; and logits."""
    rng = np.random.default_rng(3)
    y = rng.choice([0.0, 0.0, 1.0, 0.25, NAN], size=(3, 6, 5, 4)).astype("float32")
    y[1, ..., 0] = NAN
    y[..., 3] = NAN
    return y, rng.normal(0, 2, y.shape).astype("float32")


@pytest.mark.parametrize("miss_weight", [0, 0.5, 0.7, 1])
def test_overlap_and_cross_entropy_equal_their_definition(segments, miss_weight):
    y, logits = segments
    got = float(OverlapCrossentropy(miss_weight)(y, logits))
    assert got == pytest.approx(overlap_by_hand(y, logits, miss_weight), rel=1e-5)


def test_the_overlap_is_that_of_dice_unless_another_weight_is_given(segments):
    y, logits = segments
    assert float(OverlapCrossentropy()(y, logits)) == float(OverlapCrossentropy(0.5)(y, logits))


def test_a_class_that_nobody_looked_for_in_the_batch_weighs_nothing(segments):
    y, logits = segments
    loss = OverlapCrossentropy()
    want = float(loss(y[..., :3], logits[..., :3]))
    assert float(loss(y, logits)) == pytest.approx(want, rel=1e-6)
    other = np.where(np.isnan(y), 50.0, logits).astype("float32")
    assert float(loss(y, other)) == float(loss(y, logits))
    nothing = np.full_like(y, NAN)
    assert float(loss(nothing, logits)) == 0


@pytest.mark.parametrize("largest", [1, 1000])
def test_the_gradient_of_the_overlap_is_finite_and_zero_where_nothing_is_known(segments, largest):
    y, logits = segments
    z = tf.Variable(logits if largest == 1 else np.sign(logits) * np.float32(largest))
    with tf.GradientTape() as tape:
        value = OverlapCrossentropy()(y, z)
    gradient = tape.gradient(value, z).numpy()
    assert np.isfinite(float(value))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[np.isnan(y)], 0)
    if largest == 1:
        assert (gradient[~np.isnan(y)] != 0).all()
    else:  # what is wrong by so much is still pulled back
        wrong = (y == 1) & (logits < 0)
        assert (gradient[wrong] < 0).all()
        wrong = (y == 0) & (logits > 0)
        assert (gradient[wrong] > 0).all()
    z.assign(np.full_like(logits, 5))
    with tf.GradientTape() as tape:
        value = OverlapCrossentropy()(np.full_like(y, NAN), z)
    np.testing.assert_array_equal(tape.gradient(value, z).numpy(), 0)


def test_the_weight_of_misses_moves_the_overlap_as_the_formula_says():
    """Of a hundred pixels of a class sixty are found, and twenty others beside them."""
    y, said = np.zeros((2, 10, 20, 1), "float32"), np.zeros((2, 10, 20, 1), "float32")
    y[0, :, :10], said[0, :, 4:10], said[1, 0] = 1, 1, 1
    logits = (2 * said - 1) * np.float32(100)
    entropy = 60 * 100 / 400  # forty and twenty pixels, each wrong by a hundred
    for m in (0, 0.25, 0.5, 1):
        index = (60 + 0.01) / (60 + m * 40 + (1 - m) * 20 + 0.01)
        got = float(OverlapCrossentropy(m)(y, logits))
        assert got == pytest.approx(entropy - np.log(index), rel=1e-5), m


def test_what_is_sure_and_right_costs_nothing_and_what_is_sure_and_wrong_all():
    rng = np.random.default_rng(0)
    y = (rng.random((4, 16, 16, 2)) < 0.4).astype("float32")
    right = (2 * y - 1) * np.float32(30)
    assert float(OverlapCrossentropy()(y, right)) == pytest.approx(0, abs=1e-6)
    # The entropy is the logit; of the overlap all is lost but what is taken for found.
    pixels = 4 * 16 * 16
    got = float(OverlapCrossentropy()(y, -right))
    assert got == pytest.approx(30 + np.log(pixels / 2 / 0.01 + 1), rel=1e-5)
    nothing = np.zeros_like(y)
    assert float(OverlapCrossentropy()(nothing, nothing - 30)) == pytest.approx(0, abs=1e-6)


def test_the_overlap_is_taken_over_the_whole_batch_and_a_small_class_weighs_as_a_large_one():
    """A picture without the class would else be lost whole with the first pixel that is called."""
    y, logits = np.zeros((2, 8, 8, 2), "float32"), np.full((2, 8, 8, 2), -30, "float32")
    y[0, :, :, 0], logits[0, :, :, 0] = 1, 30
    y[0, 0, 0, 1] = 1  # one pixel, missed: all of its index is lost, of one class of two
    expected = 30 / y.size - np.log(0.01 / 0.51) / 2
    assert float(OverlapCrossentropy()(y, logits)) == pytest.approx(expected, rel=1e-5)
    y[1], logits[1] = y[0].copy(), logits[0].copy()
    y[1, 0, 0, 1], logits[1, 0, 0, 1] = 0, -30
    y[1, 0, 1, 1], logits[1, 0, 1, 1] = 1, 30  # found in the other picture
    expected = 30 / y.size - np.log(1.01 / 1.51) / 2
    assert float(OverlapCrossentropy()(y, logits)) == pytest.approx(expected, rel=1e-5)


def test_a_class_of_less_than_a_pixel_in_the_batch_has_no_index():
    y, logits = np.zeros((1, 4, 4, 2), "float32"), np.full((1, 4, 4, 2), -9, "float32")
    y[0, :2, 0, 0], y[0, 0, 0, 1] = 0.5, 0.9
    tp = 1 / (1 + np.exp(9.0))
    alone = -np.log((tp + 0.01) / (tp / 2 + 1 / 2 + 16 * tp / 2 + 0.01))
    entropy = (np.log1p(np.exp(-9.0)) * 32 + 9 * 1.9) / 32
    assert float(OverlapCrossentropy()(y, logits)) == pytest.approx(entropy + alone, rel=1e-3)


def test_a_class_of_few_pixels_that_is_not_found_yet_pulls_as_hard_as_a_large_one():
    rng = np.random.default_rng(0)
    shares = np.array([0.2, 0.01, 0.001])
    y = (rng.random((4, 128, 128, 3)) < shares).astype("float32")
    logits = tf.Variable(np.broadcast_to(np.log(shares / (1 - shares)), y.shape).astype("float32"))
    with tf.GradientTape() as tape:
        value = OverlapCrossentropy()(y, logits)
    pull = -np.where(y == 1, tape.gradient(value, logits), 0).sum(axis=(0, 1, 2))
    assert pull.max() < 2 * pull.min()
