"""One process at a time in a run's folder."""

import json
import os
import subprocess
import sys

import pytest
from failing import gone_process

from fundus_diag.runs import lock
from fundus_diag.runs.lock import LOCK, check_free, holder, locked
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.processes import alive, host, started


@pytest.fixture
def other():
    """A process that lives as long as the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


def write_lock(folder, pid, machine=None, start=""):
    folder.mkdir(exist_ok=True)
    facts = {"pid": pid, "host": machine or host(), "start": start, "since": "2026-01-01T10:00"}
    (folder / LOCK).write_text(json.dumps(facts).ljust(4096))


def test_a_second_process_is_refused_in_one_line_that_names_the_first(tmp_path):
    code = (
        "import sys; from fundus_diag.runs.lock import locked\n"
        "with locked(sys.argv[1]): print('held', flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "run")]
    first = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    with pytest.raises(UsageError) as caught, locked(tmp_path / "run"):
        pass
    message = str(caught.value)
    assert f"in use by process {first.pid} on {host()}" in message
    assert str(tmp_path / "run" / LOCK) in message
    assert "\n" not in message
    assert holder(tmp_path / "run")["pid"] == first.pid
    first.communicate("\n")
    assert not (tmp_path / "run").exists()  # it made the folder, and left nothing in it
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path, other):
    for pid, start in ((gone_process(), ""), (other.pid, "1")):  # the number was given anew
        write_lock(tmp_path, pid, start=start)
        assert holder(tmp_path) is None
        with locked(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        assert list(tmp_path.iterdir()) == []
    for broken in ("", "{", "[1]", '{"pid": "x"}', "\0" * 50):
        (tmp_path / LOCK).write_text(broken)
        with locked(tmp_path):
            pass


def test_the_lock_of_one_that_lives_or_cannot_be_asked_stays(tmp_path, other):
    for pid, machine, expected in (
        (other.pid, host(), f"process {other.pid} on {host()}, since 2026"),
        (1, "elsewhere", "process 1 on elsewhere, which cannot be asked from here"),
    ):
        write_lock(tmp_path, pid, machine, started(pid) if machine == host() else "")
        before = (tmp_path / LOCK).read_text()
        with pytest.raises(UsageError, match=expected), locked(tmp_path):
            pass
        with pytest.raises(UsageError, match="remove .*lock"):
            check_free(tmp_path)
        assert (tmp_path / LOCK).read_text() == before
        assert [x.name for x in tmp_path.iterdir()] == [LOCK]


def test_a_lock_that_came_while_a_stale_one_was_removed_is_put_back(tmp_path, other, monkeypatch):
    write_lock(tmp_path, gone_process())
    real = lock._lives

    def meanwhile(text):
        found = real(text)
        if not found:
            write_lock(tmp_path, other.pid)  # another process was quicker
        return found

    monkeypatch.setattr(lock, "_lives", meanwhile)
    with pytest.raises(UsageError, match=f"process {other.pid}"), locked(tmp_path):
        pass
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == other.pid


def test_a_file_system_without_links_is_locked_too(tmp_path, other, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", none)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    write_lock(tmp_path, other.pid)
    with pytest.raises(UsageError, match="in use"), locked(tmp_path):
        pass


def test_within_one_process_a_folder_is_held_once_and_freed_once(tmp_path):
    with locked(tmp_path / "a" / "b"):
        with locked(tmp_path / "a" / "b"):
            check_free(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b" / LOCK).exists()
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "made.txt").write_text("kept")
    assert [x.name for x in (tmp_path / "a").iterdir()] == ["made.txt"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="run: cannot be written: Not a directory"):
        with locked(tmp_path / "file" / "run"):
            pass


def test_processes_are_told_by_number_and_start(other):
    assert alive(other.pid)
    assert alive(other.pid, started(other.pid))
    assert not alive(other.pid, "1")
    assert not alive(2**40)
    assert started(2**22 + 1) == ""
