"""Functions of TensorFlow ops as graphs, each made once however many threads and graphs ask."""

import threading

import tensorflow as tf

CONTENT = tf.TensorSpec((), tf.string)  # of a file
_LOCK = threading.RLock()


def traced(function, *takes):
    """`function` of tensors as a graph on the CPU, where decoding runs anyway.

    Made when it is called first. Threads that come meanwhile wait: each would else make it anew,
    for seconds, and TensorFlow would warn of that. Called within another graph it is a step of
    that one, and not made again.

    Args:
        function: of tensors.
        takes: what they are (TensorSpec); by default one, the content of a file.
    """
    made, takes = [], takes or (CONTENT,)

    def graph(*data):
        with tf.device("CPU:0"):  # many small ops
            return function(*data)

    def call(*data):
        if not made:
            with _LOCK:
                if not made:
                    whole = tf.function(graph, input_signature=takes, autograph=False)
                    made.append(whole.get_concrete_function())
        return made[0](*map(tf.convert_to_tensor, data))

    return call
