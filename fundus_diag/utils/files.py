"""Writing so that a reader never meets half a file, whenever the writer is killed."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from fundus_diag.utils.errors import DataError


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


def write_bytes(path, content):
    with atomic(path) as partial:
        partial.write_bytes(content)


def write_text(path, text):
    write_bytes(path, text.encode("utf-8"))


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path, table):
    """Writes a pandas table; floats keep all their digits."""
    with atomic(path) as partial:
        table.to_csv(partial, index=False)


MAX_JSON_BYTES = 10_000_000


def read_json(path):
    """A JSON object of at most `MAX_JSON_BYTES`. Raises DataError."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: larger than {MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found; is {path.parent} a run directory?") from error
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not readable as JSON") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: not an object")
    return content


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
