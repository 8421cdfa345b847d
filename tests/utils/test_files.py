"""Files are whole or not there, and what the system answers is a line that names them."""

import errno
import os

import pandas as pd
import pytest
from failing import Killed, failing, files_of

from fundus_diag.utils import files
from fundus_diag.utils.errors import DataError, UsageError

WRITERS = {
    "bytes": lambda path: files.write_bytes(path, b"new"),
    "text": lambda path: files.write_text(path, "new"),
    "json": lambda path: files.write_json(path, {"new": 1}),
    "csv": lambda path: files.write_csv(path, pd.DataFrame({"new": [1]})),
}


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EIO, None])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_old_or_new_whatever_step_fails(tmp_path, kind, error):
    path = tmp_path / "a.csv"
    with failing(tmp_path) as dry:
        WRITERS[kind](path)
    new = path.read_bytes()
    assert dry.count >= 3
    for at in range(1, dry.count + 1):
        path.write_bytes(b"old")
        wanted = Killed if error is None else DataError
        with failing(tmp_path, at, error), pytest.raises(wanted) as caught:
            WRITERS[kind](path)
        assert path.read_bytes() in (b"old", new)
        if error is not None:
            assert str(caught.value) == f"{path}: cannot be written: {os.strerror(error)}"
            assert list(files_of(tmp_path)) == ["a.csv"]
            assert path.read_bytes() == b"old"
        for left in tmp_path.glob(".partial-*"):
            left.unlink()


def grow(path, rows=3, error=None):
    with files.growing(path, "rows") as write:
        write("head\n")
        for k in range(rows):
            write(f"{k}\n", 1)
        if error:
            raise error


def test_a_growing_file_is_whole_or_called_partial(tmp_path, capsys):
    path, partial = tmp_path / "a.csv", tmp_path / "a.csv.partial"
    path.write_text("old")
    with pytest.raises(KeyError):
        grow(path, error=KeyError())
    assert path.read_text() == "old"
    assert partial.read_text() == "head\n0\n1\n2\n"
    assert f"note: {partial} holds the first 3 rows" in capsys.readouterr().err
    with pytest.raises(KeyError):
        grow(path, rows=0, error=KeyError())
    assert list(files_of(tmp_path)) == ["a.csv"]  # a head alone is nothing
    grow(path)
    assert files_of(tmp_path) == {"a.csv": b"head\n0\n1\n2\n"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [errno.ENOSPC, None])
def test_a_growing_file_loses_nothing_whatever_step_fails(tmp_path, error):
    path, partial = tmp_path / "a.csv", tmp_path / "a.csv.partial"
    with failing(tmp_path) as dry:
        grow(path)
    whole = path.read_text()
    for at in range(1, dry.count + 1):
        path.write_text("old")
        partial.unlink(missing_ok=True)
        with failing(tmp_path, at, error), pytest.raises(Killed if error is None else DataError):
            grow(path)
        assert path.read_text() == "old"
        if partial.exists():
            assert whole.startswith(partial.read_text())
        if at > 3:  # opened, its head, a row
            assert partial.read_text().startswith("head\n0\n")


def test_a_growing_file_has_one_writer(tmp_path, monkeypatch):
    path, partial = tmp_path / "a.csv", tmp_path / "a.csv.partial"
    with files.growing(path) as write:
        write("first\n", 1)
        with pytest.raises(UsageError, match=r"a\.csv\.partial: another process is writing it"):
            grow(path)
        assert partial.read_text() == "first\n"
    assert path.read_text() == "first\n"

    # Nor does another get it between the last row and the name, or before what is empty goes.
    replace, unlink = os.replace, files.Path.unlink

    def after_another(what):
        def done(*args, **kwargs):
            monkeypatch.undo()
            with pytest.raises(UsageError, match="another process is writing it"):
                grow(path)
            tried.append(what)
            return what(*args, **kwargs)

        return done

    tried = []
    monkeypatch.setattr(os, "replace", after_another(replace))
    grow(path)
    monkeypatch.setattr(files.Path, "unlink", after_another(unlink))
    with pytest.raises(KeyError):
        grow(path, rows=0, error=KeyError())
    assert tried == [replace, unlink]
    assert files_of(tmp_path) == {"a.csv": b"head\n0\n1\n2\n"}

    # One that opened the file while it was written, and has it when it is whole: it takes another.
    lock = files._lock
    partial.write_text("whole\n")

    def renamed(file, name):
        monkeypatch.setattr(files, "_lock", lock)
        partial.rename(path)
        partial.write_text("of a third, killed since\n")

    monkeypatch.setattr(files, "_lock", renamed)
    with files.growing(tmp_path / "a.csv") as write:
        assert path.read_text() == "whole\n"
        write("second\n", 1)
    assert path.read_text() == "second\n"

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", none)
    grow(path)
    assert path.read_text() == "head\n0\n1\n2\n"


def test_what_cannot_be_written_is_said_before(tmp_path):
    files.check_writable(tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
    for at in (1, 2, 3):
        with (
            failing(tmp_path, at, errno.EROFS),
            pytest.raises(DataError, match=r"a\.csv: cannot be written: Read-only file system"),
        ):
            files.check_writable(tmp_path / "a.csv")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="there is no folder"):
        files.check_writable(tmp_path / "gone" / "a.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made a folder: "):
        files.make_folder(tmp_path / "file" / "x")


@pytest.mark.parametrize("reserves", [True, False])
def test_room_is_asked_for_and_given_back(tmp_path, monkeypatch, reserves):
    asked = []
    real = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *a: asked.append(a[2]) or real(*a))
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate")
    files.check_room(tmp_path / "a.h5", 50_000)
    assert asked == ([50_000] if reserves else [])
    with failing(tmp_path, 2), pytest.raises(DataError, match="No space left"):
        files.check_room(tmp_path / "a.h5", 50_000)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_no_missing_run(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="is .* a run directory"):
        files.read_json(tmp_path / "config.json")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(DataError, match=r"config\.json: cannot be read: Is a directory"):
        files.read_json(tmp_path / "config.json")


def test_a_reason_is_in_the_systems_words_or_in_those_of_the_error():
    assert files.reason(OSError(errno.ENOSPC, "long words of a library")) == os.strerror(28)
    assert files.reason(RuntimeError("two\n lines")) == "two lines"
    assert files.reason(OSError()) == "OSError"
