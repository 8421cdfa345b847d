"""A disk that fails, or a process that is killed, at any one of the steps by which files are made.

In this process, by what Python is asked: opening to write, writing, renaming, making folders,
reserving room. What HDF5 and TensorFlow write by themselves is not seen here.
"""

import builtins
import contextlib
import errno
import functools
import io
import json
import os
import re
import subprocess
from pathlib import Path
from unittest import mock

import pytest

STEPS = ("mkdir", "replace", "rename", "link", "fsync", "posix_fallocate", "truncate")
CLEANING = ("unlink", "remove", "rmdir")  # a killed process does not clean up


class Killed(BaseException):
    """In place of a kill: no handler of errors may meet it."""


class Disk:
    """Counts steps below a folder; the one of the number `at` fails.

    Args:
        root: folder; what happens elsewhere is left alone.
        at: number of the step, from 1; None counts only.
        error: errno of the failure; None is a kill: from then on nothing is done any more.
        removing: whether to remove a file is a step too.
    """

    def __init__(self, root, at=None, error=errno.ENOSPC, removing=False):
        self.root, self.at, self.error = str(Path(root).resolve()), at, error
        self.removing = removing
        self.count, self.dead, self.said = 0, False, []

    def step(self, path):
        if self.dead:
            raise Killed
        if isinstance(path, int):  # of a descriptor, Linux knows the name
            path = os.readlink(f"/proc/self/fd/{path}")
        if not os.path.abspath(os.fspath(path)).startswith(self.root):
            return
        self.count += 1
        if self.count == self.at:
            self.said.append(path)
            if self.error is None:
                self.dead = True
                raise Killed
            raise OSError(self.error, os.strerror(self.error), os.fspath(path))


class _Watched:
    """A file whose every write is a step."""

    def __init__(self, file, disk, path):
        self._file, self._disk, self._path = file, disk, path

    def write(self, content):
        self._disk.step(self._path)
        return self._file.write(content)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __iter__(self):
        return iter(self._file)


@contextlib.contextmanager
def failing(root, at=None, error=errno.ENOSPC, removing=False):
    """Yields the `Disk` under which the block works."""
    disk, really_open = Disk(root, at, error, removing), io.open

    def opened(file, mode="r", *args, **kwargs):
        if isinstance(file, int) or not set(mode) & set("wxa+"):
            return really_open(file, mode, *args, **kwargs)
        disk.step(file)
        found = really_open(file, mode, *args, **kwargs)
        inside = os.path.abspath(os.fspath(file)).startswith(disk.root)
        return _Watched(found, disk, file) if inside else found

    def stepping(name):
        real = getattr(os, name)

        def done(path, *args, **kwargs):
            if not (name == "mkdir" and os.path.isdir(path)):  # nothing is made
                disk.step(path)
            return real(path, *args, **kwargs)

        return done

    def cleaning(name):
        real = getattr(os, name)

        def done(path, *args, **kwargs):
            if disk.dead:
                raise Killed
            if disk.removing:
                disk.step(path)
            return real(path, *args, **kwargs)

        return done

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(io, "open", opened))
        stack.enter_context(mock.patch.object(builtins, "open", opened))
        for names, make in ((STEPS, stepping), (CLEANING, cleaning)):
            for name in filter(functools.partial(hasattr, os), names):
                stack.enter_context(mock.patch.object(os, name, make(name)))
        yield disk


def sampled(count, most):
    """Up to `most` numbers from 1 to `count`, the first and the last among them."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(k * (count - 1) / (most - 1)) for k in range(most)})


def files_of(root):
    """{path below the folder: content} of all files."""
    return {
        str(x.relative_to(root)): x.read_bytes() for x in sorted(root.rglob("*")) if x.is_file()
    }


@functools.cache
def gone_process():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def bury(root):
    """Makes the locks below a folder those of a process that is gone, as after a kill."""
    for lock in Path(root).rglob(".lock"):
        facts = json.loads(lock.read_text())
        lock.write_text(json.dumps({**facts, "pid": gone_process(), "start": ""}))


def check_every_step(command, out, capsys, most, changing=()):
    """A disk that fails at any step, and a kill there, leave whole files and no traceback.

    Args:
        command: function without arguments that runs `main` and returns its status. What it writes
            below `out` has to be the same each time.
        out: folder that it writes into; what is in it now is what must stay good.
        capsys: of pytest.
        most: steps tried, of all that there are.
        changing: ends of the names of files whose content is not the same each time.
    """
    before = files_of(out)
    with failing(out) as dry:
        assert command() == 0
    after = files_of(out)
    assert dry.count > 3
    tried = [(at, error) for at in sampled(dry.count, most) for error in (errno.ENOSPC, None)]
    tried.append((max(1, dry.count // 2), errno.EACCES))
    for at, error in tried:
        _restore(out, before)
        capsys.readouterr()
        with failing(out, at, error) as disk:
            if error is None:
                with pytest.raises(Killed):
                    command()
            else:
                assert command() == 1, (at, disk.said)
        said = capsys.readouterr().err
        assert "Traceback" not in said
        if error is not None:
            last = said.splitlines()[-1]
            assert last.endswith(os.strerror(error)), (at, said)
            assert "cannot be written: " in last or "cannot be made a folder: " in last, (at, said)
            assert str(out) in last, (at, said)
        for name, content in files_of(out).items():
            if Path(name).name.startswith((".partial-", ".lock")):
                assert error is None, (at, name)  # only a kill leaves them
            elif not name.endswith((".partial", ".partial.json", *changing)):
                assert content in (before.get(name), after.get(name)), (at, error, name)
        lost = _names(before) - _names(files_of(out)) - _names(after)
        assert not lost, (at, error)
        if error is None:
            bury(out)
            assert command() == 0, (at, capsys.readouterr().err)
            left = files_of(out)
            assert _names(left) == _names(after), (at, _names(left) ^ _names(after))
            for name, content in left.items():
                assert name.endswith(changing or ("\0",)) or content == after[name], (at, name)


def _names(files):
    """Names of files; TensorBoard's have the second and the process in theirs."""
    return {re.sub(r"(tfevents)\..*", r"\1", name) for name in files}


def _restore(out, files):
    for path in sorted(out.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()
        else:
            path.unlink()
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
