"""What the training of a segmenter reads: photographs with masks, and counts of them."""

import hashlib
from pathlib import Path

import numpy as np

from fundus_diag.data.inputs import settle_bad
from fundus_diag.data.labels import SPLITS
from fundus_diag.data.outlined import outlined
from fundus_diag.data.segments import load_segments, look_at
from fundus_diag.runs import photographs
from fundus_diag.utils.errors import DataError


def load_splits(config, manifest, classes):
    """({"train", "val": `Segments`}, counts of all splits for config.json, what is bad).

    Args:
        config: `SegmentConfig`.
        manifest: its table.
        classes: K names.

    Raises:
        DataError: a split, a class or a file is not fit to learn from, or to be scored by.
    """
    splits, counts, bad, table = {}, {}, [], manifest.table
    how = {"soft": config.soft_masks}
    for split in SPLITS:
        rows = table[table["split"] == split]
        if not len(rows):
            continue
        files = outlined(rows, config.image_root, classes, config.manifest)
        if split == "test":  # looked at once, not kept
            known, pixels, wrong = look_at(files, classes, config.image_size, config.crop, **how)
        else:
            splits[split], wrong = load_segments(
                files, classes, config.image_size, **how, **config.reading
            )
            known, pixels = splits[split].known, splits[split].pixels
        bad += wrong
        counts[split] = {
            "rows": len(known),
            "patients": int(rows["patient"].nunique()),
            "looked_at": dict(zip(classes, known.sum(axis=0).tolist(), strict=True)),
            "pixels": dict(zip(classes, pixels.tolist(), strict=True)),
            "masks": _fingerprint_of_masks(files),
        }
    settle_bad(bad, config.on_bad_image)
    for split in ("train", "val"):
        if not len(splits[split].rows):
            raise DataError(f"{config.manifest}: no readable photograph in split {split!r}")
    for name, pixels in counts["train"]["pixels"].items():
        if not pixels:
            raise DataError(f"{config.manifest}: class {name!r} has no pixel in split 'train'")
    if not any(counts["val"]["pixels"].values()):
        raise DataError(f"{config.manifest}: no class has a pixel in split 'val'")
    return splits, counts, bad


def _fingerprint_of_masks(files):
    """One hash of the masks of a split: of all classes, and of where they were looked for."""
    every = [x for row in files for x in (*row.masks.values(), row.fov)]
    own = [photographs.fingerprint(x) if isinstance(x, Path) else str(x) for x in every]
    return hashlib.sha256("\n".join(own).encode()).hexdigest()


def check_masks(run_dir, before, counts):
    """Raises DataError where a run to go on with had other masks."""
    for split, count in counts.items():
        if before.get(split, {}).get("masks", count["masks"]) != count["masks"]:
            raise DataError(
                f"{run_dir}: the masks of split {split!r} have changed since the run in it was "
                "started"
            )


def shares(counts, side):
    """(K,) shares of the pixels of its pictures that are of each class in a split, never 0.

    Args:
        counts: of the split, see `load_splits`.
        side: of its pictures, px.
    """
    pixels, rows = (np.array([*counts[x].values()]) for x in ("pixels", "looked_at"))
    return np.clip(pixels / np.maximum(1, rows * side**2), 1e-4, 0.5)
