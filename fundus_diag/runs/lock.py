"""One process at a time in a folder, by a file that says whose it is."""

import contextlib
import datetime
import errno
import json
import os
from pathlib import Path

from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import TRIAL, writing
from fundus_diag.utils.processes import alive, host, started

LOCK = ".lock"
# What file systems without a second name for a file answer.
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_held = set()  # folders that this process holds


@contextlib.contextmanager
def locked(folder):
    """Holds a folder while the block runs. It is made if need be, and goes again if empty.

    What a killed process of this machine left behind is taken over. Within a block that holds the
    folder already nothing happens.

    Raises:
        UsageError: another process holds it; named by number and machine.
        DataError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    if folder.resolve() in _held:
        yield
        return
    lock, made = folder / LOCK, []
    try:
        with writing(folder):
            for path in reversed([folder, *folder.parents]):
                if not path.is_dir():
                    if path.exists():
                        raise NotADirectoryError(errno.ENOTDIR, "a file is in the way")
                    path.mkdir(exist_ok=True)
                    made.append(path)
        _take(lock)
        held = folder.resolve()
        _held.add(held)
        try:
            yield
        finally:
            _held.discard(held)
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # somebody's files are in it: it stays
                path.rmdir()


def holder(folder):
    """Which other process holds a folder: {"pid", "host", "start", "since"}, or None."""
    lock = Path(folder) / LOCK
    if Path(folder).resolve() in _held:
        return None
    with contextlib.suppress(OSError):
        text = lock.read_text("utf-8", "replace")[:TRIAL]
        return _facts(text) if _lives(text) else None
    return None


def check_free(folder):
    """Raises UsageError where another process holds a folder."""
    found = holder(folder)
    if found is not None:
        raise UsageError(_in_use(Path(folder), found))


def _take(lock):
    facts = {
        "pid": os.getpid(),
        "host": host(),
        "start": started(os.getpid()),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    mine = lock.with_name(f"{LOCK}-{os.getpid()}")
    try:
        with writing(lock):
            # After a kill a process of this number may meet its own name as a second one of the
            # lock; what it wrote there would make the stale lock its own.
            mine.unlink(missing_ok=True)
            with mine.open("w", encoding="utf-8") as file:
                # Room for the work is asked for too: an empty file finds its place on a full disk.
                file.write(json.dumps(facts).ljust(TRIAL))
                file.flush()
                os.fsync(file.fileno())
        for _ in range(3):
            if _put(mine, lock):
                return
            _remove_stale(lock)
    finally:
        with contextlib.suppress(OSError):
            mine.unlink(missing_ok=True)
    raise UsageError(f"{lock.parent}: in use: {lock} comes and goes")


def _put(mine, lock):
    """Gives a file its second name, whole at once; whether that was still free."""
    with writing(lock):
        try:
            os.link(mine, lock)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if lock.exists():
                return False
            mine.rename(lock)  # two at the same instant would not see each other
    return True


def _remove_stale(lock):
    """Removes the lock of a process that is gone, or raises UsageError."""
    aside = lock.with_name(f"{LOCK}-{os.getpid()}-stale")
    with writing(lock):
        try:
            seen = lock.read_text("utf-8", "replace")
        except FileNotFoundError:
            return
    if _lives(seen[:TRIAL]):
        raise UsageError(_in_use(lock.parent, _facts(seen[:TRIAL])))
    with writing(lock):
        try:
            lock.rename(aside)
        except FileNotFoundError:
            return  # another one was quicker
        # Meanwhile somebody may have removed the stale one and put a lock of his own there.
        if aside.read_text("utf-8", "replace") != seen:
            aside.rename(lock)
        else:
            aside.unlink()


def _facts(text):
    """What a lock says; of a broken one nothing is known."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = {}
    facts = facts if isinstance(facts, dict) else {}
    pid = facts.get("pid")
    known = {k: str(facts.get(k, ""))[:100] for k in ("host", "start", "since")}
    return {"pid": pid if isinstance(pid, int) and pid > 0 else 0, **known}


def _lives(text):
    facts = _facts(text)
    if facts["host"] != host():
        # Broken, so nobody's; or of a machine that cannot be asked.
        return bool(facts["host"])
    return facts["pid"] > 0 and alive(facts["pid"], facts["start"])


def _in_use(folder, facts):
    where = "" if facts["host"] == host() else ", which cannot be asked from here"
    return (
        f"{folder}: in use by process {facts['pid']} on {facts['host']}{where}, since "
        f"{facts['since']}; if that is gone, remove {folder / LOCK}"
    )
