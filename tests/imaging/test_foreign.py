"""GIF, WebP, AVIF, JPEG 2000 and PNM: what they show, against Pillow; and what is refused."""

import io
import struct
from pathlib import Path

import numpy as np
import odd_images
import pytest
from bad_images import FILES
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_images import by_pillow, foreign_files, save
from PIL import Image

from fundus_diag.imaging import foreign, image_file
from fundus_diag.imaging.image_file import check_header, image_size, open_file, read_photograph

FOREIGN = foreign_files()


@pytest.mark.parametrize("name", FOREIGN)
def test_each_kind_shows_what_pillow_shows_whatever_the_name_says(name, tmp_path):
    path = tmp_path / "photograph.JPG"
    path.write_bytes(FOREIGN[name])
    found = open_file(path)
    assert found.reason is None
    assert found.more == name.startswith("animated")
    assert found.content == FOREIGN[name]
    np.testing.assert_array_equal(found.picture.astype(int), by_pillow(FOREIGN[name]))
    turned = name.startswith("turned")
    assert found.picture.shape == ((61, 43, 3) if turned else (43, 61, 3))
    assert image_size(FOREIGN[name])[:2] == (43, 61)
    assert check_header(path) is None


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_file_that_was_cut_is_said_to_be_or_shows_what_is_there(name, share, tmp_path):
    path = tmp_path / name
    path.write_bytes(FOREIGN[name][: max(12, int(share * len(FOREIGN[name])))])
    found = open_file(path)
    assert (found.picture is None) != (found.reason is None)
    if share < 0.9:
        assert found.picture is None
        assert "\n" not in found.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "broken HEIC header"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(200), "broken HEIC header"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(200), "JPEG XL: save it as JPEG or PNG"),
        (b"%PDF-1.7" + bytes(200), "PDF: save it as JPEG or PNG"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(200), "broken AVIF header"),
        (b"P6\n20 20\n255\n" + bytes(1199), "truncated, damaged or unusual PNM"),
        (b"P6\n20 20\n0\n" + bytes(1200), "truncated, damaged or unusual PNM"),
        (b"P5\n12 20\n255\n" + bytes(1200), "12x20 pixels: smaller than 16"),
        (b"P5\n30000 30000\n255\n" + bytes(1200), "900 megapixels, more than 100"),
        (b"P5 wide\n255\n" + bytes(1200), "broken PNM header"),
        (b"P3\n20 20\n255\n" + b"1 " * 1200, "not an image (JPEG, PNG, BMP, TIFF, DICOM)"),
        (save(Image.new("RGB", (1, 1)), "GIF"), "1x1 pixels: smaller than 16"),
        (save(Image.new("RGB", (1, 1)), "WEBP"), "1x1 pixels: smaller than 16"),
        (b"GIF89a" + struct.pack("<HH", 60000, 60000) + bytes(99), "broken GIF header"),
        (
            b"RIFF\0\0\0\0WEBPVP8X\x0a" + bytes(7) + b"\xff" * 6,
            "281474977 megapixels, more than 100",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(content, reason, tmp_path, monkeypatch):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    assert open_file(path)[:3] == (content, None, reason)
    monkeypatch.setattr(image_file, "traced_decode", None)
    assert check_header(path) in (reason, None if "truncated" in reason else reason)


@settings(max_examples=60, deadline=None)
@given(
    top=st.sampled_from([1, 2, 100, 254, 255, 256, 1023, 4095, 65534, 65535]),
    color=st.booleans(),
    comment=st.sampled_from([b"\n", b" ", b"\n# by <somebody>\n", b"\t\r\n"]),
    seed=st.integers(0, 9),
)
def test_a_pnm_of_any_depth_is_scaled_to_its_largest_level(top, color, comment, seed):
    shape = (17, 19, 3 if color else 1)
    levels = np.random.default_rng(seed).integers(0, top + 1, shape)
    body = levels.astype("u1" if top < 256 else ">u2").tobytes()
    head = b"P%d" % (5 + color) + comment + b"19 17" + comment + b"%d\n" % top
    found = foreign.read(head + body, "PNM")
    assert foreign.size(head + body, "PNM") == (17, 19)
    want = levels * 255 / top
    assert np.abs(found.pixels - want).max() <= (1 if top == 65535 else 0.5)
    assert not found.more
    assert foreign.read((head + body) * 2, "PNM").more


def test_a_jpeg_2000_whose_codestream_is_larger_than_its_box_says_is_not_decoded():
    content = bytearray(FOREIGN["rgb.jp2"])
    at = content.find(b"\xff\x4f\xff\x51") + 8
    assert struct.unpack_from(">II", content, at) == (61, 43)
    for side in (60_000, 9_000):  # beyond what is decoded, and within
        struct.pack_into(">II", content, at, side, side)
        assert foreign.size(bytes(content), "JPEG 2000") == (0, 0)
    struct.pack_into(">II", content, at, 61, 43)
    struct.pack_into(">H", content, at + 32, 9)
    assert foreign.size(bytes(content), "JPEG 2000") == (0, 0)


def test_twelve_bits_of_a_jpeg_2000_are_filled_up_to_sixteen():
    """An encoder that is told 16 bits writes what one of 12 writes of levels this much lower."""
    levels = np.random.default_rng(0).integers(0, 4096, (40, 50)).astype(np.uint16)
    content = bytearray(save(Image.fromarray(levels + 2**15 - 2**11), "JPEG2000", no_jp2=True))
    content[content.find(b"\xff\x4f\xff\x51") + 42] = 11  # bits less one
    image = Image.open(io.BytesIO(bytes(content)))
    np.testing.assert_array_equal(np.asarray(image), levels << 4)
    assert (foreign.read(bytes(content), "JPEG 2000").pixels[..., 0] == levels >> 4).all()


def test_jpeg_and_png_without_a_profile_are_handed_on_to_the_bit(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
        assert read_photograph(tmp_path / name) == (content, False)


def test_a_jpeg_with_pictures_behind_it_is_its_first_and_said(tmp_path):
    first, second = (Image.fromarray(odd_images.pixels(k)) for k in (0, 1))
    content = save(first, "MPO", save_all=True, append_images=[second], quality=95)
    (tmp_path / "x.jpg").write_bytes(content)
    found = open_file(tmp_path / "x.jpg")
    assert found.more
    assert np.abs(found.picture.astype(int) - odd_images.pixels(0)).max() < 40
    np.testing.assert_allclose(found.picture, by_pillow(content), atol=2)
    (tmp_path / "y.jpg").write_bytes(save(first, "JPEG"))
    assert not open_file(tmp_path / "y.jpg").more


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_of_several_pages_is_its_first_and_said(big, tmp_path):
    first, second = (Image.fromarray(odd_images.pixels(k)) for k in (0, 1))
    several = save(first, "TIFF", save_all=True, append_images=[second], big_tiff=big)
    (tmp_path / "x.tif").write_bytes(several)
    found = open_file(tmp_path / "x.tif")
    assert found.more
    np.testing.assert_array_equal(found.picture, odd_images.pixels(0))
    small = second.resize((20, 20))
    small.encoderinfo = {"tiffinfo": {254: 1}}  # a copy of reduced size
    copy = save(first, "TIFF", save_all=True, append_images=[small], big_tiff=big)
    (tmp_path / "y.tif").write_bytes(copy)
    assert not open_file(tmp_path / "y.tif").more


def test_real_pictures_of_these_kinds_are_read(data_dir):
    folder = data_dir / "formats"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for path in sorted(folder.iterdir()):
        found = open_file(path)
        assert found.reason is None, path
        np.testing.assert_array_equal(found.picture, by_pillow(path.read_bytes()))


def pattern():
    """What lies in pattern.heic, which pillow-heif wrote."""
    y, x = np.mgrid[:64, :96]
    levels = 60 + 2 * x, 40 + 3 * y, 30 + (x // 16 + y // 16) % 2 * 60
    return np.stack(levels, axis=-1).clip(0, 255)


@pytest.mark.parametrize("name", ["pattern.heic", "turned.heic"])
def test_heic_is_read_where_its_library_is(name, monkeypatch):
    """The second says in EXIF that it is turned: of HEIC its own box counts alone (23008-12)."""
    pytest.importorskip("pi_heif")
    path = Path(__file__).parent / "files" / name
    found = open_file(path)
    assert found.reason is None
    assert found.picture.shape == (64, 96, 3)
    assert np.abs(found.picture.astype(int) - pattern()).mean() < 3
    assert image_size(path.read_bytes())[2] == "HEIC"
    monkeypatch.setattr(foreign, "_heif", lambda: None)
    assert open_file(path).reason == foreign.NO_HEIF
