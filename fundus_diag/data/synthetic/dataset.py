"""Drawn fundus photographs with the signs of seven diseases and the masks of every lesion.

The embedded data: enough like photographs to run, test and show everything without a single real
one. A figure reached on drawings says nothing about patients. Colour, light, focus and framing
vary without regard to the labels, so a model has to find the signs themselves.

`draw_eye` makes one picture, `draw_dataset` a folder with pictures, masks, outlines of disc, cup,
macula and vessels, and `manifest.csv`.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fundus_diag.data.columns import MASK, NO_MASK
from fundus_diag.data.labels import EYES, HEALTHY, LABELS
from fundus_diag.data.splits import split_patients
from fundus_diag.data.synthetic.camera import compress
from fundus_diag.data.synthetic.eye import (
    ANATOMY,
    DISEASES,
    MIN_SIZE,
    SIGNS,
    draw_eye,
    stream,
)
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.processes import cores

__all__ = ["DISEASES", "SIGNS", "draw_dataset", "draw_eye", "draw_labels"]

COMMON = {"D": 1.5, "O": 1.1}  # how much oftener than the others a disease is drawn
DRAWING = "drawing.json"  # says with which seed and size a folder was drawn
RATIOS = (0.7, 0.15, 0.15)  # train, val, test
STYLE = 2  # raised whenever the same seed draws another picture, or other files beside it
OUTLINED = SIGNS["D"]  # signs that have a column of masks in the manifest


def draw_labels(seed, index):
    """Labels of patient number `index`: {"left": set, "right": set}; a few have one eye only.

    A quarter of the patients is healthy. The others have one to three diseases, each of which shows
    in either eye with probability .82: the eyes of a patient are alike, not equal.
    """
    rng = stream((seed, index), "labels")
    ill = rng.uniform() > 0.24
    count = rng.choice((1, 2, 3), p=(0.52, 0.34, 0.14)) if ill else 0
    weights = np.array([COMMON.get(x, 1.0) for x in DISEASES])
    mine = rng.choice(DISEASES, count, replace=False, p=weights / weights.sum())
    eyes = {
        eye: {
            str(d) for d, shown in zip(mine, rng.uniform(size=count) < 0.82, strict=True) if shown
        }
        for eye in EYES
    }
    lone = rng.uniform()
    if lone < 0.06:
        del eyes[EYES[0] if lone < 0.03 else EYES[1]]
    return eyes


def draw_dataset(out, patients=600, size=256, seed=0, progress=None):
    """Draws a data set: `images/`, `masks/<sign>/`, `outlines/<name>/` of `ANATOMY`, and
    `manifest.csv` with a split by patient.

    Every picture depends on (seed, patient, eye) alone: asking for more patients in the same folder
    adds pictures, and only those not there yet are drawn. The D-positive eyes are in turn mild
    (lesions below 1 % of the field) and not.

    Args:
        out: folder; new, empty, or drawn with the same seed and size.
        patients: number of patients, at least 1.
        size: width and height of the pictures, pixels.
        seed: of the whole set.
        progress: called with (pictures done, pictures in all) after each one.

    Returns:
        Path of the manifest, with columns image, patient, eye, split, age, sex, `LABELS`, and of
        masks: of `ANATOMY` and of `OUTLINED`.

    Raises:
        DataError: `out` holds something else or cannot be written.
        UsageError: `patients`, `size` or `seed` is too small.
    """
    for name, value, least in (
        ("patients", patients, 1),
        ("size", size, MIN_SIZE),
        ("seed", seed, 0),
    ):
        if value < least:
            raise UsageError(f"--{name} {value}: must be at least {least}")
    out = Path(out)
    _claim(out, {"drawing": STYLE, "seed": seed, "size": size})
    rows = _plan(patients, seed)
    pool = ThreadPoolExecutor(max_workers=cores())
    try:
        jobs = [pool.submit(_draw_files, out, row, size, seed) for row in rows]
        for done, job in enumerate(jobs, start=1):
            job.result()
            if progress:
                progress(done, len(jobs))
    finally:
        pool.shutdown(cancel_futures=True)  # an error or Ctrl-C ends it now, not after the last one
    names = [row["patient"] for row in rows]
    y = np.array([[row[label] for label in LABELS] for row in rows], np.float32)
    for row, split in zip(rows, split_patients(names, y, RATIOS, seed), strict=True):
        row["split"] = str(split)
        row |= _masks(out, row["image"])
    table = pd.DataFrame(rows)
    write_manifest(table.drop(columns=["index", "mild"]), out / "manifest.csv")
    return out / "manifest.csv"


def _plan(patients, seed):
    """One dict per eye: the manifest's columns and `mild`."""
    rows, diabetic = [], 0
    for index in range(patients):
        rng = stream((seed, index), "person")
        person = {
            "index": index,
            "patient": f"drawn-{index:05d}",
            "age": float(np.clip(rng.normal(58, 13), 18, 92).round()),
            "sex": str(rng.choice(("female", "male"))),
        }
        for eye, shown in draw_labels(seed, index).items():
            row = person | {"image": f"images/{person['patient']}_{eye}.jpg", "eye": eye}
            row |= {HEALTHY: int(not shown)} | {label: int(label in shown) for label in DISEASES}
            row["mild"] = "D" in shown and diabetic % 2 == 0
            diabetic += "D" in shown
            rows.append(row)
    return rows


def _masks(out, image):
    """{column of masks: file below `out`, or that there is none} of one eye."""
    name = f"{Path(image).stem}.png"
    found = {f"{MASK}{x}": f"outlines/{x}/{name}" for x in ANATOMY}
    for sign in OUTLINED:
        file = f"masks/{sign}/{name}"
        found[f"{MASK}{sign}"] = file if (out / file).is_file() else NO_MASK
    return found


def _draw_files(out, row, size, seed):
    """Writes the masks of one eye, then its picture: where the picture is, all is there."""
    target = out / row["image"]
    if target.exists():
        return
    shown = {label for label in DISEASES if row[label]}
    person = (seed, row["index"])
    outlines = {}
    picture, masks = draw_eye(person, shown, row["eye"], size, mild=row["mild"], outlines=outlines)
    for folder, found in (("masks", masks), ("outlines", outlines)):
        for name, mask in found.items():
            _, png = cv2.imencode(".png", mask.astype(np.uint8) * 255)
            _write(out / folder / name / f"{target.stem}.png", png.tobytes())
    _write(target, compress(picture, 92))


def _claim(out, drawing):
    """Makes `out`, or accepts the one that the same drawing began."""
    note, text = out / DRAWING, json.dumps(drawing) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if note.is_file() and note.read_text(encoding="utf-8") == text:
            return
        if any(out.iterdir()):
            raise DataError(f"{out}: holds something else than this drawing; name an empty folder")
        _write(note, text.encode())
    except OSError as error:
        raise DataError(f"{out}: cannot be drawn in: {error.strerror}") from error


def _write(path, data):
    """Writes bytes so that `path` is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
