"""Every kind of image file against Pillow; damaged and hostile files; TIFF."""

import os
import pathlib
import struct

import numpy as np
import odd_images
import pytest
import tensorflow as tf
from bad_images import BAD, FILES, HUGE, TIFFS
from odd_images import by_pillow, chunk, pixels, png
from PIL import Image

from fundus_diag.imaging import preprocess
from fundus_diag.imaging.decode import decode
from fundus_diag.imaging.header import PROBLEMS, header_facts, probe
from fundus_diag.imaging.image_file import check_file, check_files, image_size, read_bytes
from fundus_diag.utils.errors import DataError


def graph(function):
    return tf.function(function, input_signature=[tf.TensorSpec((), tf.string)])


decode, probe = graph(decode), graph(probe)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_decodes_as_pillow_decodes_it(name):
    got = decode(FILES[name]).numpy()
    want = by_pillow(FILES[name])
    assert got.dtype == np.uint8
    assert want.std() > 20
    assert np.abs(got - want).max() <= 2


def test_decoding_is_the_same_eagerly_and_in_a_data_pipeline():
    files = [FILES[name] for name in ("rgb.jpg", "rgba.png", "gray.png", "palette.bmp")]
    piped = tf.data.Dataset.from_tensor_slices(files).map(decode)
    for content, image in zip(files, piped, strict=True):
        eager = decode(tf.constant(content))
        np.testing.assert_array_equal(image.numpy(), eager.numpy())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("kind", ["H", "I"])
def test_exif_orientation_is_applied_in_both_byte_orders(orientation, order, kind):
    content = with_exif(FILES["rgb.jpg"], exif(order, [(0x0112, kind, orientation)]))
    got = decode(content).numpy()
    want = by_pillow(content)
    assert got.shape[0] == (61 if orientation > 4 else 43)
    assert np.abs(got - want).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_the_orientation_of_a_png_is_applied_wherever_its_chunk_stands(orientation, order):
    block = exif(order, [(0x0112, "H", orientation)])
    for name in ("rgb.png", "rgba.png", "gray16.png"):
        for behind in (False, True):
            content = png_with_exif(FILES[name], block, behind)
            got = decode(content).numpy()
            want = by_pillow(content)
            assert got.shape == want.shape == (*((61, 43) if orientation > 4 else (43, 61)), 3)
            assert np.abs(got - want).max() <= 2


@pytest.mark.parametrize("block", [b"", b"II", b"XX*\0\x08\0\0\0", b"II*\0\xff\xff\xff\xff"])
def test_a_chunk_of_a_png_that_makes_no_sense_is_ignored(block):
    got = decode(png_with_exif(FILES["rgb.png"], block)).numpy()
    np.testing.assert_array_equal(got, decode(FILES["rgb.png"]).numpy())
    spoken = png(20, 30, 8, 0, bytes(620), chunk(b"tEXt", b"Comment\0eXIf is written so"))
    assert decode(spoken).shape == (20, 30, 3)


@pytest.mark.slow
def test_a_small_photograph_within_exif_is_not_taken_for_the_photograph():
    thumbnail = odd_images.save(Image.new("RGB", (20, 17)), "JPEG")
    content = with_exif(FILES["rgb.jpg"], exif(b"MM", [(0x0112, "H", 3)]) + thumbnail)
    _, height, width = header_facts(tf.constant(content))
    assert (int(height), int(width)) == (43, 61)
    cut = content[: len(content) // 2]
    assert PROBLEMS[int(probe(cut))] == "truncated"  # though the thumbnail has its end


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06\0\0\0",
    ],
)
def test_exif_that_makes_no_sense_is_ignored(block):
    got = decode(with_exif(FILES["rgb.jpg"], block)).numpy()
    np.testing.assert_array_equal(got, decode(FILES["rgb.jpg"]).numpy())


@pytest.mark.parametrize("name", [*FILES, *TIFFS])
def test_size_and_kind_are_read_from_the_header(name):
    content = {**FILES, **TIFFS}[name]
    height, width, kind = image_size(content)
    image = Image.open(odd_images.io.BytesIO(content))
    stored = image.size[::-1] if name == "turned.tif" else image.size
    assert (width, height) == (stored if name != "turned.tif" else (61, 43))
    assert kind == image.format


@pytest.mark.parametrize("name", TIFFS)
def test_tiff_and_unusual_bmp_agree_with_pillow(name, tmp_path):
    (tmp_path / name).write_bytes(TIFFS[name])
    got = decode(read_bytes(tmp_path / name)).numpy()
    assert np.abs(got - by_pillow(TIFFS[name])).max() <= 2
    assert check_file(tmp_path / name) is None


def test_top_down_bmp_is_not_upside_down():
    content = bytearray(FILES["rgb.bmp"])
    content[22:26] = struct.pack("<i", -43)
    got = decode(bytes(content)).numpy()
    np.testing.assert_array_equal(got, decode(FILES["rgb.bmp"]).numpy()[::-1])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_reason(name, tmp_path):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    assert check_file(tmp_path / name) == reason
    with pytest.raises(DataError, match=f"{name}: ") as error:
        preprocess.load_picture(tmp_path / name, 32)
    assert str(error.value) == f"{tmp_path / name}: {reason}"
    if "tif" not in name:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(content)


def test_the_graph_knows_bad_files_before_decoding():
    named = {name: PROBLEMS[int(probe(content))] for name, (content, _) in BAD.items()}
    assert named["empty.jpg"] == "empty file"
    assert named["text.jpg"] == "not an image (JPEG, PNG, BMP)"
    assert named["stub.jpg"] == "broken header"
    assert named["dot.png"] == "smaller than 16 pixels"
    assert named["huge.png"] == "more than 100 megapixels"
    assert named["cut.jpg"] == named["cut.png"] == named["cut.bmp"] == "truncated"
    assert all(int(probe(content)) == 0 for content in FILES.values())


def peak(anew=False):
    """The largest resident set of this process, kB; `anew`: from here on."""
    if anew:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def test_a_huge_picture_in_a_small_file_is_refused_at_once():
    assert len(HUGE) < 4000
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 100 megapixels"):
        decode(HUGE)
    before = peak(anew=True)
    probe(HUGE)
    assert peak() - before < 100_000  # kB; decoding it would take 900 MB


def test_a_file_that_is_too_heavy_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    with open(tmp_path / "heavy.jpg", "wb") as file:
        file.write(FILES["rgb.jpg"])
        file.truncate(70 * 2**20)
    assert check_file(tmp_path / "heavy.jpg") == "70 MB, more than 64"


def test_a_tiff_that_is_no_photograph_is_refused(tmp_path):
    float_pixels = Image.fromarray(pixels()[..., 0].astype(np.float32))
    float_pixels.save(tmp_path / "float.tif")
    content = bytearray(TIFFS["plain.tif"])
    for tag in (256, 257):  # width and height of 30,000
        at = content.index(struct.pack("<HHI", tag, 4, 1))
        content[at + 8 : at + 12] = struct.pack("<I", 30_000)
    (tmp_path / "huge.tif").write_bytes(content)
    said = "TIFF of 32 bits a sample instead of 8 or 16"
    assert check_file(tmp_path / "float.tif") == said
    assert check_file(tmp_path / "huge.tif") == "900 megapixels, more than 100"


def test_missing_files_and_folders_are_named(tmp_path):
    assert check_file(tmp_path / "none.jpg") == "no such file"
    assert check_file(tmp_path) == "cannot be read: Is a directory"
    with pytest.raises(DataError, match=r"none\.jpg: no such file"):
        read_bytes(tmp_path / "none.jpg")


def test_damage_is_reported_without_noise(tmp_path, capfd):
    (tmp_path / "cut.tif").write_bytes(TIFFS["plain.tif"][:3000])
    assert check_file(tmp_path / "cut.tif") == "truncated, damaged or unusual TIFF"
    assert "OpenCV" not in capfd.readouterr().err


def test_check_files_lists_the_bad_ones_in_order(tmp_path):
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "good.png").write_bytes(FILES["rgb.png"])
    paths = [tmp_path / name for name in ("text.jpg", "good.png", "dot.png", "cut.jpg")]
    assert check_files(paths, workers=2) == [
        (paths[0], BAD["text.jpg"][1]),
        (paths[2], BAD["dot.png"][1]),
        (paths[3], BAD["cut.jpg"][1]),
    ]


def test_originals_decode_as_pillow_decodes_them(data_dir):
    paths = sorted((data_dir / "odir5k" / "fullres").glob("*.jpg"), key=os.path.getsize)[:4]
    for path in paths:
        content = path.read_bytes()
        assert np.abs(decode(content).numpy() - by_pillow(content)).max() <= 2


def exif(order, entries):
    """A TIFF block with one directory of (tag, type, value)."""
    sign = "<" if order == b"II" else ">"
    block = order + struct.pack(sign + "HIH", 42, 8, len(entries) + 1)
    block += struct.pack(sign + "HHII", 0x010E, 3, 1, 0x00070007)  # another entry before it
    for tag, kind, value in entries:
        padding = b"\0\0" if kind == "H" else b""
        number = 3 if kind == "H" else 4
        block += struct.pack(sign + "HHI" + kind, tag, number, 1, value) + padding
    return block + b"\0\0\0\0"


def with_exif(content, block):
    segment = b"Exif\0\0" + block
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]


def png_with_exif(content, block, behind=False):
    """A PNG with the block in a chunk behind its header, or behind its pixels."""
    at = len(content) - 12 if behind else 33
    return content[:at] + chunk(b"eXIf", block) + content[at:]
