"""The fast way to run a trained model: variables frozen to constants, reduced precision.

Frozen, the graph's BatchNorm folds into the convolutions and oneDNN lays the weights out once
instead of at every call. In bfloat16 the conversions stand in the graph itself, where TensorFlow's
own optimiser puts them for oneDNN: what is saved needs no setting of the process that loads it.
"""

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.eager.wrap_function import function_from_graph_def
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer

from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.mixed_precision import cpu_has_bfloat16, has_gpu


def inference(model, precision="float32"):
    """A function from the model's inputs to its outputs, traced once for any number of rows.

    Where Keras runs on JAX, for training, it is one of arrays, compiled once a number of rows.

    Args:
        model: any Keras model for "float32", a classifier for the others.
        precision: "float32", exact, or as of `fast_logits`.
    """
    if precision != "float32":
        return fast_logits(model, precision)
    if keras.backend.backend() == "jax":
        return _on_jax(model)
    return tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)


def inference_frozen(model):
    """As `inference`, of a model whose weights do not change any more.

    On processors frozen to constants, which takes about three quarters of the time; in the
    arithmetic that it is called in, see `mixed_precision.precision`.
    """
    if keras.backend.backend() == "jax" or has_gpu():
        return inference(model)
    return fast_logits(model, "float32")


def _on_jax(model):
    import jax

    @jax.jit
    def step(trained, others, inputs):
        return model.stateless_call(trained, others, inputs, training=False)[0]

    def ask(inputs):
        # On this process's own first device, whatever several of them train on.
        trained, others = (
            [own(v.value) for v in x]
            for x in (model.trainable_variables, model.non_trainable_variables)
        )
        return step(trained, others, tf.nest.map_structure(np.asarray, inputs))

    return ask


def own(array):
    """Of an array of JAX that several devices have copies of, the copy of the first one here."""
    return array if len(array.sharding.device_set) == 1 else array.addressable_data(0)


def fast_logits(model, name="auto"):
    """A function from the model's inputs to logits (B, L), or the list of its outputs.

    Args:
        model: classifier with one input tensor or a dict of them, and one output or several.
        name: see `frozen_precision`. In bfloat16 logits differ from float32 by up to about a
            hundredth of their spread.
    """
    precision = frozen_precision(name)
    frozen = freeze(lambda x: model(x, training=False), input_spec(model), precision)

    def ask(inputs):  # a frozen function takes tensors only
        found = frozen(*map(tf.convert_to_tensor, tf.nest.flatten(inputs)))
        return found if len(found) > 1 else found[0]

    return ask


def frozen_precision(name):
    """The arithmetic of a frozen graph: "auto" is bfloat16 where this processor computes in it.

    Raises:
        UsageError: bfloat16 is asked for on a processor without it, where it cannot be written.
    """
    if name == "bfloat16" and not cpu_has_bfloat16():
        raise UsageError("--precision bfloat16: this processor has none; use auto or float32")
    if name != "auto":
        return name
    return "bfloat16" if cpu_has_bfloat16() and not has_gpu() else "float32"


def input_spec(model):
    """Shapes of a model's inputs, any number of rows: as `model.input` is built."""
    return tf.nest.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), tf.float32), model.input
    )


def freeze(function, signature, precision="float32"):
    """A function without variables: takes the flattened inputs, gives a list of the outputs.

    Args:
        function: of one argument, in TensorFlow ops.
        signature: of its argument, a structure of `tf.TensorSpec`.
        precision: "float32", or "bfloat16" for products and convolutions; what goes in and comes
            out stays float32.
    """
    concrete = tf.function(function, autograph=False).get_concrete_function(signature)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    return _in_bfloat16(frozen) if precision == "bfloat16" else frozen


def _in_bfloat16(frozen):
    fetched = [x.name for x in (*frozen.inputs, *frozen.outputs)]
    graph = tf.compat.v1.train.export_meta_graph(
        graph_def=frozen.graph.as_graph_def(), graph=frozen.graph
    )
    graph.collection_def["train_op"].CopyFrom(  # what the optimiser has to keep
        meta_graph_pb2.CollectionDef(node_list={"value": fetched})
    )
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.TWO  # folds the casts
    options.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    # Fused ops are for the machine that runs the graph; its own optimiser makes them.
    options.remapping = rewriter_config_pb2.RewriterConfig.OFF
    options.layout_optimizer = rewriter_config_pb2.RewriterConfig.OFF
    rewritten = tf_optimizer.OptimizeGraph(config, graph)
    for node in rewritten.node:
        if node.op == "Const":  # packed: bfloat16 would take three bytes for most values
            value = tf.make_ndarray(node.attr["value"].tensor)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    outputs = [x.name for x in frozen.outputs]
    return function_from_graph_def(rewritten, [x.name for x in frozen.inputs], outputs)
