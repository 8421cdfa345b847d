"""A network and a data set small enough to train in seconds.

Run as a program it is `fundus-diag` with the encoder `tiny` added: for tests that need a process
of their own.
"""

import functools
import sys
from unittest import mock

import cv2
import numpy as np
import pandas as pd
from keras import layers

from fundus_diag import models
from fundus_diag.cli import main


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
    with mock.patch("fundus_diag.report.write_report", lambda run_dir, split: run_dir):
        return main(train_flags(manifest, run_dir, **flags))


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
