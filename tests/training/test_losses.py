import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.training.losses import WeightedBinaryCrossentropy, grade_loss

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
