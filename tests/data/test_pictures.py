"""Photographs decoded once, in memory or on disk."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from discs import levels, write_discs
from failing import gone_process

from fundus_diag.data import cache_files, pictures, pipeline
from fundus_diag.data.inputs import warn_of_blank
from fundus_diag.data.pictures import load_pictures
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.utils import files, processes
from fundus_diag.utils.errors import DataError, UsageError


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_discs(tmp_path_factory.mktemp("photographs"))


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_every_cache_gives_the_same_pictures(photographs, cache, tmp_path):
    want, _ = load_pictures(photographs, 32)
    found, bad = load_pictures(photographs, 32, cache=cache, cache_dir=tmp_path)
    assert bad == []
    rows = np.arange(7)
    got = np.concatenate([x.numpy() for x in scoring_batches(found, rows, 3)])
    np.testing.assert_array_equal(got, want.array)
    assert got.dtype == np.float32
    pairs = np.array([[0, 3], [-1, 2], [5, -1]])
    for batch in scoring_batches(found, pairs, 3):
        images, mask = batch["images"].numpy(), batch["mask"].numpy()
    np.testing.assert_array_equal(mask, [[1, 1], [0, 1], [1, 0]])
    np.testing.assert_array_equal(images[0], want.array[[0, 3]])
    # In place of a missing eye its fellow, mirrored: never black.
    np.testing.assert_array_equal(images[1, 0], want.array[2][:, ::-1])
    np.testing.assert_array_equal(images[2, 1], want.array[5][:, ::-1])


def test_the_disk_cache_is_used_again_and_notices_a_changed_file(
    photographs, tmp_path, monkeypatch
):
    load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    read = []
    real = pipeline.preprocess.look_at
    monkeypatch.setattr(
        pipeline.preprocess, "look_at", lambda *args: read.append(args[0]) or real(*args)
    )
    load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    assert read == []
    photographs[0].touch()
    load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    assert len(read) == 7
    load_pictures(photographs, 64, cache="disk", cache_dir=tmp_path)  # another size: another file
    assert len(read) == 14


@pytest.mark.parametrize("cache", ["ram", "disk", pytest.param("none", marks=pytest.mark.slow)])
def test_unreadable_photographs_are_named_and_never_cached(photographs, cache, tmp_path):
    broken, text = tmp_path / "broken.png", tmp_path / "text.jpg"
    broken.write_bytes(photographs[0].read_bytes()[:100])
    text.write_text("not a picture")
    paths = [photographs[1], broken, photographs[2], text, tmp_path / "gone.jpg"]
    folder = tmp_path / "cache"
    found, bad = load_pictures(paths, 32, cache=cache, cache_dir=folder)
    assert [path.name for path, _ in bad] == ["broken.png", "text.jpg", "gone.jpg"]
    assert all(reason and str(path) not in reason for path, reason in bad)
    assert not folder.exists() or list(folder.iterdir()) == []
    good = [x.numpy() for x in scoring_batches(found, np.array([0, 2]), 2)][0]
    np.testing.assert_array_equal(levels(good), [1, 2])


def test_room_on_the_disk_is_asked_for_before_anything_is_decoded(
    photographs, tmp_path, monkeypatch
):
    read, asked = [], []

    def full(descriptor, start, length):
        asked.append(length)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(pictures.preprocess, "look_at", lambda *args: read.append(args))
    folder = tmp_path / "cache"
    with pytest.raises(DataError) as caught:
        load_pictures(photographs, 512, cache="disk", cache_dir=folder)
    size = len(photographs) * 512 * 512 * 3
    assert str(caught.value) == (
        f"{folder}: no room for the cache of {size / 1e6:.1f} MB (--cache-dir, --cache none)"
    )
    assert size < asked[0] < size + 1000
    assert read == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, None])
def test_room_is_filled_where_it_cannot_be_reserved(photographs, tmp_path, monkeypatch, number):
    want, _ = load_pictures(photographs, 32)
    if number is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:

        def unknown(*_):
            raise OSError(number, "not here")

        monkeypatch.setattr(os, "posix_fallocate", unknown)
    monkeypatch.setattr(files, "CHUNK", 1000)
    got, _ = load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_blocks * 512 >= want.array.nbytes  # no holes
    np.testing.assert_array_equal(got.array, want.array)


def test_the_reserved_file_has_no_holes_in_which_a_full_disk_would_kill(photographs, tmp_path):
    load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_blocks * 512 >= len(photographs) * 32 * 32 * 3


def test_what_dead_processes_left_in_the_cache_goes_and_what_lives_stays(
    photographs, tmp_path, monkeypatch
):
    key = "0" * 16
    gone, here = gone_process(), processes.host()
    names = {
        f"pictures-{key}.{here}.{gone}-77.partial": False,
        f"pictures-{key}.{here}.{os.getpid()}-1.partial": False,  # its number was given anew
        f"pictures-{key}.{here}.{os.getpid()}-{processes.started(os.getpid())}.partial": True,
        f"pictures-{key}.elsewhere.{gone}-77.partial": True,
        f"pictures-{key}.npy": True,
        "mine.partial": True,
    }
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    load_pictures(photographs[:1], 32, cache="disk", cache_dir=tmp_path)
    left = {x.name for x in tmp_path.iterdir()}
    assert {name: name in left for name in names} == names

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures.preprocess, "look_at", killed)
    with pytest.raises(KeyboardInterrupt):
        load_pictures(photographs, 48, cache="disk", cache_dir=tmp_path)
    assert {x.name for x in tmp_path.iterdir()} == left


READER = """
import hashlib, sys, time
from fundus_diag.data import pictures
real = pictures.preprocess.look_at
def slow(*args):
    time.sleep(0.4)
    return real(*args)
pictures.preprocess.look_at = slow
print("ready", flush=True)
sys.stdin.readline()
found, bad = pictures.load_pictures(sys.argv[2:], 32, cache="disk", cache_dir=sys.argv[1])
assert not bad
print(hashlib.sha256(found.array.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_runs_that_share_a_cache_see_whole_files_though_one_is_killed(photographs, tmp_path):
    want, _ = load_pictures(photographs, 32)
    digest = hashlib.sha256(want.array.tobytes()).hexdigest()
    words = [sys.executable, "-c", READER, tmp_path, *photographs]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen([str(x) for x in words], **pipes) for _ in range(3)]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    while len(list(tmp_path.glob("*.partial"))) < 3:  # each reads into a file of its own
        time.sleep(0.02)
        assert all(run.poll() is None for run in runs)
    runs[0].kill()
    seen = 0
    while any(run.poll() is None for run in runs):
        for finished in tmp_path.glob("*.npy"):
            seen += 1
            np.testing.assert_array_equal(np.load(finished), want.array)
        time.sleep(0.02)
    assert seen
    assert [run.stdout.read().strip() for run in runs[1:]] == [digest, digest]
    for run in runs:
        run.stdin.close()
        run.stdout.close()
    assert len(list(tmp_path.glob("*.partial"))) == 1  # of the one that was killed
    found, _ = load_pictures(photographs, 32, cache="disk", cache_dir=tmp_path)
    np.testing.assert_array_equal(found.array, want.array)
    assert [x.suffix for x in tmp_path.iterdir()] == [".npy"]


def test_memory_is_counted_before_anything_is_decoded(photographs, monkeypatch):
    read = []
    monkeypatch.setattr(cache_files, "free_memory", lambda: 20_000_000_000)
    monkeypatch.setattr(pictures.preprocess, "look_at", lambda *args: read.append(args))
    many = [photographs[0]] * 20_000
    with pytest.raises(UsageError) as caught:
        load_pictures(many, 1024)
    assert str(caught.value) == "--cache ram needs 63 GB, 20 GB are free: --cache disk or none"
    monkeypatch.setattr(cache_files, "free_memory", lambda: 32 * 32 * 3 - 1)  # NumPy would get it
    with pytest.raises(UsageError, match=r"--cache ram needs 3 kB, 3 kB are free"):
        load_pictures(photographs[:1], 32)
    assert read == []
    monkeypatch.setattr(cache_files, "free_memory", lambda: None)
    monkeypatch.setattr(np, "empty", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(UsageError, match=r"--cache ram needs 63 GB: --cache disk or none"):
        load_pictures(many, 1024)


def test_free_memory_is_that_of_the_machine_or_of_its_container(tmp_path, monkeypatch):
    known = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        known[line.split(":")[0]] = int(line.split()[1]) * 1024
    assert processes.free_memory() <= known["MemTotal"]
    monkeypatch.setattr(processes, "CGROUP", tmp_path)
    assert processes.free_memory() == pytest.approx(known["MemAvailable"], rel=0.5)
    for name, text in (
        ("memory.max", "1000000\n"),
        ("memory.current", "700000\n"),
        ("memory.stat", "anon 5\ninactive_file 200000\nactive_file 7\n"),
    ):
        (tmp_path / name).write_text(text)
    assert processes.free_memory() == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert processes.free_memory() > 1_000_000


def test_cores_are_counted_on_systems_without_affinity(monkeypatch):
    assert processes.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processes.cores() == os.cpu_count()


@pytest.mark.parametrize("back", [True, False], ids=["and is back", "and stays away"])
def test_a_photograph_that_fails_in_an_epoch_is_named(photographs, tmp_path, monkeypatch, back):
    paths = [tmp_path / path.name for path in photographs]
    for path, original in zip(paths, photographs, strict=True):
        path.write_bytes(original.read_bytes())
    found, bad = load_pictures(paths, 32, cache="none")
    assert bad == []

    def fail(path):
        if path.endswith(paths[3].name):
            raise DataError(f"{path}: cannot be read: Input/output error")
        return real(path)

    if back:
        real = pipeline.read_bytes
        monkeypatch.setattr(pipeline, "read_bytes", fail)
        expected = f"{paths[3]}: cannot be read: Input/output error; go on with --resume"
    else:
        paths[3].write_bytes(paths[3].read_bytes()[:60])
        expected = f"{paths[3]}: "
    with pytest.raises(DataError) as caught, pipeline.naming_failures(found):
        list(scoring_batches(found, np.arange(7), 3))
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("go on with --resume")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cache", ["ram", "none"])
def test_photographs_that_show_nothing_are_counted_in_one_line(
    photographs, cache, tmp_path, capsys
):
    """A white one that is no square has black beside it in its picture: still it shows nothing."""
    for name, level in {"white": 255, "black": 0, "gray": 128}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((40, 90), level, np.uint8))
    paths = [photographs[0], *sorted(tmp_path.glob("*.png"))]
    found, bad = load_pictures(paths, 32, cache=cache, title=None)
    fine, _ = load_pictures(photographs, 32, cache=cache, title=None)
    assert bad == []
    assert [path.name for path in found.blank] == ["black.png", "gray.png", "white.png"]
    assert fine.blank == ()
    capsys.readouterr()
    warn_of_blank(fine)
    assert capsys.readouterr().err == ""
    warn_of_blank(found, fine)
    assert capsys.readouterr().err == (
        "warning: 3 of 11 photographs show nothing (black, white or of one colour): "
        "black.png, gray.png, white.png\n"
    )
