"""The size of a TIFF, which is checked before OpenCV decodes it, is the one that it decodes."""

import struct

import cv2
import numpy as np
import pytest
from odd_images import hand_made_tiff

from fundus_diag.imaging.image_file import check_file, image_size


@pytest.fixture
def silent():
    """OpenCV without a line for every tag that it does not know."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    yield
    cv2.utils.logging.setLogLevel(before)


SHORT, LONG, SLONG, LONG8, SLONG8 = 3, 4, 9, 16, 17
SIDE = 1200
TOLD = {  # how a TIFF of 1200 x 1200 pixels tells its size: (entries, BigTIFF?)
    "once": ([(256, LONG, SIDE), (257, SHORT, SIDE)], False),
    "once, the height first": ([(257, LONG, SIDE), (256, LONG, SIDE)], False),
    "once in a BigTIFF": ([(256, LONG8, SIDE), (257, LONG, SIDE)], True),
    "twice, the truth first": ([(256, LONG, SIDE), (256, LONG, 40), (257, LONG, SIDE)], False),
    "twice, the truth last": ([(256, LONG, 40), (256, LONG, SIDE), (257, LONG, SIDE)], False),
    "height twice": ([(256, LONG, SIDE), (257, LONG, SIDE), (257, SHORT, 40)], False),
    "with a sign, then again": ([(256, SLONG, SIDE), (256, LONG, 40), (257, LONG, SIDE)], False),
    "outside, then again": ([(256, SLONG8, None), (256, LONG, 40), (257, LONG, SIDE)], False),
    "outside alone": ([(257, LONG, SIDE), (256, LONG8, None)], False),
    "twice in a BigTIFF": ([(256, SLONG8, SIDE), (256, LONG8, 40), (257, LONG, SIDE)], True),
}


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("before", [0, 1500, 4200])
def test_a_tiff_has_the_size_that_opencv_decodes_or_none(name, before, silent):
    """A file may tell its size twice: what is checked must be what is decoded."""
    sides, big = TOLD[name]
    first = [(40_000 + k, SHORT, 1) for k in range(before)]
    content = hand_made_tiff(sides, first, big, SIDE)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (decoded is None) == (before > 4096)
    told = image_size(content)
    assert told == (0, 0, "TIFF") or told[:2] == decoded.shape
    if name.startswith("once") and before < 4096:
        assert told[:2] == (SIDE, SIDE)


def test_a_small_tiff_that_tells_its_size_twice_is_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    side = 10_500  # 110 megapixels
    sides = [(256, LONG, side), (256, LONG, 40), (257, LONG, side)]
    (tmp_path / "twice.tif").write_bytes(hand_made_tiff(sides, side=side))
    assert check_file(tmp_path / "twice.tif") == "broken TIFF header"
    (tmp_path / "once.tif").write_bytes(hand_made_tiff(sides[::2], side=side))
    assert check_file(tmp_path / "once.tif") == "110 megapixels, more than 100"
    assert (tmp_path / "once.tif").stat().st_size < 200_000


@pytest.mark.parametrize("start", [2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_tiff_whose_directory_lies_behind_its_end_has_no_size(start):
    assert image_size(b"II+\0\x08\0\0\0" + struct.pack("<Q", start)) == (0, 0, "TIFF")
