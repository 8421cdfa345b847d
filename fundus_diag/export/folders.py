"""Where an export goes: a folder that appears whole, of what is served a numbered version."""

import contextlib
import glob
import os
import shutil

import tensorflow as tf

from fundus_diag.export.card import DOCUMENTS
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.processes import alive

# What an export may consist of; a folder with anything else in it is not replaced.
VERSION_FILES = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}
FILES = {"model.onnx", "model.xml", "model.bin", *DOCUMENTS}
LAST = 2**63 - 1  # the largest number that TensorFlow Serving reads


def target(out, versions=True, version=None, overwrite=False):
    """The folder that an export will be.

    Args:
        out: folder, absolute.
        versions: whether it holds numbered versions: then `out/N`, else `out` itself.
        version: N. By default the one after the newest there is; with `overwrite` the newest.
        overwrite: whether an export that lies there may be replaced.

    Raises:
        UsageError: it may not be replaced, or something else lies there.
    """
    try:
        return _version_of(out, version, overwrite) if versions else _free(out, FILES, overwrite)
    except OSError as error:
        raise DataError(f"{out}: cannot be read: {error.strerror}") from error


def _version_of(out, version, overwrite):
    found = {}
    if out.exists():
        # Hidden files are nobody's version, nor that of an export on its way.
        names = [x.name for x in _inside(out) if not x.name.startswith(".")]
        if not all(x.isascii() and x.isdigit() for x in names):
            raise UsageError(f"--out {out}: holds something else than versions of an export")
        found = {int(x): x for x in names}
    if version is None:
        version = max(found, default=0) + (not overwrite or not found)
    if not 1 <= version <= LAST:
        raise UsageError(f"--version {version}: must be in [1, {LAST}]")
    return _free(out / found.get(version, str(version)), VERSION_FILES, overwrite)


def _free(folder, files, overwrite):
    if not folder.exists():
        return folder
    names = {x.name for x in _inside(folder)}
    if not overwrite:
        raise UsageError(
            f"--out {folder}: exists; --overwrite replaces it, once the new one is complete"
        )
    if not names <= files:
        raise UsageError(f"--out {folder}: holds something else than an export, not overwritten")
    return folder


def _inside(folder):
    if not folder.is_dir():
        raise UsageError(f"--out {folder}: not a folder")
    return folder.iterdir()


def _mend(out):
    """Puts right what processes that are gone left beside `out`: half a new one, or the old one."""
    for path in out.parent.glob(f".*-{glob.escape(out.name)}"):
        kind, _, number = path.name.removesuffix(f"-{out.name}").partition("-")
        if kind not in (".partial", ".replaced") or not number.isdecimal() or alive(int(number)):
            continue
        if kind == ".replaced" and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def new_folder(out):
    """Yields a folder that takes the place of `out`, whole, when the block ends without error."""
    new = out.with_name(f".partial-{os.getpid()}-{out.name}")  # no version to a server
    old = out.with_name(f".replaced-{os.getpid()}-{out.name}")
    made = [x for x in out.parents if not x.exists()]
    _mend(out)
    there = out.exists()
    try:
        new.mkdir(parents=True)
        yield new
        if out.exists() and not there:
            raise UsageError(f"--out {out}: another export has come there meanwhile")
        if there:
            out.rename(old)
        new.rename(out)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise DataError(f"{out}: cannot be written: {reason}") from error
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # holds the export
                folder.rmdir()
