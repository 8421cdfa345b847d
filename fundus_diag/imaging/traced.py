"""Functions of a file's content as TensorFlow graphs, each made once however many threads ask."""

import threading

import tensorflow as tf

_LOCK = threading.RLock()


def traced(function):
    """`function` of a scalar string as a graph on the CPU, where decoding runs anyway.

    Made when it is called first. Threads that come meanwhile wait: each would else make it anew,
    for seconds, and TensorFlow would warn of that.
    """
    made = []

    def graph(data):
        with tf.device("CPU:0"):  # many small ops
            return function(data)

    def call(data):
        if not made:
            with _LOCK:
                if not made:
                    signature = [tf.TensorSpec((), tf.string)]
                    whole = tf.function(graph, input_signature=signature, autograph=False)
                    made.append(whole.get_concrete_function())
        return made[0](tf.constant(data))

    return call
