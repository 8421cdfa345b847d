"""Bytes of photographs flipped, cut, moved and swapped: each ends in a picture or in one line.

A part of the cases in every run; the rest is slow. Seeds are fixed.
"""

import resource
import time

import numpy as np
import pytest
from bad_images import FILES, TIFFS
from damage import changed
from dicoms import dicom, photographs
from odd_images import foreign_files, pixels
from pydicom.uid import DeflatedExplicitVRLittleEndian

from fundus_diag.imaging import dicom as dicoms
from fundus_diag.imaging.image_file import check_header, open_file
from fundus_diag.utils.errors import DataError

LONGEST = 10  # seconds of computing for one file
MEMORY = 2 * 2**20  # kB that the process may have grown by in all: none of the files is large


def sources():
    """Name -> content of sound files of all kinds."""
    picture = pixels()[:, :60]
    wide = (np.arange(400, dtype=np.uint16) * 150).reshape(20, 20)
    found = {**FILES, **TIFFS, **foreign_files()}
    found |= {f"{name}.dcm": x for name, x in photographs(picture).items()}
    found |= {f"{name}_3.dcm": x for name, x in photographs(picture, 3).items()}
    found["deflated.dcm"] = dicom(picture, DeflatedExplicitVRLittleEndian)
    window = {"WindowCenter": "30000", "WindowWidth": "5000", "PatientID": "7"}
    found["wide.dcm"] = dicom(wide, **window)
    return found


SOURCES = sources()
OTHERS = [SOURCES[name] for name in sorted(SOURCES)]


def look(path):
    """Everything that is asked of a file; what is said of it, or None."""
    found = open_file(path)
    assert (found.picture is None) != (found.reason is None)
    if found.picture is not None:
        assert found.picture.dtype == np.uint8
        assert found.picture.ndim == 3
    said = [found.reason, check_header(path)]
    assert len(dicoms.frames(path)) >= 1
    try:
        assert set(dicoms.facts(path, "salt")) == {"patient", "study", "eye"}
    except DataError as error:
        said.append(str(error))
    for line in said:
        assert line is None or ("\n" not in line and 3 < len(line) < 400)
    return found.reason


def rounds(number, seed, tmp_path):
    """How many of `number` changed files end in a picture, and the reasons of the others."""
    rng, path = np.random.default_rng(seed), tmp_path / "x"
    names, shown, reasons = sorted(SOURCES), 0, set()
    for name in ("rgb.jpg", "rgb.png"):  # what is made once is not counted
        for end in (None, -300):
            path.write_bytes(SOURCES[name][:end])
            look(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k in range(number):
        content = changed(SOURCES[names[k % len(names)]], rng, OTHERS)
        path.write_bytes(content)
        start = time.process_time()
        reason = look(path)
        assert time.process_time() - start < LONGEST, (seed, k)
        shown += reason is None
        reasons |= {reason} - {None}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY
    return shown, reasons


@pytest.mark.filterwarnings("error")
def test_changed_files_end_in_a_picture_or_a_line(tmp_path):
    shown, reasons = rounds(240, 0, tmp_path)
    assert 20 < shown < 220
    assert len(reasons) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_thousands_of_changed_files_end_in_a_picture_or_a_line(seed, tmp_path):
    rounds(600, seed, tmp_path)
