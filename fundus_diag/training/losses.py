"""Losses on logits. A label that is not graded (NaN) weighs nothing."""

import keras
from keras import ops


class WeightedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy on logits with weighted positives, NaN-masked.

    Per row: the sum over its graded labels of

        -(w y log s(z) + (1 - y) log(1 - s(z))),  s the sigmoid,

    divided by the number of all labels L, so that every graded entry of a batch weighs the same
    however many a row has. Computed through softplus, finite for any finite logit.

    Args:
        pos_weight: (L,) weights w of the positives, above 0.
        label_smoothing: e in [0, 1): y becomes (1 - e) y + e / 2.
    """

    def __init__(self, pos_weight, label_smoothing=0.0, name="weighted_bce", **kwargs):
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing
        # A variable, so that re-weighting after an epoch needs no new trace of the step.
        self.pos_weight = keras.Variable(
            pos_weight, dtype="float32", trainable=False, name="pos_weight"
        )

    def call(self, y_true, y_pred):
        graded = ops.logical_not(ops.isnan(y_true))
        # Masked before the arithmetic: the gradient of a NaN times 0 is still NaN.
        y = ops.where(graded, y_true, 0.0)
        y = (1.0 - self.label_smoothing) * y + self.label_smoothing / 2
        positive = self.pos_weight * y * ops.softplus(-y_pred)
        negative = (1.0 - y) * ops.softplus(y_pred)
        entries = ops.where(graded, positive + negative, 0.0)
        return ops.sum(entries, axis=-1) / y_true.shape[-1]


def grade_loss(label_smoothing=0.0):
    """Softmax cross-entropy on the logits of exclusive grades, with label smoothing in [0, 1)."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, name="grade_crossentropy"
    )
