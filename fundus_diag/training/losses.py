"""Losses on logits. A label that is not graded (NaN) weighs nothing."""

import keras
from keras import ops

LEAST = 0.01  # pixels that are taken for found of a class, so that its logarithm is finite


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
    """Binary cross-entropy on logits of pixels, minus the logarithm of each class's Tversky index.

    The index is taken over all pixels of a batch,

        T = (tp + e) / (tp + m fn + (1 - m) fp + e),

    with soft counts and e = .01 pixels. At m = .5 it is the Dice coefficient (Milletari et al.
    2016, equation 1, with its pixels not squared, https://arxiv.org/abs/1606.04797); above it,
    missed pixels count more (Salehi et al. 2017, equation 3, https://arxiv.org/abs/1706.05721). By
    its logarithm (Wong et al. 2018, equation 2 with an exponent of 1,
    https://arxiv.org/abs/1809.00076) a class that is hardly found yet pulls as hard as a disc does:
    the gradient of T itself is as small as T is. A class of less than a pixel in the batch has no
    index. Cross-entropy is the mean over the entries that are known. NaN in the masks weighs
    nothing.

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
        index = (tp + LEAST) / (tp + m * fn + (1.0 - m) * fp + LEAST)
        there = ops.cast(ops.sum(y, axis=over) >= 1.0, y_pred.dtype)
        lost = -ops.sum(there * ops.log(index)) / ops.maximum(ops.sum(there), 1.0)
        return ops.broadcast_to(entropy + lost, (ops.shape(y_pred)[0],))


def grade_loss(label_smoothing=0.0):
    """Softmax cross-entropy on the logits of exclusive grades, with label smoothing in [0, 1)."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, name="grade_crossentropy"
    )
