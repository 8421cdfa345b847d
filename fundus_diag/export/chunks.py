"""Any number of rows, computed a few at a time: what is held of them does not grow with them."""

import tensorflow as tf


def in_chunks(function, inputs, size):
    """What a function gives for all rows, in TensorFlow ops.

    Args:
        function: of tensors with at least one and up to `size` rows each, to {name: tensor} of as
            many rows.
        inputs: list of tensors (B, ..), B the same; it may be 0.
        size: rows at a time.

    Returns:
        {name: (B, ..)}.

    Raises:
        tf.errors.InvalidArgumentError: the inputs have different numbers of rows.
    """
    rows = tf.shape(inputs[0])[0]
    same = [tf.debugging.assert_equal(tf.shape(x)[0], rows, UNEQUAL) for x in inputs[1:]]
    with tf.control_dependencies(same):
        chunks = -(-rows // size)
    specs = [tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in inputs]
    traced = tf.function(function, specs, autograph=False).get_concrete_function()

    def step(k, arrays):
        part = traced(*(x[k * size : (k + 1) * size] for x in inputs))
        return k + 1, {name: array.write(k, part[name]) for name, array in arrays.items()}

    arrays = {
        name: tf.TensorArray(x.dtype, chunks, infer_shape=False, element_shape=(None, *x.shape[1:]))
        for name, x in traced.structured_outputs.items()
    }
    _, arrays = tf.while_loop(lambda k, _: k < chunks, step, (0, arrays), parallel_iterations=1)
    return {name: array.concat() for name, array in arrays.items()}


UNEQUAL = "inputs have different numbers of rows"
