"""Few pixels are decoded at a time, whatever the number of threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from bad_images import FILES, HUGE
from PIL import Image

from fundus_diag.imaging import room as rooms
from fundus_diag.imaging.image_file import open_file


@pytest.mark.parametrize(("pixels", "together"), [(40, 2), (51, 1), (100, 1), (5000, 1), (10, 8)])
def test_pictures_wait_for_room(monkeypatch, pixels, together):
    monkeypatch.setattr(rooms, "MAX_AT_ONCE", 100)
    monkeypatch.setattr(rooms, "_free", 100)
    inside, most, lock = [0], [0], threading.Lock()
    all_there = threading.Barrier(together)  # so many do meet, on however busy a machine

    def work(_):
        with rooms.room(pixels):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            all_there.wait(60)
            time.sleep(0.02)
            with lock:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert most[0] == together
    assert rooms._free == 100


def test_room_is_given_back_after_an_error(tmp_path):
    free = rooms._free
    for name in ("damaged.png", "cut.jpg"):
        (tmp_path / name).write_bytes(FILES["rgb.png"][:60] + bytes(40) + FILES["rgb.png"][100:])
        assert open_file(tmp_path / name)[2]
    assert rooms._free == free


@pytest.mark.parametrize("name", [x for x in FILES if not x.startswith("gif")])
def test_room_is_taken_for_what_the_header_promises(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    with Image.open(tmp_path / name) as image:
        assert rooms.promised(FILES[name]) == image.width * image.height
    assert rooms.promised(HUGE) == 900_000_000
    assert rooms.promised(FILES[name][:6]) == 0


def test_a_header_without_an_end_is_given_up():
    """64 MB of zeros behind a JPEG's first marker are not looked at byte by byte."""
    looks = []

    class Counted(bytes):
        def __getitem__(self, at):
            looks.append(at)
            return super().__getitem__(at)

    assert rooms.promised(Counted(b"\xff\xd8\xff\xe0\x00\x04ab" + bytes(100_000))) == 0
    assert len(looks) < 20_000
