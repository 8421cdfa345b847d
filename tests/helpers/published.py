"""Trees of files as data sets are published, and what `manifest build` makes of them."""

import tarfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from fundus_diag.data.datasets.build import build
from fundus_diag.data.manifest import read_manifest


def tree(root, *paths):
    """Writes placeholders for pictures, which a build does not decode."""
    for name in paths:
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return Path(root)


def text(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))


def workbook(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def made(name, root, out, labels=None, **options):
    """(table as text by picture, what `build` returns); the table has to be one for `check`."""
    result = build(name, root, out, labels, **options)
    read_manifest(out, need_labels="mask_" not in out.read_text("utf-8"))
    return pd.read_csv(out, dtype=str, keep_default_na=False).set_index("image"), result


def cells(table, *columns):
    """{picture: its cells of some columns, joined}: "-" where one is empty."""
    return {
        image: " ".join(row[name] or "-" for name in columns) for image, row in table.iterrows()
    }


def unpacked(data_dir, archive, folder):
    """The folder, with an archive of real files in it; the test skips where there is none."""
    path = data_dir / archive
    if not path.is_file():
        pytest.skip(f"no {path}")
    with tarfile.open(path) as opened:
        opened.extractall(folder, filter="data")
    return folder
