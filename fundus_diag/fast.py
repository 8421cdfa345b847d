"""The fast way to run a trained model: variables frozen to constants, reduced precision.

Frozen, the graph's BatchNorm folds into the convolutions and oneDNN lays the weights out once
instead of at every call.
"""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fundus_diag.precision import precision


def fast_logits(model, name="auto"):
    """A function from the model's inputs to logits (B, L).

    Args:
        model: classifier with one input tensor or a dict of them.
        name: precision, see `precision.precision`. "auto" is bfloat16 where the processor has it:
            logits then differ from float32 by up to about a hundredth of their spread.
    """
    signature = tf.nest.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), tf.float32), model.input
    )
    concrete = tf.function(
        lambda x: model(x, training=False), autograph=False
    ).get_concrete_function(signature)
    frozen = convert_variables_to_constants_v2(concrete)

    def logits(inputs):
        # The option is read when a graph is first run, and is the process's own: set it around.
        with precision(name):
            return frozen(*tf.nest.flatten(inputs))[0]

    return logits
