"""From a manifest to what a run reads: decoded photographs, and per split its rows and labels."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fundus_diag import manifest as manifests
from fundus_diag.data import Pictures, load_pictures
from fundus_diag.errors import DataError

LISTED = 20  # bad photographs named in an error; the rest are counted


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Attributes:
        table: one row per unit: photographs, or patients with `image_left`, `image_right`.
        pictures: (N,) picture numbers, or (N, 2) for pairs, -1 where an eye is missing.
        y: (N, L) float32 of 1, 0, NaN.
    """

    table: pd.DataFrame
    pictures: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Inputs:
    """Photographs and rows of some splits of a manifest; `bad` is a list of [image, reason]."""

    pictures: Pictures
    splits: dict[str, Rows]
    bad: list


def load_inputs(
    manifest,
    image_root,
    *,
    image_size,
    crop,
    unit,
    splits=None,
    cache="none",
    cache_dir=None,
    on_bad_image="fail",
):
    """Decodes the photographs of a manifest and lays out its rows.

    Args:
        manifest: `Manifest`.
        image_root: folder that the image paths start from.
        image_size, crop, cache, cache_dir: see `data.load_pictures`.
        unit: "eye" or "patient".
        splits: names of the splits wanted; None is every row, under the name "all".
        on_bad_image: "fail", or "skip" to leave rows with unreadable photographs out.

    Raises:
        DataError: the photographs that cannot be read, all named (the first twenty).
    """
    table = manifest.table
    if splits is not None:
        table = table[table["split"].isin(splits)].reset_index(drop=True)
    chosen = replace(manifest, table=table)
    paths = manifests.resolve_images(chosen, image_root)
    images = table["image"].tolist()
    unique = dict(zip(images, paths, strict=True))
    pictures, failures = load_pictures(
        list(unique.values()), image_size, crop, cache=cache, cache_dir=cache_dir
    )
    name_of = {path: image for image, path in unique.items()}
    bad = [[name_of[path], reason] for path, reason in failures]
    if bad and on_bad_image == "fail":
        raise DataError(describe_bad(bad))
    number = {image: i for i, image in enumerate(unique)}
    spoiled = {image for image, _ in bad}
    good = replace(chosen, table=table[~table["image"].isin(spoiled)])
    if unit == "patient":
        good = manifests.pair_eyes(good)
    parts = {"all": good.table}
    if splits is not None:
        parts = {s: good.table[good.table["split"] == s].reset_index(drop=True) for s in splits}
    rows = {name: _rows(part, manifest.labels, number, unit) for name, part in parts.items()}
    return Inputs(pictures, rows, bad)


def describe_bad(bad):
    """One line that names the photographs that cannot be read, the first twenty of many."""
    listed = "; ".join(f"{image} ({reason})" for image, reason in bad[:LISTED])
    more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    plural = "photograph" if len(bad) == 1 else "photographs"
    return (
        f"{len(bad)} {plural} cannot be read: {listed}{more} (--on-bad-image skip leaves them out)"
    )


def _rows(table, labels, number, unit):
    number = {**number, "": -1}
    if unit == "patient":
        columns = [table["image_left"].map(number), table["image_right"].map(number)]
        pictures = np.stack([c.to_numpy(np.int64) for c in columns], axis=1)
    else:
        pictures = table["image"].map(number).to_numpy(np.int64)
    y = table[list(labels)].to_numpy(np.float32).reshape(len(table), len(labels))
    return Rows(table, pictures, y)
