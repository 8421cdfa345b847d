"""A trained run in every format, scored through each on the photographs of a split.

    python benchmarks/exports.py RUN --out reports/exports [--split test]

Macro ROC AUC, largest difference of a probability from `model.predict`, and time per picture
(batches of 16, formats in turn; median of the ratios and what eight in ten lie between). The
exports lie in OUT afterwards. Formats whose package is not installed, and bfloat16 without a
processor that has it, are left out.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import tensorflow as tf
from common import fundus_diag, machine, ratio, timed

from fundus_diag import load_run
from fundus_diag.data.inputs import load_table
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.export.export import MODULES
from fundus_diag.export.onnx import load_onnx
from fundus_diag.export.openvino import load_openvino
from fundus_diag.export.pixels import as_arrays
from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.metrics.classification import macro_auc
from fundus_diag.utils.mixed_precision import cpu_has_bfloat16

BATCH = 16
FORMATS = {
    "saved_model": ("saved_model", "float32"),
    "saved_model_bfloat16": ("saved_model", "bfloat16"),
    "onnx": ("onnx", "float32"),
    "openvino": ("openvino", "float32"),
    "openvino_int8": ("openvino", "int8"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run = load_run(args.run)
    answers = {"model.predict": lambda inputs: own(run, inputs), **exported(args)}
    data = run.config["data"]
    pictures, rows = load_table(
        data["manifest"], data["image_root"], run.config, args.split, cache="ram"
    )
    y = rows.y
    found = {name: [] for name in answers}
    times = {name: [] for name in answers}
    for batch in map(as_arrays, scoring_batches(pictures, rows.pictures, BATCH)):
        for name, answer in answers.items():
            seconds = timed(lambda n=name, a=answer, b=batch: found[n].append(a(b)))
            times[name].append(seconds / len(batch["images"]))
    probabilities = {name: np.concatenate(parts) for name, parts in found.items()}
    want = probabilities["model.predict"]
    print(f"{args.run}, {args.split}: {len(want)} rows, batches of {BATCH}, {machine()}")
    print("| format | macro ROC AUC | largest difference | ms | of model.predict |")
    print("|---|---|---|---|---|")
    for name, scores in probabilities.items():
        # Without the first batch, and the last, which has a size of its own.
        own_times, theirs = (np.array(times[x][1:-1]) for x in (name, "model.predict"))
        apart = f"{np.abs(scores - want).max():.2g}"
        area = f"{macro_auc(y, scores):.4f}"
        speed = f"{1000 * np.median(own_times):.1f} | {ratio(own_times, theirs, 10)}"
        print(f"| {name} | {area} | {apart} | {speed} |")


def own(run, inputs):
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    tensors = tensors if len(tensors) > 1 else tensors["images"]
    logits = run.model.predict(tensors, batch_size=BATCH, verbose=0)
    return apply_calibration(logits, run.points, run.labels)


def exported(args):
    """{name: function of inputs {name: array} to probabilities}."""
    made = {}
    for name, (format, precision) in FORMATS.items():
        needed = [*MODULES.get(format, ()), *(["nncf"] if precision == "int8" else [])]
        if any(importlib.util.find_spec(x) is None for x in needed):
            continue
        if precision == "bfloat16" and not cpu_has_bfloat16():
            continue
        folder = args.out / name
        words = ["--format", format, "--precision", precision, "--out", folder, "--overwrite"]
        words += ["--version", "1"] * (format == "saved_model")
        fundus_diag("export", args.run, *words)
        if format == "saved_model":
            made[name] = pixels(tf.saved_model.load(str(folder / "1")))
        elif format == "onnx":
            made[name] = first(load_onnx(folder / "model.onnx"))
        else:
            made[name] = first(load_openvino(folder / "model.xml", "f32"))
        if name == "openvino" and cpu_has_bfloat16():
            half = load_openvino(folder / "model.xml", "bf16")
            made["openvino, in bfloat16"] = first(half)
    return made


def first(answer):
    return lambda inputs: answer(inputs)[0]


def pixels(loaded):
    serve = loaded.signatures["serve_pixels"]

    def answer(inputs):
        return serve(**{k: tf.constant(v) for k, v in inputs.items()})["probability"].numpy()

    return answer


if __name__ == "__main__":
    main()
