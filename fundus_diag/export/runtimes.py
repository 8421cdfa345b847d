"""The network and its calibration for other runtimes: from pictures to probabilities.

They read no photographs: pictures are made by `preprocess`, or by the SavedModel's own code.
"""

import logging
import sys
from dataclasses import replace

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from fundus_diag.data.inputs import load_inputs, settle_bad
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.export.graph import calibrated, called
from fundus_diag.runs.freeze import input_spec
from fundus_diag.runs.run_files import training_table
from fundus_diag.utils.errors import DataError

OPSET = 18
OUTPUTS = ("probability", "positive")
CALIBRATION = 256  # photographs that int8 is fitted on
# Queries, keys and values, which OpenVINO cannot compute in int8 where the number of rows is open.
PROJECTIONS = r".*\.attn\.(proj_)?[qkv](_\d+)?/.*"


def pixel_function(run):
    """A concrete function of named pictures to {"probability", "positive"}, with variables."""
    spec = input_spec(run.model)
    if not isinstance(spec, dict):
        spec = {"images": spec}
    spec = {name: tf.TensorSpec(x.shape, x.dtype, name) for name, x in spec.items()}

    def answer(**inputs):
        inputs = inputs if len(inputs) > 1 else inputs["images"]
        probability = calibrated(run, run.model(inputs, training=False), tf.float32)
        return {"probability": probability, "positive": called(run, probability)}

    return tf.function(answer, autograph=False).get_concrete_function(**spec)


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


def write_openvino(path, function, run, precision="float32"):
    """Writes a concrete function as OpenVINO's `model.xml` and `model.bin`.

    Args:
        precision: "float32", or "int8" by NNCF, fitted on training photographs.

    Raises:
        DataError: these photographs are not here.
    """
    seen = list(_training_inputs(run)) if precision == "int8" else []
    openvino = _openvino()
    model = openvino.convert_model(function)
    if precision == "int8":
        model = _in_int8(model, run, seen)
    model.set_rt_info(",".join(run.labels), ["fundus_diag", "labels"])
    openvino.save_model(model, path, compress_to_fp16=False)


def load_openvino(path, hint=None):
    """As `load_onnx`, of an OpenVINO model.

    Args:
        hint: arithmetic of what is not int8: "f32", "bf16", or None for what OpenVINO takes by
            itself, bfloat16 where the processor has it.

    Raises:
        DataError: OpenVINO cannot run it.
    """
    options = {"INFERENCE_PRECISION_HINT": hint} if hint else {}
    try:
        compiled = _openvino().Core().compile_model(path, "CPU", options)
    except RuntimeError as error:  # int8 in some transformers
        lines = str(error).splitlines()
        reason = next((x for x in lines if not x.startswith("Exception from")), lines[0])
        raise DataError(f"OpenVINO cannot run this network so: {reason[:200]}") from error

    def answer(inputs):
        found = compiled(inputs)
        return [found[name] for name in OUTPUTS]

    return answer


def _openvino():
    # It reports its use to its makers unless told not to: nothing here calls home.
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def _in_int8(model, run, inputs):
    import nncf

    nncf.set_log_level(logging.ERROR)
    transformer = any(x.name.endswith(".attend") for x in run.model.layers)
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(patterns=[PROJECTIONS], validate=False),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )


def _training_inputs(run):
    """Inputs {name: array} of training rows drawn at random, of `CALIBRATION` patients."""
    table, root, reason = training_table(run)
    if reason:
        raise DataError(f"{run.run_dir}: int8 is fitted on its training photographs: {reason}")
    rows = table.table[table.table["split"] == "train"].sample(frac=1, random_state=0)
    if run.config["unit"] == "eye":
        rows = rows.drop_duplicates("patient")  # one eye each: the fellow adds little
    drawn = rows["patient"].unique()[:CALIBRATION]
    table = replace(table, table=rows[rows["patient"].isin(drawn)].reset_index(drop=True))
    config = {name: run.config[name] for name in ("image_size", "crop", "unit")}
    inputs = load_inputs(table, root, **config, cache="ram")
    settle_bad(inputs.bad, "skip")
    return map(as_arrays, scoring_batches(inputs.pictures, inputs.splits["all"].pictures, 1))


def as_arrays(batch):
    """A batch of `scoring_batches` as {name: array}."""
    batch = batch if isinstance(batch, dict) else {"images": batch}
    return {name: np.asarray(value) for name, value in batch.items()}
