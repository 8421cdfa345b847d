"""Which photographs a run has seen: `photographs.csv`, and what others have in common with it."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.paths import inside
from fundus_diag.data.tables import read_table
from fundus_diag.imaging.frames import split_frame
from fundus_diag.runs.contents import CONFIG, PHOTOGRAPHS
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import csv_text, read_json, reason, write_text
from fundus_diag.utils.processes import cores
from fundus_diag.utils.version import __version__

PART = 65_536  # bytes of each of `PARTS` places of a file that are hashed
PARTS = 9  # evenly from its first to its last: what has black borders has them at both ends
FIELDS = ("split", "image", "patient", "fingerprint")


def fingerprint(path):
    """64 bits of a file: a hash of its size and of 64 KiB at nine places; 16 hex digits.

    Equal files have equal ones wherever they lie and whatever they are called; two photographs of
    a camera never have in practice. A photograph that was saved anew has another one. Frames of one
    file have different ones; the first has that of the file.

    Raises:
        DataError: it cannot be read.
    """
    whole, frame = split_frame(path)
    try:
        size = os.stat(whole).st_size
        known = hashlib.sha256(str(size).encode())
        if frame is not None and frame > 1:
            known.update(b"#%d" % frame)
        with open(whole, "rb") as file:
            for at in sorted({max(0, size - PART) * k // (PARTS - 1) for k in range(PARTS)}):
                file.seek(at)
                known.update(file.read(PART))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from error
    return known.hexdigest()[:16]


def take(table, image_root, splits, bad=()):
    """Rows of `photographs.csv`: dicts of `FIELDS`.

    Args:
        table: a manifest's, with image, patient and, unless `splits` is None, split.
        image_root: folder of its photographs.
        splits: names of those wanted; None is every row, under the name "all".
        bad: names of photographs that were left out.
    """
    names = table["split"] if splits is not None else ["all"] * len(table)
    rows = [
        {"split": split, "image": image, "patient": patient}
        for split, image, patient in zip(names, table["image"], table["patient"], strict=True)
        if image not in bad and (splits is None or split in splits)
    ]
    with ThreadPoolExecutor(cores()) as pool:
        found = pool.map(fingerprint, (_file(image_root, row["image"]) for row in rows))
        return [row | {"fingerprint": x} for row, x in zip(rows, found, strict=True)]


def _file(image_root, image):
    return inside(Path(image_root), image) or Path(image_root) / image


def write(run_dir, rows):
    """Writes `photographs.csv` of a run."""
    header = dict(zip(FIELDS, FIELDS, strict=True))
    write_text(run_dir / PHOTOGRAPHS, csv_text([header, *rows], FIELDS))


def read(run_dir):
    """Rows of `photographs.csv`, or None where a run has none. Raises DataError: it is broken."""
    path = Path(run_dir) / PHOTOGRAPHS
    if not path.is_file():
        return None
    table = read_table(path)
    missing = [name for name in FIELDS if name not in table.columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}")
    columns = [table.column(name) for name in FIELDS]
    return [dict(zip(FIELDS, row, strict=True)) for row in zip(*columns, strict=True)]


def check_same(run_dir, rows):
    """Raises DataError where a run to go on with had other photographs than `rows`."""
    before = read(run_dir)
    if before is None:
        return
    then, now = ({(x["split"], x["image"]): x["fingerprint"] for x in y} for y in (before, rows))
    other = [image for (split, image), x in then.items() if now.get((split, image)) != x]
    if other or len(then) != len(now):
        named = f": {', '.join(other[:3])}" if other else ""
        raise DataError(
            f"{run_dir}: the photographs have changed since the run in it was started{named}"
        )


def check_place(run_dir, image_root):
    """Raises DataError where a run was made of other photographs than a folder holds now.

    They are compared where the folder is not that of the run.
    """
    then = read_json(run_dir / CONFIG).get("data", {}).get("image_root")
    rows = read(run_dir) if then not in (None, str(Path(image_root).resolve())) else None
    if rows:
        table = pd.DataFrame(rows)
        check_same(run_dir, take(table, image_root, set(table["split"])))


def numbers(rows):
    """Fingerprints as an array of uint64, sorted."""
    return np.unique(np.array([int(x["fingerprint"], 16) for x in rows], np.uint64))


def learned_from(config, manifest, splits):
    """What weights were learned from, kept in them; a run that starts from them repeats it.

    Args:
        config: of the run that made them.
        manifest: `Manifest` of its table.
        splits: names of those that were learned from, or "all" alone of a table that has none.
    """
    return {
        "pretrained_on": {
            "manifest": config.manifest.name,
            "sha256": manifest.sha256,
            "splits": list(splits),
        },
        "encoder": config.encoder,
        "image_size": config.image_size,
        "version": __version__,
    }


def held_out(rows, seen):
    """{split: [how many of its photographs are among those seen, of how many]} of val and test."""
    counts = {}
    for split in ("val", "test"):
        own = [x for x in rows if x["split"] == split]
        if own:
            counts[split] = [int(np.isin(numbers(own), seen).sum()), len(numbers(own))]
    return counts


def shared(run_dir, config, table):
    """How much of a table of predictions the run was trained or fitted on.

    By name: of photographs, and of patients.

    Args:
        run_dir: folder of the run.
        config: its `config.json`.
        table: of `run_files.read_predictions`.

    Returns:
        {"train": number of rows, "val": number of rows}, or None where the run does not say.
    """
    rows = read(run_dir)
    if rows is None:
        path = Path(config["data"].get("manifest") or "")
        if not path.is_file():
            return None
        try:
            known = read_manifest(path)
        except DataError:  # another one by now, or one that today's rules refuse
            return None
        if known.sha256 != config["data"].get("sha256") or "split" not in known.table:
            return None
        rows = known.table[["split", "image", "patient"]].to_dict("records")
    images = [table[c] for c in ("image", "image_left", "image_right") if c in table]
    found = {}
    for split in ("train", "val"):
        own = [x for x in rows if x["split"] == split]
        there = table["patient"].isin({x["patient"] for x in own})
        for column in images:
            there |= column.isin({x["image"] for x in own})
        found[split] = int(there.sum())
    return found
