"""Several tables as one; a label that one of them does not grade stays empty there."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fundus_diag.data.columns import META
from fundus_diag.data.labels import LABELS
from fundus_diag.data.manifest import Manifest, from_table, read_manifest, summary, write_manifest
from fundus_diag.utils.errors import DataError


def merge(paths: Sequence[Path], out: Path) -> dict:
    """Writes several manifests as one; a label that one of them lacks stays empty in its rows.

    The pictures must lie under one image root (links to folders will do).

    Returns:
        {"out", "rows", "labels", "splits": see `summary`}.

    Raises:
        DataError: a picture stands in two tables; an id of a patient does, and the column
            `dataset` does not say that it is the same person; grades meet labels; the file cannot
            be written.
    """
    merged = merge_manifests([read_manifest(path) for path in paths])
    write_manifest(merged.table, out)
    splits = summary(merged.table, merged.labels)
    rows = len(merged.table)
    return {"out": str(out), "rows": rows, "labels": list(merged.labels), "splits": splits}


def merge_manifests(manifests: Sequence[Manifest]) -> Manifest:
    """The rows of all manifests under each other; see `merge`."""
    found = dict.fromkeys(label for manifest in manifests for label in manifest.labels)
    labels = [label for label in LABELS if label in found]
    labels += [label for label in found if label not in LABELS]
    images: dict[str, Path | None] = {}
    people: dict[str, tuple[Path | None, str]] = {}
    for manifest in manifests:
        table = manifest.table
        for image in table["image"]:
            before = images.setdefault(str(Path(image)), manifest.path)
            if before is not manifest.path:
                raise DataError(f"{manifest.path}: image {image!r} stands in {before} too")
        sources = table["dataset"] if "dataset" in table else [""] * len(table)
        for patient, source in set(zip(table["patient"], sources, strict=True)):
            before, other = people.setdefault(patient, (manifest.path, source))
            if before is not manifest.path and not (source and source == other):
                raise DataError(
                    f"{manifest.path}: patient {patient!r} stands in {before} too: give different "
                    "people different ids, or one person's rows the same `dataset`"
                )
    columns = [name for name in META if any(name in manifest.table for manifest in manifests)]
    table = pd.concat([manifest.table for manifest in manifests], ignore_index=True)
    table = table.reindex(columns=columns + labels)
    text = [name for name in columns if name != "age"]
    table[text] = table[text].fillna("")
    return from_table(table)
