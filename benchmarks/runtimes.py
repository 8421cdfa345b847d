"""Time of a prediction on every runtime, in one run: batch 1 and 16, random calibrated weights.

    python benchmarks/runtimes.py [--encoder se_xception] [--image-size 299] [--repeats 10]

Rows whose package is not installed are left out; PyTorch computes the same network (SE-Xception
alone). Then from the bytes of photographs: the probabilities, and with them the fused LayerCAM map
of the likeliest label.
"""

import argparse
import functools
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from common import in_turn, machine, make_run, ratio
from scipy import special

from fundus_diag import load_run
from fundus_diag.data.synthetic.camera import compress
from fundus_diag.data.synthetic.eye import draw_eye
from fundus_diag.export.check import differences
from fundus_diag.export.export import export
from fundus_diag.export.onnx import load_onnx
from fundus_diag.export.openvino import load_openvino
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.mixed_precision import cpu_has_bfloat16

PHOTOGRAPH = 1024  # px


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="se_xception")
    parser.add_argument("--image-size", type=int, default=299, help="px")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_run(folder / "run", args.encoder, args.image_size)
        run = load_run(folder / "run")
        made = write(folder)
        print(f"{args.encoder}, {args.image_size} px, {machine()}; ms per picture")
        for batch in (1, 16):
            table(run, made, batch, args)
        from_bytes(made, args.repeats)


def write(folder):
    """{name: function of a folder's export to answers} of all that can be made here."""
    half = "bfloat16" if cpu_has_bfloat16() else "float32"
    wanted = {"SavedModel": ("saved_model", "float32"), "SavedModel fast": ("saved_model", half)}
    if importlib.util.find_spec("tf2onnx") and importlib.util.find_spec("onnxruntime"):
        wanted["ONNX Runtime"] = ("onnx", "float32")
    if importlib.util.find_spec("openvino"):
        wanted["OpenVINO"] = ("openvino", "float32")
    if importlib.util.find_spec("nncf"):
        wanted["OpenVINO int8"] = ("openvino", "int8")
    for name, (format, precision) in wanted.items():
        try:
            record = export(folder / "run", folder / name, format, precision)
        except DataError as error:  # int8 does not hold for every network
            print(f"{name}: {error}")
        else:
            print(f"{name}: {differences({**record, 'val': {}})}")
    return {name: folder / name for name in wanted if (folder / name).exists()}


def table(run, made, batch, args):
    shape = (batch, args.image_size, args.image_size, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    tensor, answers = tf.constant(images), {}

    def predict():  # this run's calibration is none
        return special.expit(run.model.predict(tensor, batch_size=batch, verbose=0))

    calls = {"model.predict": predict}
    for name, folder in made.items():
        calls |= runtime(name, folder, images)
    if importlib.util.find_spec("torch") and args.encoder.startswith("se_xception"):
        from torch_se_xception import pytorch

        both = {"PyTorch": False, "PyTorch bfloat16": True}
        for name, half in list(both.items())[: 1 + cpu_has_bfloat16()]:
            calls[name] = pytorch(run.model, images, half)
    timed = {k: functools.partial(keep, answers, k, call) for k, call in calls.items()}
    times = in_turn(timed, args.repeats, warmups=3)
    print(f"batch {batch:18} | ms | largest difference | of model.predict | of PyTorch bfloat16")
    for name, seconds in times.items():
        apart = np.abs(answers[name] - answers["model.predict"]).max()
        cells = [f"{1000 * np.median(seconds) / batch:.1f}", f"{apart:.1g}"]
        against = [x for x in ("model.predict", "PyTorch bfloat16") if x in times]
        cells += [ratio(seconds, times[x]) for x in against]
        print(f"{name:24} | {' | '.join(cells)}")


def keep(answers, name, call):
    answers[name] = call()


def runtime(name, folder, images):
    """{row: function without arguments to probabilities} of an export."""
    if name.startswith("SavedModel"):
        serve = tf.saved_model.load(str(folder / "1")).signatures["serve_pixels"]
        tensor = tf.constant(images)
        return {name: lambda: serve(images=tensor)["probability"].numpy()}
    if name == "ONNX Runtime":
        answer = load_onnx(folder / "model.onnx")
        return {name: lambda: answer({"images": images})[0]}
    hints = ("f32", "bf16")[: 1 + cpu_has_bfloat16()] if name == "OpenVINO" else ("f32",)
    loaded = {hint: load_openvino(folder / "model.xml", hint) for hint in hints}
    names = {hint: f"{name} {hint}" if len(loaded) > 1 else name for hint in loaded}
    return {names[k]: lambda x=x: x({"images": images})[0] for k, x in loaded.items()}


def from_bytes(made, repeats):
    """From one JPEG file: probabilities alone, and with the map of the likeliest label."""
    picture, _ = draw_eye((0, 0), {"D"}, "left", PHOTOGRAPH)
    data = tf.constant(compress(picture, 92))
    calls = {}
    for name in ("SavedModel", "SavedModel fast"):
        served = tf.saved_model.load(str(made[name] / "1")).signatures
        plain, explain = served["serving_default"], served["explain"]
        calls[name] = lambda plain=plain: plain(image_bytes=data[None])["probability"].numpy()
        calls[f"{name} with map"] = lambda explain=explain: explain(
            image_bytes=data[None], label=tf.constant([-1])
        )["map"].numpy()
    times = in_turn(calls, repeats, warmups=3)
    print(f"one JPEG of {PHOTOGRAPH} px | ms")
    for name, seconds in times.items():
        print(f"{name:24} | {1000 * np.median(seconds):.1f}")
    for name in ("SavedModel", "SavedModel fast"):
        print(f"{name}, with map / without: {ratio(times[f'{name} with map'], times[name])}")


if __name__ == "__main__":
    main()
