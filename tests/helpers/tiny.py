"""A network and a data set small enough to train in seconds.

Run as a program it is `fundus-diag` with the encoder `tiny` added: for tests that need a process
of their own.
"""

import functools
import json
import sys
from unittest import mock

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers

from fundus_diag import models
from fundus_diag.cli import main
from fundus_diag.data.findings import texts_of
from fundus_diag.data.inputs import load_table
from fundus_diag.data.manifest import read_manifest, summary
from fundus_diag.metrics.calibration import fit_operating_points
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.runs.familiarity import fit_familiarity, save_familiarity, with_limit
from fundus_diag.runs.predict import predict_rows
from fundus_diag.runs.quality import fit_quality
from fundus_diag.runs.run import build_model, network
from fundus_diag.runs.thresholds import save_operating_points


def tiny(images):
    """Two convolutions with BatchNorm: (B, S, S, 3) to (B, S / 4, S / 4, 16)."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="normalize")(images)
    for i, filters in enumerate((8, 16), start=1):
        x = layers.Conv2D(filters, 3, strides=2, use_bias=False, name=f"conv{i}")(x)
        x = layers.BatchNormalization(name=f"conv{i}_bn")(x)
        x = layers.ReLU(name=f"conv{i}_act")(x)
    return x


models.FEATURE_MAPS["tiny"] = tiny
models.CAM_LAYERS["tiny"] = lambda names: ("conv1_act", "conv2_act")
models.ENCODERS["tiny"] = functools.partial(models.build_encoder, "tiny")


def make_photographs(folder, patients=30, grades=False, seed=0):
    """Writes discs with a bright spot (label A), a dark one (B), both or neither, and their table.

    Every seventh patient has no right eye; B is not graded in every fifth row. Patients are dealt
    to train, val and test 5 : 3 : 2. Returns the manifest's path.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(patients):
        split = "train" if patient % 10 < 5 else "val" if patient % 10 < 8 else "test"
        for eye in ("left", "right"):
            if eye == "right" and patient % 7 == 6:
                continue
            bright, dark = rng.random(2) < (0.5, 0.4)
            image = np.zeros((48, 56, 3), np.uint8)
            cv2.circle(image, (28, 24), 22, tuple(int(x) for x in rng.integers(90, 140, 3)), -1)
            places = rng.integers((18, 14), (38, 34), size=(2, 2))
            for on, place, level in ((bright, places[0], 250), (dark, places[1], 10)):
                if on:
                    cv2.circle(image, tuple(int(x) for x in place), 4, (level,) * 3, -1)
            name = f"{patient:03d}_{eye}.png"
            cv2.imwrite(str(folder / name), image)
            row = {"image": name, "patient": f"p{patient}", "eye": eye, "split": split}
            row |= {"age": 40 + patient, "sex": "female" if patient % 2 else "male"}
            if grades:
                grade = int(bright) + int(dark)
                row |= {f"grade_{k}": int(k == grade) for k in range(3)}
            else:
                row |= {"A": int(bright), "B": "" if len(rows) % 5 == 4 else int(dark)}
            rows.append(row)
    path = folder / "manifest.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def train_flags(manifest, run_dir, **flags):
    """Arguments of a training that takes seconds."""
    defaults = {
        "encoder": "tiny",
        "weights": "none",
        "image_size": 32,
        "batch_size": 8,
        "phase1_epochs": 1,
        "phase2_epochs": 2,
        "precision": "float32",
    }
    return command("train", manifest, run_dir, {**defaults, **flags})


def command(name, manifest, run_dir, flags):
    """Words of a command line: True is a flag alone, a tuple a flag with several words."""
    words = [name, "--manifest", manifest, "--image-root", manifest.parent, "--run-dir", run_dir]
    for flag, value in flags.items():
        words.append("--" + flag.replace("_", "-"))
        if isinstance(value, tuple):
            words += value
        elif value is not True:
            words.append(value)
    return [str(word) for word in words]


def train_only(manifest, run_dir, **flags):
    """`fundus-diag train` without the report on val at its end; the exit status."""
    nothing = ("no page", {}, None)
    with mock.patch("fundus_diag.report.report.report_run", return_value=nothing):
        return main(train_flags(manifest, run_dir, **flags))


def ready_run(manifest, run_dir, unit="eye", encoder="tiny", image_size=32, **flags):
    """A finished run of random weights, calibrated on `val`: for tests of what is done with runs.

    In half the time of a training that learns next to nothing.
    """
    table = read_manifest(manifest)
    labels, task = list(table.labels), flags.get("task", "multi_label")
    config = {
        "version": "0",
        "encoder": encoder,
        "image_size": image_size,
        "unit": unit,
        "task": task,
        "labels": labels,
        **({"phrases": texts_of(labels)} if task == "findings" else {}),
        "crop": flags.get("crop", "fundus"),
        "pretrained": False,
        "weights": "none",
        "data": {
            "manifest": str(table.path),
            "image_root": str(table.path.parent),
            "sha256": table.sha256,
            "bad_images": [["somebody.png", "truncated"]],
            "splits": summary(table.table, labels),
        },
        "flags": {
            "manifest": str(table.path),
            "run_dir": str(run_dir),
            "on_bad_image": "fail",
            "grade_head": flags.get("grade_head", "softmax"),
            "encoder_options": flags.get("encoder_options", []),
        },
        "versions": {},
        "finished": "today",
    }
    keras.utils.set_random_seed(1)
    model = build_model(**network(config))
    pair = unit == "patient"
    shape = (16, 2) if pair else (16,)
    images = np.random.default_rng(0).uniform(0, 255, (*shape, image_size, image_size, 3))
    images = images.astype("float32")
    inputs = {"images": images, "mask": np.ones((16, 2), "float32")} if pair else images
    head = model.get_layer("head_logits")
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # quicker, once
    calibrate_batch_norm(model, [inputs])
    head.set_weights([4 * x for x in head.get_weights()])  # answers that differ
    tf.config.run_functions_eagerly(False)  # quicker, for many photographs
    pictures, rows = load_table(manifest, manifest.parent, config, "val", cache="ram")
    fitted = fit_familiarity(model, pictures, rows)
    logits, distance = predict_rows(model, fitted, pictures, rows)
    tf.config.run_functions_eagerly(eager)
    points = fit_operating_points(rows.y, logits, labels, task=config["task"])
    run_dir.mkdir()
    model.save_weights(run_dir / "model.weights.h5")
    (run_dir / "config.json").write_text(json.dumps(config))
    (run_dir / "history.csv").write_text("epoch,phase,loss,val_loss\n1,1,.7,.7\n2,2,.6,.6\n")
    save_operating_points(run_dir / "thresholds.json", points)
    fit_quality(run_dir, pictures, rows)
    save_familiarity(run_dir, with_limit(fitted, distance)[0])


def killed_in_a_write(program, number):
    """Text of a program like the file `program` that kills itself while it writes a checkpoint.

    In the middle of its arrays' file `number`, half of which is on disk.
    """
    return f"""
import os, runpy, signal, sys
sys.path.insert(0, {str(program.parent)!r})
import numpy
write, calls = numpy.savez, []
def savez(path, **arrays):
    write(path, **arrays)
    calls.append(path)
    if len(calls) == {number}:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
numpy.savez = savez
runpy.run_path({str(program)!r}, run_name="__main__")
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
