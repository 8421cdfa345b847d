"""A run as OpenVINO, in float32 or int8, and read back."""

import logging
import sys
from dataclasses import replace

from fundus_diag.data.inputs import load_inputs, settle_bad
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.export.pixels import OUTPUTS, as_arrays
from fundus_diag.runs.run_files import own_table
from fundus_diag.utils.errors import DataError

CALIBRATION = 256  # photographs that int8 is fitted on
# Queries, keys and values, which OpenVINO cannot compute in int8 where the number of rows is open.
PROJECTIONS = r".*\.attn\.(proj_)?[qkv](_\d+)?/.*"


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
        # Weights in seven bits: without VNNI instructions a processor adds products up in sixteen,
        # which eight would overflow, and the same file would answer otherwise there.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
    )


def _training_inputs(run):
    """Inputs {name: array} of training rows drawn at random, of `CALIBRATION` patients."""
    table, root, reason = own_table(run.config)
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
