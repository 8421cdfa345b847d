"""The salt of a run: what hashes of people are made with, so that two runs' have nothing in common.

It stays in the run's folder and is neither exported nor printed: who has it could find out whose
hash is whose by trying.
"""

import contextlib
import functools
import os
import re
import secrets

from fundus_diag.runs.contents import SALT
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import PARTIAL, reason

_FORM = re.compile(r"[0-9a-f]{64}\n?")


def salt_maker(run_dir):
    """A function that gives the salt of a run when it is asked: most never need one."""
    return functools.partial(salt_of, run_dir)


def salt_of(run_dir) -> str:
    """64 hex digits of a run, made on first use; the same for all who ask at once.

    Raises:
        DataError: the file cannot be read or written, or holds something else.
    """
    path = os.path.join(run_dir, SALT)
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
            return _read(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read or written: {reason(error)}") from error


def _read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read(100)
    if not _FORM.fullmatch(text):
        raise DataError(f"{path}: no salt of a run: delete it, and with it what was hashed by it")
    return text.strip()


def _make(path):
    """Writes a salt that only its owner reads; where another is first, that one stays."""
    name = f"{PARTIAL}{os.getpid()}-{secrets.token_hex(4)}"  # of threads too
    partial = os.path.join(os.path.dirname(path), name)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        try:
            os.link(partial, path)  # which, unlike a renaming, takes nobody's place
        except FileExistsError:
            pass
        except OSError:  # a disk without links
            os.rename(partial, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
