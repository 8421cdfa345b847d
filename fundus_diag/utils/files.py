"""Writing so that a reader never meets half a file, whenever the writer is killed.

What the system answers to a writer or a reader becomes one line that names the file.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import sys
from pathlib import Path

from fundus_diag.utils.errors import DataError, UsageError

try:
    import fcntl
except ImportError:  # Windows, where nobody can rename or remove a file that another has open
    fcntl = None

PARTIAL = ".partial-"  # start of the name of a file that is being written
TRIAL = 4096  # bytes that must find room before work begins
MAX_JSON_BYTES = 10_000_000
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)  # some file systems
CHUNK = 1 << 24  # bytes of zeros at a time, where room cannot be reserved


def reason(error):
    """What the system said, in a few words without the file's name."""
    if getattr(error, "errno", None):
        return os.strerror(error.errno)
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def writing(path, *more):
    """Turns an OSError of the block, or one of the kinds `more`, into a DataError on `path`."""
    try:
        yield
    except (OSError, *more) as error:
        raise DataError(f"{path}: cannot be written: {reason(error)}") from error


@contextlib.contextmanager
def atomic(path, *more):
    """Yields a path to write to; it takes the place of `path` when the block ends without error.

    Args:
        path: file; its folder is there.
        more: errors beside OSError by which a library says that it could not write.

    Raises:
        DataError: it cannot be written.
    """
    path = Path(path)
    # The name's end stays: some writers choose the format by it.
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        with writing(path, *more):
            yield partial
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):  # the error that led here says more
            partial.unlink(missing_ok=True)


def partial_of(path):
    """Where `growing` keeps a file until it is whole."""
    return Path(path).with_name(f"{Path(path).name}.partial")


@contextlib.contextmanager
def growing(path, what="rows", kept=(0, 0)):
    """Yields `write(text, count)` for a file that grows for long; `path` when the block ends.

    Until then it lies at PATH.partial, flushed after every piece: what an error or a kill leaves
    behind is never taken for the whole, and is not lost. Where nothing was counted, nothing stays.

    Args:
        path: file; its folder is there.
        what: is counted, for the note about what stayed.
        kept: (bytes, count) of what an earlier one left behind and this one goes on from.

    Raises:
        DataError: it cannot be written.
        UsageError: another process is writing it.
    """
    path, (size, written) = Path(path), kept
    partial, whole = partial_of(path), False
    with writing(path):
        file = _alone(partial, size)

    def write(text, count=0):
        nonlocal written
        with writing(path):
            file.write(text)
            file.flush()
        written += count

    try:
        yield write
        with writing(path):
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()
            os.replace(partial, path)  # while it is open: until it has its name it is nobody else's
        whole = True
    finally:
        try:
            if not whole and written:
                print(f"note: {partial} holds the first {written} {what}", file=sys.stderr)
            elif not whole:
                with contextlib.suppress(OSError):
                    if fcntl is None:
                        file.close()
                    partial.unlink(missing_ok=True)
        finally:
            with contextlib.suppress(OSError):
                file.close()


def _alone(path, size=0):
    """A file of its first `size` bytes, open for writing by this process alone while it is open.

    Raises:
        UsageError: another process has it open so.
    """
    while True:
        with contextlib.ExitStack() as opened:
            file = opened.enter_context(path.open("a", encoding="utf-8", newline=""))
            _lock(file, path)
            # Whoever had it until now may have given it its name: then it is the whole file.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    file.truncate(size)
                    opened.pop_all()
                    return file


def _lock(file, path):
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{path}: another process is writing it") from error
    except OSError:
        return  # a file system without locks


def check_writable(path):
    """Tries to write beside `path`, so that a full or forbidden folder is said before the work.

    Raises:
        DataError: there is no such folder, or nothing can be written there.
    """
    path = Path(path)
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")
    trial = path.with_name(f"{PARTIAL}{os.getpid()}-trial")
    try:
        with writing(path):
            with trial.open("wb") as file:
                file.write(bytes(TRIAL))
                file.flush()
                os.fsync(file.fileno())
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)


def reserve(file, size, kept=0):
    """Takes the room for a file of `size` bytes, open for reading and writing.

    What stands in its first `kept` bytes stays; what lies behind is zero where it has to be filled.

    Raises:
        OSError: there is none, see `NO_ROOM`.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in CANNOT_RESERVE:
                raise
    file.seek(kept)
    for at in range(kept, size, CHUNK):
        file.write(bytes(min(CHUNK, size - at)))
    file.flush()


def check_room(path, size):
    """Finds out whether a file of `size` bytes can be written at `path`, for libraries that do not
    survive when it cannot.

    Raises:
        DataError: it cannot.
    """
    path = Path(path)
    trial = path.with_name(f"{PARTIAL}{os.getpid()}-room")
    try:
        with writing(path), trial.open("w+b") as file:
            reserve(file, size)
    finally:
        with contextlib.suppress(OSError):
            trial.unlink(missing_ok=True)


def make_folder(path):
    """Makes a folder with those above it; one that is there is fine. Raises DataError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made a folder: {reason(error)}") from error


def write_bytes(path, content):
    with atomic(path) as partial:
        partial.write_bytes(content)


def write_text(path, text):
    write_bytes(path, text.encode("utf-8"))


def plain(value):
    """A value as JSON has it: NumPy's numbers are Python's, and what is undefined is None."""
    if isinstance(value, dict):
        return {k: plain(x) for k, x in value.items()}
    if isinstance(value, list):
        return [plain(x) for x in value]
    if hasattr(value, "item"):  # NumPy itself is not imported here: commands start without it
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path, table):
    """Writes a pandas table; floats keep all their digits."""
    with atomic(path) as partial:
        table.to_csv(partial, index=False)


def csv_text(rows, fields):
    """Lines of a table, of dicts by field; the header is a row like any other."""
    text = io.StringIO()
    csv.DictWriter(text, fields, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_json(path):
    """A JSON object of at most `MAX_JSON_BYTES`. Raises DataError."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: larger than {MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found; is {path.parent} a run directory?") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
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
