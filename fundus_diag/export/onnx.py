"""A run as ONNX, and read back."""

import logging

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fundus_diag.export.pixels import OUTPUTS

OPSET = 18


def write_onnx(path, function, run):
    """Writes a concrete function as ONNX; labels stand in the file's metadata."""
    import onnx
    import tf2onnx

    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    outputs = [function.structured_outputs[x].name for x in OUTPUTS]
    names = {x.name: x.name.partition(":")[0] for x in frozen.inputs}
    names |= zip(outputs, OUTPUTS, strict=True)
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # it calls functions that TensorFlow has deprecated
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=list(names)[: len(frozen.inputs)],
            output_names=outputs,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    finally:
        logger.setLevel(before)
    _rename(model.graph, names)
    facts = {"labels": ",".join(run.labels), "input": "RGB, 0 to 255", "use": "research only"}
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _erfc(graph, node, *_):
    """1 - erf, for GELU: tf2onnx knows no Erfc."""
    one = graph.make_const(f"{node.name}/one", np.float32(1))
    erf = graph.make_node("Erf", node.input)
    outputs = node.output
    graph.remove_node(node.name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=node.name, outputs=outputs)


def _rename(graph, wanted):
    for value in (*graph.input, *graph.output):
        value.name = wanted[value.name]
    for node in graph.node:
        for names in (node.input, node.output):
            for k, name in enumerate(names):
                names[k] = wanted.get(name, name)


def load_onnx(path):
    """A function of inputs {name: array} to [probability (B, L), positive (B, L)], on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(list(OUTPUTS), inputs)
