"""Colours that a file says, by an ICC profile, to be others than sRGB."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from odd_images import chunk, foreign_files, pixels, save
from PIL import Image, ImageCms
from profiles import profile, to_srgb

from fundus_diag.imaging import blocks, icc
from fundus_diag.imaging.image_file import open_file, read_bytes

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_colours_of_another_profile_become_srgb(kind, tmp_path):
    more = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    path = tmp_path / "x"
    path.write_bytes(save(Image.fromarray(pixels()), kind, icc_profile=profile(), **more))
    found = open_file(path)
    assert found.reason is None
    stored = np.asarray(Image.open(path).convert("RGB"))
    off = np.abs(found.picture - to_srgb(stored))
    assert np.quantile(off, 0.98) <= 1.5  # Little CMS computes with 8 bits
    assert np.abs(found.picture.astype(int) - stored).max() > 10
    assert found.content == path.read_bytes()


def test_gray_of_another_gamma_becomes_srgb(tmp_path):
    gray = Image.fromarray(pixels()).convert("L")
    gray.save(tmp_path / "x.png", icc_profile=profile(space=b"GRAY", gamma=1.0))
    found = open_file(tmp_path / "x.png").picture
    assert np.abs(found - to_srgb(np.asarray(gray)[..., None], 1.0)).max() <= 1.5


def test_a_photograph_is_turned_once_with_a_profile_too(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(pixels())
    for kind in ("JPEG", "PNG", "WEBP"):
        image.save(tmp_path / "x", kind, exif=exif, icc_profile=profile())
        image.save(tmp_path / "y", kind, icc_profile=profile())
        turned = open_file(tmp_path / "x").picture
        np.testing.assert_array_equal(turned, np.rot90(open_file(tmp_path / "y").picture, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "icc_profile",
    [
        SRGB,
        b"no profile at all",
        profile()[:200],
        profile()[:140] + b"\xff" * 60,
        b"\xff" * 5_000,
        profile() + bytes(blocks.MAX_PROFILE),
        profile(space=b"GRAY")[:16] + b"Lab " + profile()[20:],
        profile("sRGB by its name", gamma=2.4),
    ],
)
def test_srgb_and_profiles_that_make_no_sense_leave_the_file_to_the_bit(
    icc_profile, kind, tmp_path
):
    content = save(Image.fromarray(pixels()), kind, icc_profile=icc_profile)
    (tmp_path / "x").write_bytes(content)
    assert read_bytes(tmp_path / "x") == content


def test_profiles_of_four_inks_are_read_from_all_four(tmp_path, monkeypatch):
    """What Little CMS makes of inks is its own; here it is one that only black ink darkens."""
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (40, 50, 4), np.uint8), "CMYK"
    )
    exif = Image.Exif()
    exif[274] = 3
    image.save(tmp_path / "x.jpg", quality=100, subsampling=0, icc_profile=profile(), exif=exif)
    inks = np.asarray(Image.open(tmp_path / "x.jpg"))
    monkeypatch.setattr(icc, "is_another", lambda _: True)
    monkeypatch.setattr(icc, "of_inks", lambda _: True)
    monkeypatch.setattr(icc, "to_srgb", lambda x, _: 255 - np.repeat(x[..., 3:], 3, axis=2))
    found = open_file(tmp_path / "x.jpg").picture
    np.testing.assert_array_equal(found[..., 0], 255 - inks[::-1, ::-1, 3])


def test_where_a_profile_stands_is_found_as_pillow_finds_it():
    image = Image.fromarray(pixels())
    long = profile() + bytes(200_000)  # in a JPEG in four parts
    for kind in ("JPEG", "PNG", "TIFF"):
        content = save(image, kind, icc_profile=long)
        assert Image.open(io.BytesIO(content)).info["icc_profile"] == long
        assert blocks.profile(content, kind) == long
        assert blocks.profile(save(image, kind), kind) is None
    assert blocks.profile(save(image, "TIFF", icc_profile=long, big_tiff=True), "TIFF") == long


def test_a_profile_that_unpacks_to_gigabytes_is_not_unpacked():
    bomb = zlib.compress(bytes(3 * 2**27), 9)
    block = chunk(b"iCCP", b"x\0\0" + bomb)
    content = save(Image.fromarray(pixels()), "PNG")
    content = content[:33] + block + content[33:]
    tracemalloc.start()
    try:
        assert blocks.profile(content, "PNG") is None
        assert tracemalloc.get_traced_memory()[1] < 8 * blocks.MAX_PROFILE
    finally:
        tracemalloc.stop()


def test_kinds_of_pillow_with_a_profile_in_pieces_do_not_fail(tmp_path):
    for name, content in foreign_files().items():
        if name.endswith((".webp", ".avif")):
            for broken in (b"x", profile()[:300]):
                image = Image.open(io.BytesIO(content))
                (tmp_path / name).write_bytes(
                    save(image, image.format, icc_profile=broken, quality=90)
                )
                assert open_file(tmp_path / name).reason is None
