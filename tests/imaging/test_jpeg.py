"""A JPEG of which a part is lost is refused; whole ones, odd as they may be, are not."""

import re

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_images import by_pillow, save
from PIL import Image

from fundus_diag.imaging import image_file
from fundus_diag.imaging.header import PROBLEMS, probe
from fundus_diag.imaging.image_file import check_file

SIDES = 203, 150  # odd, so that blocks leave the picture


def photograph(seed=0, gray=False):
    """Blotches and noise in a disc on black, width 203 and height 150."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(40, 220, (9, 12, 3)), SIDES, interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[: SIDES[1], : SIDES[0]]
    inside = (y - 75) ** 2 + (x - 100) ** 2 < 72**2
    pixels = np.where(inside[..., None], coarse + rng.normal(0, 6, coarse.shape), 0)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return image.convert("L") if gray else image


def jpeg(seed=0, gray=False, **options):
    return save(photograph(seed, gray), "JPEG", **{"quality": 85, **options})


WHOLE = {
    "4:2:0": jpeg(subsampling="4:2:0"),
    "4:2:2": jpeg(subsampling="4:2:2"),
    "4:4:4": jpeg(subsampling="4:4:4", quality=98),
    "gray": jpeg(gray=True),
    "own tables": jpeg(optimize=True),
    "restarts after rows": jpeg(restart_marker_rows=1),
    "restarts after blocks": jpeg(restart_marker_blocks=7, subsampling="4:4:4"),
    "gray with restarts": jpeg(gray=True, restart_marker_blocks=5),
    "cmyk": save(photograph().convert("CMYK"), "JPEG", quality=85),
    "progressive": jpeg(progressive=True),
    "progressive gray": jpeg(gray=True, progressive=True),
    # Whole pictures that end as a cut one would: gray to the last block.
    "all of it gray": save(Image.new("RGB", SIDES, (128, 128, 128)), "JPEG"),
    "gray below": save(
        Image.fromarray(np.r_[np.asarray(photograph()), np.full((70, 203, 3), 128, np.uint8)]),
        "JPEG",
    ),
}
WHOLE["fill bytes"] = WHOLE["4:2:0"][:-2] + b"\xff\xff\xff\xd9"
WHOLE["zeros before the end"] = WHOLE["4:2:0"][:-2] + bytes(500) + b"\xff\xd9"
WHOLE["another behind"] = WHOLE["4:2:0"] + WHOLE["4:4:4"]
WHOLE["a restart too many"] = WHOLE["restarts after blocks"][:-2] + b"\xff\xd6\xff\xd9"
ALONE = [name for name in WHOLE if "progressive" not in name]


def scan(content):
    """Where the coded data of the first scan begins and where the last one's ends."""
    begin = content.index(b"\xff\xda")
    begin += 2 + int.from_bytes(content[begin + 2 : begin + 4], "big")
    return begin, content.index(b"\xff\xd9", begin)


def said(content, folder):
    (folder / "x.jpg").write_bytes(content)
    return check_file(folder / "x.jpg")


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_taken_and_decode_as_by_pillow(name, tmp_path):
    assert said(WHOLE[name], tmp_path) is None
    got = image_file.open_file(tmp_path / "x.jpg")[1]
    assert np.abs(got.astype(int) - by_pillow(WHOLE[name])).max() <= 2


def test_some_of_them_have_restart_markers():
    for name, count in {"restarts after rows": 9, "gray with restarts": 98}.items():
        begin, end = scan(WHOLE[name])
        found = re.findall(rb"\xff[\xd0-\xd7]", WHOLE[name][begin:end])
        assert len(found) == count, name
    assert b"\xff\xd0" in WHOLE["restarts after blocks"]


@pytest.mark.parametrize("name", ["4:2:0", "4:4:4", "gray", "own tables", "cmyk", "gray below"])
@given(at=st.floats(0.02, 0.9), kind=st.sampled_from(["closed", "lost", "random", "ones"]))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_lost_data_is_found_wherever_it_stood(name, at, kind, tmp_path_factory):
    content = WHOLE[name]
    begin, end = scan(content)
    at = begin + int(at * (end - begin))
    size = max(64, (end - begin) // 12)
    filler = {
        "closed": b"\xff\xd9",
        "lost": content[at + size :],
        "ones": b"\xff" * size + content[at + size :],
        "random": np.random.default_rng(at).bytes(size) + content[at + size :],
    }[kind]
    found = said(content[:at] + filler, tmp_path_factory.getbasetemp())
    if kind == "random" and found is None:  # what keeps in step, see below, is rare
        return
    assert found in ("damaged JPEG", "truncated")


@pytest.mark.parametrize("name", ["4:2:0", "4:2:2", "4:4:4", "gray", "cmyk"])
@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_a_sector_of_zeros_is_found(name, at, tmp_path):
    content = WHOLE[name]
    begin, end = scan(content)
    at = begin + int(at * (end - begin))
    holed = content[:at] + bytes(512) + content[at + 512 :]
    assert said(holed, tmp_path) == "damaged JPEG"
    if name == "4:4:4":  # at high quality zeros make more blocks than they replace: none is missing
        (tmp_path / "x.jpg").write_bytes(holed)
        assert image_file.check_header(tmp_path / "x.jpg") == "damaged JPEG"


@pytest.mark.parametrize("name", [x for x in WHOLE if "restarts" in x])
def test_restart_markers_that_are_missing_doubled_or_in_disorder_are_found(name, tmp_path):
    content = WHOLE[name]
    begin, end = scan(content)
    places = [m.start() for m in re.finditer(rb"\xff[\xd0-\xd7]", content[begin:end])]
    second = begin + places[1]
    for bad in (
        content[:second] + content[second + 2 :],
        content[: second + 2] + content[begin + places[0] : second + 2] + content[second + 2 :],
        content[: second + 1] + b"\xd5" + content[second + 2 :],
        content[: begin + places[2]] + content[begin + places[4] :],
    ):
        assert said(bad, tmp_path) == "damaged JPEG"
    assert said(content[: begin + places[-1]] + b"\xff\xd9", tmp_path) == "damaged JPEG"


@pytest.mark.parametrize("name", ["progressive", "progressive gray"])
def test_a_progressive_file_that_lacks_scans_is_found(name, tmp_path):
    content = WHOLE[name]
    scans = [m.start() for m in re.finditer(rb"\xff\xda", content)]
    assert len(scans) > 4
    for at in scans[1:]:  # in front of a scan and within the one before
        assert said(content[:at] + b"\xff\xd9", tmp_path) == "damaged JPEG"
        assert said(content[: at - 40] + b"\xff\xd9", tmp_path) == "damaged JPEG"


def test_a_baseline_file_in_three_scans_is_taken_only_whole(tmp_path):
    content = in_three_scans()
    assert said(content, tmp_path) is None
    last = content.rindex(b"\xff\xda")
    assert said(content[:last] + b"\xff\xd9", tmp_path) == "damaged JPEG"


def in_three_scans():
    """Three gray pictures as the components of one file, each in a scan of its own."""
    parts = [save(photograph(k, gray=True), "JPEG", quality=85) for k in range(3)]
    frame = parts[0].index(b"\xff\xc0")
    components = b"".join(bytes([k + 1, 0x11, 0]) for k in range(3))
    header = b"\xff\xc0\0\x11" + parts[0][frame + 4 : frame + 9] + b"\x03" + components
    tables = parts[0][frame + 13 : parts[0].index(b"\xff\xda")]
    scans = b""
    for k, part in enumerate(parts):
        begin, end = scan(part)
        scans += b"\xff\xda\0\x08\x01" + bytes([k + 1]) + b"\0\0\x3f\0" + part[begin:end]
    return parts[0][:frame] + header + tables + scans + b"\xff\xd9"


def test_the_graph_says_it_before_decoding_where_it_can():
    assert "damaged JPEG" in PROBLEMS
    content = WHOLE["restarts after rows"]
    at = content.index(b"\xff\xd3", scan(content)[0])
    code = int(probe(tf.constant(content[:at] + content[at + 2 :])))
    assert PROBLEMS[code] == "damaged JPEG"


def test_no_photograph_of_odir_is_called_damaged(data_dir, tmp_path):
    paths = sorted((data_dir / "odir5k" / "fullres").glob("*.jpg"))[:6]
    assert paths
    for path in paths:
        assert check_file(path) is None, path.name
        content = path.read_bytes()
        assert said(content[: len(content) // 2] + b"\xff\xd9", tmp_path) == "damaged JPEG"
