"""Writing so that a reader never meets half a file, whenever the writer is killed."""

import contextlib
import json
import os
from pathlib import Path


@contextlib.contextmanager
def atomic(path):
    """Yields a path to write to; it takes the place of `path` when the block ends without error."""
    path = Path(path)
    # The name's end stays: some writers choose the format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path, text):
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path, table):
    """Writes a pandas table; floats keep all their digits."""
    with atomic(path) as partial:
        table.to_csv(partial, index=False)
