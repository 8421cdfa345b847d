"""Writes manifests: nothing that the reader would refuse."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.columns import about, parse, raise_first
from fundus_diag.data.labels import nfc
from fundus_diag.data.paths import escaped, is_utf8
from fundus_diag.data.tables import table_of
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import write_bytes


def write_manifest(
    table: pd.DataFrame, path: Path, source: Path | None = None, where: Sequence[str] | None = None
) -> None:
    """Writes a table as a manifest, in one step: the labels last, as 1, 0 or nothing.

    Args:
        table: a manifest's.
        path: the file.
        source: file or folder to name where a row may not be written; by default `path`.
        where: what each row is called there, such as "line 7"; by default its line in `path`.

    Raises:
        DataError: the reader would refuse a row (it and its picture are named), or the file
            cannot be written.
    """
    path = Path(path)
    others = about(table.columns)
    labels = [name for name in table.columns if name not in others]
    out = pd.DataFrame({name: table[name] for name in others})
    if "age" in out:
        out["age"] = [_format_number(age) for age in table["age"]]
    for label in labels:
        out[label] = [_format_number(value) for value in table[label]]
    content = out.to_csv(index=False, lineterminator="\n").encode("utf-8", "surrogatepass")
    _check_written(out, content, path, source or path, where)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error


def _check_written(out, content, path, source, where):
    """Reads what is to be written as the reader will."""
    if path.suffix.lower() == ".xlsx":
        raise DataError(f"{path}: a manifest is written as CSV: name it .csv")
    for image in out["image"]:
        if not is_utf8(image):
            raise DataError(f"{source}: image '{escaped(image)}' is not UTF-8")
    text = table_of(path, content)
    where = where or [f"line {line}" for line in text.lines]
    labelled = len(about(out.columns)) < len(out.columns)
    read, _, problems = parse(text, need_labels=labelled, need_split=False, where=where)
    if len(read) != len(out):
        raise DataError(f"{source}: a row without a picture")
    for name, form in (("image", str), ("patient", nfc)):
        changed = np.flatnonzero(read[name].to_numpy() != out[name].map(form).to_numpy())
        problems += [(i, f"{name} {out[name].iloc[i]!r} has blanks around it") for i in changed]
    texts = []
    for i, what in problems:
        named = "" if what.startswith("image ") else f" (picture {out['image'].iloc[i]!r})"
        texts.append(f"{source} {where[i]}: {what}{named}")
    raise_first(texts)


def _format_number(value):
    return "" if pd.isna(value) else str(int(value) if float(value).is_integer() else float(value))
