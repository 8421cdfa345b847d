"""Several tables as one; a label that one of them does not grade stays empty there."""

import posixpath
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fundus_diag.data import patients
from fundus_diag.data.columns import about
from fundus_diag.data.labels import LABELS
from fundus_diag.data.manifest import Manifest, from_table, read_manifest, summary
from fundus_diag.data.write import write_manifest
from fundus_diag.utils.errors import DataError, UsageError


def merge(paths: Sequence[Path], out: Path, drop_splits: bool = False) -> dict:
    """Writes several manifests as one; a label that one of them lacks stays empty in its rows.

    A label that none of them grades is left out, and a note says so. The pictures must lie under
    one image root (links to folders will do).

    Args:
        paths: manifests.
        out: the manifest to write.
        drop_splits: leaves the splits of the tables out, for `splits.split` to make one of all.

    Returns:
        {"out", "rows", "labels", "notes": [line, ..], "splits": see `summary`}.

    Raises:
        DataError: a picture stands in two tables; an id of a patient does, and the column
            `dataset` does not say that it is the same person; that person stands in two splits;
            grades meet labels, or grades of another scale; the file cannot be written.
        UsageError: no manifest is named.
    """
    if not paths:
        raise UsageError("no manifest is named: manifest merge A B --out C")
    merged = merge_manifests([read_manifest(x, keep_split=not drop_splits) for x in paths])
    merged, notes = _graded(merged)
    write_manifest(merged.table, out)
    return {
        "out": str(out),
        "rows": len(merged.table),
        "labels": list(merged.labels),
        "notes": notes + patients.notes(merged.table),
        "splits": summary(merged.table, merged.labels),
    }


def _graded(manifest):
    """(the table without the labels of which no row knows anything, a line that says so).

    Tables in ODIR's labels have all eight, and a training refuses one that nobody graded.
    """
    table = manifest.table
    never = [label for label in manifest.labels if table[label].isna().all()]
    if not never or len(never) == len(manifest.labels):
        return manifest, []
    note = f"no row is graded for {', '.join(never)}: left out"
    return from_table(table.drop(columns=never)), [note]


def merge_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """The rows of all manifests under each other; see `merge`."""
    _check_scales(manifests)
    found = dict.fromkeys(label for manifest in manifests for label in manifest.labels)
    labels = [label for label in LABELS if label in found]
    labels += [label for label in found if label not in LABELS]
    images: dict[str, Path | None] = {}
    people: dict[str, tuple[Path | None, str]] = {}
    splits: dict[str, tuple[Path | None, str]] = {}
    for manifest in manifests:
        table = manifest.table
        for image in table["image"]:
            before = images.setdefault(posixpath.normpath(image), manifest.path)
            if before is not manifest.path:
                raise DataError(f"{manifest.path}: image {image!r} stands in {before} too")
        sources = table["dataset"] if "dataset" in table else [""] * len(table)
        for patient, source in dict.fromkeys(zip(table["patient"], sources, strict=True)):
            before, other = people.setdefault(patient, (manifest.path, source))
            if before is not manifest.path and not (source and source == other):
                raise DataError(
                    f"{manifest.path}: patient {patient!r} stands in {before} too: give different "
                    "people different ids, or one person's rows the same `dataset`"
                )
        named = table["split"] if "split" in table else [""] * len(table)
        for patient, split in dict.fromkeys(zip(table["patient"], named, strict=True)):
            if not split:
                continue
            before, other = splits.setdefault(patient, (manifest.path, split))
            if split != other:
                raise DataError(
                    f"{manifest.path}: patient {patient!r} stands in {split!r}, and in {before} in "
                    f"{other!r}: merge with --drop-splits and split the result anew"
                )
    columns = about(dict.fromkeys(name for manifest in manifests for name in manifest.table))
    table = pd.concat([manifest.table for manifest in manifests], ignore_index=True)
    table = table.reindex(columns=columns + labels)
    text = [name for name in columns if name != "age"]
    table[text] = table[text].fillna("")
    return from_table(table)


def _check_scales(manifests):
    """Grades are one column each of one scale: as many in every table, and nothing beside them."""
    first = manifests[0]
    for other in manifests[1:]:
        if other.task != first.task:
            raise DataError(f"{other.path}: {_scale(other)}, and {first.path} {_scale(first)}")
        if other.task == "grade" and other.labels != first.labels:
            raise DataError(
                f"{other.path}: {_scale(other)}, and {first.path} {_scale(first)}: not one scale"
            )


def _scale(manifest):
    return f"has {len(manifest.labels)} {'grades' if manifest.task == 'grade' else 'labels'}"
