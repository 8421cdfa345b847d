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


class OverlapCrossentropy(keras.losses.Loss):
    """Binary cross-entropy on logits of pixels, plus one minus the Tversky index of each class.

    The index is taken over all pixels of a batch, which a lesion of few pixels weighs in as much as
    a disc:

        T = (tp + 1) / (tp + m fn + (1 - m) fp + 1),

    with soft counts. At m = .5 it is the Dice coefficient (Milletari et al. 2016, equation 1, with
    its pixels not squared, https://arxiv.org/abs/1606.04797); above it, missed pixels count more
    (Salehi et al. 2017, equation 3, https://arxiv.org/abs/1706.05721). Cross-entropy is the mean
    over the entries that are known. Both weigh the same. NaN in the masks weighs nothing.

    Args:
        miss_weight: m in [0, 1].
    """

    def __init__(self, miss_weight=0.5, name="overlap_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.miss_weight = miss_weight

    def call(self, y_true, y_pred):
        known = ops.cast(ops.logical_not(ops.isnan(y_true)), y_pred.dtype)
        # Masked before the arithmetic: the gradient of a NaN times 0 is still NaN.
        y = ops.where(known > 0, y_true, 0.0)
        entropy = known * (ops.softplus(y_pred) - y * y_pred)
        entropy = ops.sum(entropy) / ops.maximum(ops.sum(known), 1.0)
        p, over = known * ops.sigmoid(y_pred), tuple(range(len(y_pred.shape) - 1))
        tp, fn, fp = (ops.sum(x, axis=over) for x in (p * y, (known - p) * y, p * (1.0 - y)))
        m = self.miss_weight
        index = (tp + 1.0) / (tp + m * fn + (1.0 - m) * fp + 1.0)
        looked_for = ops.cast(ops.sum(known, axis=over) > 0, y_pred.dtype)
        lost = ops.sum(looked_for * (1.0 - index)) / ops.maximum(ops.sum(looked_for), 1.0)
        return ops.broadcast_to(entropy + lost, (ops.shape(y_pred)[0],))


def grade_loss(label_smoothing=0.0):
    """Softmax cross-entropy on the logits of exclusive grades, with label smoothing in [0, 1)."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, name="grade_crossentropy"
    )
