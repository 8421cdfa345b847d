"""From a manifest to what a run reads: decoded photographs, and per split its rows and labels."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data import manifest as manifests
from fundus_diag.data.pictures import Pictures, load_pictures
from fundus_diag.imaging.image_file import MORE
from fundus_diag.imaging.quality import NOTHING
from fundus_diag.utils.errors import DataError

LISTED = 20  # bad photographs named in an error; the rest are counted


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Attributes:
        table: one row per unit: photographs, or patients with `image_left`, `image_right`.
        pictures: (N,) picture numbers, or (N, 2) for pairs, -1 where an eye is missing.
        y: (N, L) float32 of 1, 0, NaN.
        labels: the L names.
    """

    table: pd.DataFrame
    pictures: np.ndarray
    y: np.ndarray
    labels: tuple[str, ...]


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
    title="reading photographs",
):
    """Decodes the photographs of a manifest and lays out its rows, without those of bad ones.

    Args:
        manifest: `Manifest`.
        image_root: folder that the image paths start from.
        image_size, crop, cache, cache_dir, title: see `pictures.load_pictures`.
        unit: "eye" or "patient".
        splits: names of the splits wanted; None is every row, under the name "all".

    Returns:
        `Inputs`; what to do about its `bad` is for `settle_bad`.
    """
    table = manifest.table
    if splits is not None:
        table = table[table["split"].isin(splits)].reset_index(drop=True)
    chosen = replace(manifest, table=table)
    # What is missing is among the bad ones, as what is broken.
    paths = manifests.resolve_images(chosen, image_root, missing_ok=True)
    images = table["image"].tolist()
    unique = dict(zip(images, paths, strict=True))
    pictures, failures = load_pictures(
        list(unique.values()), image_size, crop, cache=cache, cache_dir=cache_dir, title=title
    )
    name_of = {path: image for image, path in unique.items()}
    bad = [[name_of[path], reason] for path, reason in failures]
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


def load_table(manifest, image_root, config, split=None, on_bad_image="fail", cache="none"):
    """A table of photographs as a run takes them; labels are read where there are any.

    Args:
        manifest: path of a table with image, patient, eye.
        image_root: folder that its image paths start from.
        config: of the run.
        split: rows of this split only; None is every row.
        on_bad_image: "fail" or "skip".
        cache: see `pictures.load_pictures`.

    Returns:
        (`Pictures`, `Rows`), with the labels that both know, in the run's order.

    Raises:
        DataError: the table or photographs cannot be read, or no row is left.
        UsageError: the table has no such split.
    """
    known = manifests.read_manifest(Path(manifest), need_labels=False)
    inputs = load_inputs(
        manifests.for_run(known, config["labels"], split),
        image_root,
        image_size=config["image_size"],
        crop=config["crop"],
        unit=config["unit"],
        cache=cache,
    )
    settle_bad(inputs.bad, on_bad_image)
    rows = inputs.splits["all"]
    if not len(rows.table):
        raise DataError(f"{manifest}: no row with a readable photograph")
    return inputs.pictures, rows


def settle_bad(bad, on_bad_image):
    """Stops at photographs that cannot be read ("fail"), or says which are left out ("skip").

    Raises:
        DataError: the photographs by name, the first twenty of many.
    """
    if bad and on_bad_image == "fail":
        raise DataError(f"{_describe_bad(bad)} (--on-bad-image skip leaves them out)")
    if bad:
        print(f"warning: left out: {_describe_bad(bad)}", file=sys.stderr)


def warn_of_several(paths, number):
    """Counts the photographs whose files hold further pictures, on stderr.

    Args:
        paths: their files.
        number: of all photographs.
    """
    if paths:
        names = ", ".join(Path(x).name for x in paths[:3]) + (" .." if len(paths) > 3 else "")
        print(f"warning: {len(paths)} of {number} photographs {MORE}: {names}", file=sys.stderr)


def warn_of_blank(*pictures):
    """Counts the photographs that show nothing, or are the first of several, on stderr.

    They are used as they are.

    Args:
        pictures: `Pictures`; what was taken from a cache is not looked at again.
    """
    blank = [path for part in pictures for path in part.blank]
    several = [path for part in pictures for path in part.several]
    warn_of_odd(blank, several, sum(len(part.paths) for part in pictures))


def warn_of_odd(blank, several, number):
    """As `warn_of_blank`, of files that were found to be so among `number`."""
    warn_of_several(several, number)
    if blank:
        names = ", ".join(path.name for path in blank[:3]) + (" .." if len(blank) > 3 else "")
        print(f"warning: {len(blank)} of {number} photographs {NOTHING}: {names}", file=sys.stderr)


def _describe_bad(bad):
    listed = "; ".join(f"{image} ({reason})" for image, reason in bad[:LISTED])
    more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    plural = "photograph" if len(bad) == 1 else "photographs"
    return f"{len(bad)} {plural} cannot be read: {listed}{more}"


def _rows(table, labels, number, unit):
    number = {**number, "": -1}
    if unit == "patient":
        columns = [table["image_left"].map(number), table["image_right"].map(number)]
        pictures = np.stack([c.to_numpy(np.int64) for c in columns], axis=1)
    else:
        pictures = table["image"].map(number).to_numpy(np.int64)
    y = table[list(labels)].to_numpy(np.float32).reshape(len(table), len(labels))
    return Rows(table, pictures, y, tuple(labels))
