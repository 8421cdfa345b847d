"""DICOM files: each encoding and kind of colour, by formulas of their own and by pydicom."""

import hashlib
import hmac
import io
import subprocess
import sys
import zlib

import numpy as np
import pydicom
import pytest
from dicoms import SECONDARY, dicom, item, photographs, run_lengths
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_images import by_pillow, pixels, save
from PIL import Image, ImageCms
from profiles import profile, to_srgb
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fundus_diag.imaging import dicom as dicoms
from fundus_diag.imaging import dicom_header, dicom_pixels, image_file
from fundus_diag.imaging.image_file import check_header, open_file, read_photograph
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.utils.errors import DataError

PICTURE = pixels()[:, :60]  # 43 x 60
WIDE = np.random.default_rng(5).integers(0, 65536, (20, 30)).astype(np.uint16)


def shown(content):
    """(H, W, 3) of the first frame."""
    found = dicoms.read(content)
    assert found.jpeg is None
    return found.pixels


def reason(content, tmp_path, name="x.dcm"):
    """What is said of a file, by decoding it and by its header."""
    (tmp_path / "x.dcm").write_bytes(content)
    said = open_file(tmp_path / name).reason
    assert said is None or "\n" not in said
    if check_header(tmp_path / name) is not None:
        assert check_header(tmp_path / name) == said
    return said


@pytest.mark.parametrize("name", photographs(PICTURE))
def test_a_photograph_is_the_same_in_every_encoding(name, tmp_path):
    path = tmp_path / "scan"  # whatever the ending
    path.write_bytes(photographs(PICTURE)[name])
    found = open_file(path)
    assert found.reason is None
    assert not found.more
    assert check_header(path) is None
    if name == "jpeg":
        jpeg = save(Image.fromarray(PICTURE), "JPEG", quality=95, subsampling="4:2:2")
        assert found.content.rstrip(b"\0") == jpeg
        np.testing.assert_allclose(found.picture, by_pillow(jpeg), atol=2)
    else:
        np.testing.assert_array_equal(found.picture, PICTURE)
    np.testing.assert_array_equal(load_photograph(path, 32).photograph, found.picture)
    file = pydicom.dcmread(path)
    if name != "jpeg":  # pydicom has no decoder of JPEG here but Pillow's
        np.testing.assert_array_equal(file.pixel_array, found.picture)


@pytest.mark.parametrize("name", photographs(PICTURE))
def test_frames_are_named_from_one_and_the_first_is_said_to_be_one_of_several(name, tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(photographs(PICTURE, 3)[name])
    assert dicoms.frames(path) == [f"{path}#{k}" for k in (1, 2, 3)]
    first, last = open_file(path), open_file(f"{path}#3")
    assert (first.reason, first.more, last.reason, last.more) == (None, True, None, False)
    assert open_file(f"{path}#1").content == first.content
    np.testing.assert_array_equal(first.picture, last.picture)
    assert open_file(f"{path}#4").reason == "no frame 4: the file has 3"
    assert check_header(f"{path}#4") == "no frame 4: the file has 3"
    assert open_file(f"{path}#0").reason == "no such file"


def test_each_frame_is_its_own_picture_whatever_table_of_offsets_there_is(tmp_path):
    arrays = [pixels(k)[:, :60] for k in range(3)]
    color = {"SamplesPerPixel": 3, "Rows": 43, "Columns": 60, "PlanarConfiguration": 0}
    color |= {"PhotometricInterpretation": "RGB", "NumberOfFrames": "3"}
    frames = [save(Image.fromarray(x), "JPEG2000", no_jp2=True) for x in arrays]
    path = tmp_path / "x.dcm"
    for number in (1, 4):  # fragments a frame
        for table in (True, False):
            parts = pydicom.encaps.encapsulate(frames, fragments_per_frame=number, has_bot=table)
            path.write_bytes(dicom([parts], JPEG2000Lossless, **color))
            for k, array in enumerate(arrays):
                np.testing.assert_array_equal(open_file(f"{path}#{k + 1}").picture, array)
    path.write_bytes(dicom(b"".join(x.tobytes() for x in arrays), **color))
    for k, array in enumerate(arrays):
        np.testing.assert_array_equal(open_file(f"{path}#{k + 1}").picture, array)


def test_a_file_whose_own_name_ends_like_a_frame_means_itself(tmp_path):
    (tmp_path / "scan.dcm").write_bytes(dicom(PICTURE))
    (tmp_path / "scan.dcm#2").write_bytes(save(Image.new("RGB", (20, 20), "red"), "PNG"))
    assert open_file(tmp_path / "scan.dcm#2").picture.shape == (20, 20, 3)
    (tmp_path / "a.png").write_bytes(save(Image.new("RGB", (20, 20)), "PNG"))
    assert open_file(tmp_path / "a.png#1").reason == "only frames of DICOM files have numbers"
    assert check_header(tmp_path / "a.png#1") == "only frames of DICOM files have numbers"
    assert dicoms.frames(tmp_path / "a.png") == [str(tmp_path / "a.png")]


@settings(max_examples=60, deadline=None)
@given(
    stored=st.integers(1, 16),
    above=st.integers(0, 3),
    signed=st.booleans(),
    inverted=st.booleans(),
    big=st.booleans(),
)
def test_gray_is_the_upper_eight_of_the_bits_that_are_stored(stored, above, signed, inverted, big):
    allocated = 8 if stored + above <= 8 else 16
    high = min(stored + above, allocated) - 1
    rng = np.random.default_rng(stored)
    values = rng.integers(0, 2**stored, (17, 20))
    raw = values << (high + 1 - stored)
    raw |= rng.integers(0, 2**allocated, (17, 20)) & ~(((1 << stored) - 1) << (high + 1 - stored))
    kind = "MONOCHROME1" if inverted else "MONOCHROME2"
    content = dicom(
        raw.astype("u1" if allocated == 8 else "u2"),
        ExplicitVRBigEndian if big else ExplicitVRLittleEndian,
        BitsStored=stored,
        HighBit=high,
        PhotometricInterpretation=kind,
        PixelRepresentation=int(signed),
    )
    if signed:  # two's complement: the upper half of the patterns is below zero
        values = (values + 2 ** (stored - 1)) % 2**stored
    want = values * 255 // (2**stored - 1) if stored < 8 else values // 2 ** (stored - 8)
    want = 255 - want if inverted else want
    np.testing.assert_array_equal(shown(content), np.repeat(want[..., None], 3, axis=2))


@settings(max_examples=60, deadline=None)
@given(
    centre=st.floats(-500, 5000),
    width=st.floats(1, 6000),
    slope=st.sampled_from([None, 1, 2, 0.5]),
    inverted=st.booleans(),
    function=st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_is_laid_over_gray_of_more_than_eight_bits(
    centre, width, slope, inverted, function
):
    centre, width = (float(f"{x:.3f}") for x in (centre, width))
    content = dicom(
        WIDE >> 4,
        BitsStored=12,
        WindowCenter=[f"{centre:.3f}", "7"],
        WindowWidth=[f"{width:.3f}", "9"],
        RescaleSlope=slope,
        RescaleIntercept=None if slope is None else -10,
        VOILUTFunction=function,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
    )
    x = (WIDE >> 4).astype(float)
    x = x if slope is None else slope * x - 10
    if function == "SIGMOID":
        want = 255 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -99, 99)))
    elif function == "LINEAR_EXACT":
        low, high = centre - width / 2, centre + width / 2
        want = np.where(x <= low, 0, np.where(x > high, 255, (x - low) / width * 255))
    else:
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
        between = ((x - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
        want = np.where(x <= low, 0, np.where(x > high, 255, between))
    want = 255 - want if inverted else want
    assert np.abs(shown(content)[..., 0] - want).max() <= 0.5001


@pytest.mark.parametrize(
    ("centre", "width"), [("NaN", "100"), ("inf", "9"), ("100", "0"), ("1", "-5"), ("x", "y")]
)
def test_a_window_that_makes_no_sense_is_none(centre, width):
    content = dicom(WIDE, WindowCenter="9", WindowWidth="9")
    content = content.replace(b"DS\x02\x009 ", b"DS\x02\x00??", 1)
    for tag, text in ((b"\x28\0\x50\x10", centre), (b"\x28\0\x51\x10", width)):
        at = content.find(tag)
        padded = text.encode() + b" " * (len(text) % 2)
        content = content[: at + 6] + bytes([len(padded), 0]) + padded + content[at + 10 :]
    np.testing.assert_array_equal(shown(content)[..., 0], WIDE >> 8)
    assert dicom_header.read_header(content).window is None


def test_a_window_is_not_laid_over_eight_bits():
    content = dicom((WIDE >> 8).astype("u1"), WindowCenter="20", WindowWidth="4")
    np.testing.assert_array_equal(shown(content)[..., 0], WIDE >> 8)


def ybr(rgb):
    """By the formulas of PS3.3 C.7.6.3.1.2, rounded."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 0.2990 * r + 0.5870 * g + 0.1140 * b
    cb = -0.1687 * r - 0.3313 * g + 0.5000 * b + 128
    cr = 0.5000 * r - 0.4187 * g - 0.0813 * b + 128
    return np.clip(np.rint(np.stack([y, cb, cr], -1)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
def test_luma_and_chroma_become_rgb(planar):
    stored = ybr(PICTURE)
    raw = np.moveaxis(stored, -1, 0) if planar else stored
    tags = {"Rows": 43, "Columns": 60, "SamplesPerPixel": 3, "PlanarConfiguration": planar}
    content = dicom(raw.tobytes(), PhotometricInterpretation="YBR_FULL", **tags)
    assert np.abs(shown(content).astype(int) - PICTURE).max() <= 2
    second = pydicom.dcmread(io.BytesIO(content)).pixel_array  # which converts it
    assert np.abs(shown(content).astype(int) - second).max() <= 1


def test_luma_with_half_the_chroma_becomes_rgb():
    twice = np.repeat(PICTURE[:, ::2], 2, axis=1)  # pairs of a colour lose nothing
    stored = ybr(twice)
    raw = np.stack(
        [stored[:, ::2, 0], stored[:, 1::2, 0], stored[:, ::2, 1], stored[:, ::2, 2]], -1
    )
    tags = {"Rows": 43, "Columns": 60, "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    content = dicom(raw.tobytes(), PhotometricInterpretation="YBR_FULL_422", **tags)
    assert np.abs(shown(content).astype(int) - twice).max() <= 2
    second = pydicom.pixels.pixel_array(io.BytesIO(content))
    np.testing.assert_allclose(shown(content).astype(int), second, atol=1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 30])
@pytest.mark.parametrize("entries", [50, 256])
def test_a_palette_is_looked_up(bits, first, entries):
    rng = np.random.default_rng(1)
    tables = rng.integers(0, 2**bits, (3, entries)).astype(np.uint16)
    index = rng.integers(0, 256, (20, 30)).astype(np.uint8)
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        tags[f"{color}PaletteColorLookupTableDescriptor"] = [entries, first, bits]
        tags[f"{color}PaletteColorLookupTableData"] = table.astype("<u2").tobytes()
    place = np.clip(index.astype(int) - first, 0, entries - 1)
    want = np.moveaxis(tables[:, place] >> (bits - 8), 0, -1)
    np.testing.assert_array_equal(shown(dicom(index, **tags)), want)
    packed = {k: v[::2] if k.endswith("Data") and bits == 8 else v for k, v in tags.items()}
    if bits == 8:
        np.testing.assert_array_equal(shown(dicom(index, **packed)), want)
    del tags["GreenPaletteColorLookupTableData"]
    with pytest.raises(dicoms.Refused, match="unusual kind"):
        dicoms.read(dicom(index, **tags))


def test_a_palette_of_65536_entries_and_sixteen_bits():
    table = np.arange(65536, dtype="<u2")[::-1]
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for color in ("Red", "Green", "Blue"):
        tags[f"{color}PaletteColorLookupTableDescriptor"] = [0, 0, 16]
        tags[f"{color}PaletteColorLookupTableData"] = table.tobytes()
    np.testing.assert_array_equal(shown(dicom(WIDE, **tags))[..., 1], (65535 - WIDE) >> 8)


def test_sixteen_bits_of_colour_and_of_run_lengths_and_jpeg_2000():
    rgb = np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]], -1)
    np.testing.assert_array_equal(shown(dicom(rgb)), rgb >> 8)
    tags = {"Rows": 20, "Columns": 30, "BitsAllocated": 16, "BitsStored": 12}
    gray = WIDE >> 4
    rle = dicom([run_lengths(gray)], RLELossless, **tags)
    np.testing.assert_array_equal(shown(rle)[..., 0], gray >> 4)
    j2k = save(Image.fromarray(WIDE), "JPEG2000", no_jp2=True)
    found = shown(dicom([j2k], JPEG2000, **tags))  # what its codestream says counts
    np.testing.assert_array_equal(found[..., 0], WIDE >> 8)
    ybr_rct = save(Image.fromarray(PICTURE), "JPEG2000", no_jp2=True, mct=1)
    color = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_RCT"}
    found = shown(dicom([ybr_rct], JPEG2000Lossless, Rows=43, Columns=60, **color))
    np.testing.assert_array_equal(found, PICTURE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_run_lengths_are_unpacked_as_pydicom_packs_them(seed, wide):
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.integers(0, 65536, 30), rng.integers(1, 300, 30))[:400]
    array = np.resize(levels, (20, 20)).astype("u2" if wide else "u1")
    packed = run_lengths(array)
    tags = {"Rows": 20, "Columns": 20, "BitsAllocated": 16 if wide else 8}
    header = dicom_header.read_header(dicom([packed], RLELossless, **tags))
    np.testing.assert_array_equal(dicom_pixels.run_lengths(header, packed)[..., 0], array)


def test_run_lengths_that_go_on_for_ever_take_no_memory():
    packed = b"\x01\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\x07" * 2_000_000  # 512 MB unpacked
    content = dicom([packed], RLELossless, Rows=20, Columns=20)
    assert (shown(content) == 7).all()
    assert len(dicom_pixels._unpacked(b"\x81\x07" * 10**6, 400)) < 600


def test_jpegs_with_other_colours_than_they_say(tmp_path):
    image, tags = Image.fromarray(PICTURE), {"Rows": 43, "Columns": 60, "SamplesPerPixel": 3}
    stored = save(image, "JPEG", quality=98, subsampling=0, keep_rgb=True)
    bare = stored.replace(stored[stored.find(b"\xff\xee") :][:16], b"")  # no word by Adobe
    assert b"Adobe" not in bare
    frame = bare.replace(b"R\x11\0", b"\1\x11\0").replace(b"G\x11\0", b"\2\x11\0")
    frame = frame.replace(b"B\x11\0", b"\3\x11\0").replace(b"\3R\0G\0B\0", b"\3\1\0\2\0\3\0")
    assert (
        reason(dicom([frame], JPEGBaseline8Bit, PhotometricInterpretation="RGB", **tags), tmp_path)
        is None
    )
    got = open_file(tmp_path / "x.dcm").picture.astype(int)
    assert np.abs(got - PICTURE).max() < 25
    gray = image.convert("L")
    frame = save(gray, "JPEG", quality=95)
    tags = {"Rows": 43, "Columns": 60}
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        content = dicom([frame], JPEGBaseline8Bit, PhotometricInterpretation=kind, **tags)
        (tmp_path / "x.dcm").write_bytes(content)
        want = by_pillow(frame) if kind == "MONOCHROME2" else 255 - by_pillow(frame)
        np.testing.assert_allclose(open_file(tmp_path / "x.dcm").picture, want, atol=2)


def test_a_profile_in_a_tag_is_followed(tmp_path):
    tags = {"ICCProfile": profile() + bytes(len(profile()) % 2)}
    content = dicom(PICTURE, **tags)
    (tmp_path / "x.dcm").write_bytes(content)
    assert np.quantile(np.abs(open_file(tmp_path / "x.dcm").picture - to_srgb(PICTURE)), 0.98) < 2
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "x.dcm").write_bytes(dicom(PICTURE, ICCProfile=srgb))
    np.testing.assert_array_equal(open_file(tmp_path / "x.dcm").picture, PICTURE)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_plain_syntaxes_and_a_secondary_capture(syntax, tmp_path):
    content = dicom(PICTURE, syntax, SOPClassUID=SECONDARY, Modality="OT")
    np.testing.assert_array_equal(shown(content), PICTURE)


def test_bytes_in_big_endian_words_are_put_in_order():
    content = dicom(PICTURE, ExplicitVRBigEndian)
    at = content.find(b"OB\0\0", content.find(b"\x7f\xe0\0\x10"))
    words = content[at + 8 :]
    swapped = np.frombuffer(words, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()
    np.testing.assert_array_equal(
        shown(content[:at] + b"OW" + content[at + 2 : at + 8] + swapped), PICTURE
    )


@pytest.mark.slow
def test_a_deflated_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    content = dicom(PICTURE, DeflatedExplicitVRLittleEndian)
    start = dicom_header._meta(content)[1]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(40)) + packer.flush()
    assert reason(content[:start] + bomb, tmp_path) == "64 MB, more than 64, inflated"


def test_what_is_no_picture_is_said_in_a_line(tmp_path):
    pdf, wave = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.9.1.1"
    jpeg = save(Image.fromarray(PICTURE), "JPEG")
    size = {"Rows": 43, "Columns": 60}
    color = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", **size}
    odd = "save it as RGB of 8 bits"
    expected = {
        "DICOM without a picture (Encapsulated PDF Storage)": dicom(
            whole=False, SOPClassUID=pdf, EncapsulatedDocument=b"%PDF"
        ),
        "DICOM without a picture (12-lead ECG Waveform Storage)": dicom(
            whole=False, SOPClassUID=wave
        ),
        "DICOM without a picture": dicom(whole=False, SOPClassUID="1.2.3.9", **size),
        "broken DICOM header": bytes(128) + b"DICM" + bytes(90),
        "1x1 pixels: smaller than 16": dicom(np.zeros((1, 1), "u1")),
        "4295 megapixels, more than 100": dicom(b"abcd", Rows=65535, Columns=65535),
        "0 frames instead of 1 to 100000": dicom(PICTURE, NumberOfFrames="0"),
        "truncated": dicom(PICTURE, NumberOfFrames="1")[:-700],
        "DICOM in JPEG-LS Lossless Image Compression: save it uncompressed or as JPEG": dicom(
            [b"abcd"], JPEGLSLossless, **size
        ),
        "DICOM in JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 "
        "[Selection Value 1]): save it uncompressed or as JPEG": dicom(
            [b"abcd"], JPEGLosslessSV1, **size
        ),
        "DICOM in an unknown transfer syntax: save it uncompressed or as JPEG": dicom(
            [b"abcd"], JPEGLSLossless, **size
        ).replace(b"1.2.4.80", b"1.2.4.77"),
        f"DICOM of an unusual kind (3 x 8 bits in 8, YBR_PARTIAL_420): {odd}": dicom(
            PICTURE, PhotometricInterpretation="YBR_PARTIAL_420"
        ),
        f"DICOM of an unusual kind (1 x 32 bits in 32, MONOCHROME2): {odd}": dicom(
            np.zeros((20, 20), "u4")
        ),
        f"DICOM of an unusual kind (1 x 1 bits in 1, MONOCHROME2): {odd}": dicom(
            bytes(400), BitsAllocated=1, Rows=20, Columns=20
        ),
        f"DICOM of an unusual kind (1 x 8 bits in 8, no colours): {odd}": dicom(
            (WIDE >> 8).astype("u1"), PhotometricInterpretation="Somebody's"
        ),
        "damaged DICOM": dicom([jpeg], JPEGBaseline8Bit, **(color | {"Rows": 44})),
    }
    for said, content in expected.items():
        assert reason(content, tmp_path) == said
    content = dicom([jpeg[:-300]], JPEGBaseline8Bit, **color)
    assert reason(content, tmp_path) in ("truncated", "damaged JPEG")
    j2k = save(Image.fromarray(PICTURE), "JPEG2000", no_jp2=True)
    for broken in (j2k[:200], j2k[:60] + bytes(100) + j2k[160:], b"abcd"):
        content = dicom([broken], JPEG2000, **(color | {"PhotometricInterpretation": "RGB"}))
        assert reason(content, tmp_path) == "damaged DICOM"
    for broken in (b"", bytes(64), run_lengths(PICTURE)[:-400]):
        content = dicom(
            [broken + b"xx"], RLELossless, **(color | {"PhotometricInterpretation": "RGB"})
        )
        assert reason(content, tmp_path) == "damaged DICOM"


@pytest.mark.slow
def test_tags_that_are_missing_or_nested_without_end_are_no_crash(tmp_path):
    for name in (
        "Rows",
        "Columns",
        "BitsAllocated",
        "SamplesPerPixel",
        "PhotometricInterpretation",
    ):
        said = reason(dicom(PICTURE, **{name: None, "BitsStored": 8, "HighBit": 7}), tmp_path)
        assert said == ("DICOM without a picture" if name in ("Rows", "Columns") else None) or (
            "DICOM without a picture (Ophthalmic" in said or "unusual kind" in said
        )
    start = dicom(PICTURE)
    at = dicom_header._meta(start)[1]
    nested = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 20_000
    assert reason(start[:at] + nested, tmp_path) == "broken DICOM header"
    tiny = b"\x08\0\x60\0CS\0\0" * 2_000_000
    assert reason(start[:at] + tiny, tmp_path) == "broken DICOM header"


def test_without_pydicom_a_line_says_what_to_install(tmp_path, monkeypatch):
    content = dicom(PICTURE)
    monkeypatch.setitem(sys.modules, "pydicom.filereader", None)
    said = "DICOM: pydicom is not installed; pip install '.[dicom]' in the clone"
    assert reason(content, tmp_path) == said
    with pytest.raises(DataError, match="pip install"):
        dicoms.facts(tmp_path / "x.dcm", "salt")


@pytest.mark.slow
def test_pydicom_is_imported_for_dicom_only(tmp_path):
    (tmp_path / "x.png").write_bytes(save(Image.fromarray(PICTURE), "PNG"))
    program = (
        "import sys; from fundus_diag.imaging.image_file import check_header;"
        f"assert check_header({str(tmp_path / 'x.png')!r}) is None;"
        "sys.exit('pydicom' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def hashed(text, salt="s"):
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]


def test_patient_and_study_are_hashes_of_the_salt_and_the_eye_is_its_side(tmp_path):
    path = tmp_path / "x.dcm"
    tags = {"PatientID": "A17", "PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.77"}
    path.write_bytes(dicom(PICTURE, ImageLaterality="L", Laterality="R", **tags))
    want = {"patient": hashed("A17"), "study": hashed("1.2.77"), "eye": "left"}
    assert dicoms.facts(path, "s") == want
    assert dicoms.facts(f"{path}#1", "s") == want
    assert dicoms.facts(path, "t")["patient"] == hashed("A17", "t") != want["patient"]
    path.write_bytes(dicom(PICTURE, Laterality="R", IssuerOfPatientID="ward", **tags))
    assert dicoms.facts(path, "s") == want | {"patient": hashed("ward\\A17"), "eye": "right"}
    path.write_bytes(dicom(PICTURE, ImageLaterality="B"))
    assert dicoms.facts(path, "s") == {"patient": "", "study": "", "eye": ""}
    with pytest.raises(DataError, match="x.dcm#2: no frame 2: the file has 1$"):
        dicoms.facts(f"{path}#2", "s")
    path.write_bytes(b"text")
    with pytest.raises(DataError, match="x.dcm: not an image"):
        dicoms.facts(path, "s")
    with pytest.raises(DataError, match="none.dcm: no such file"):
        dicoms.facts(tmp_path / "none.dcm", "s")


@pytest.mark.parametrize(
    "nobody", ["", "ANONYMOUS", "Anonymized", "unknown", "0", "000000", "N/A", "none", "-", "noid"]
)
def test_who_stands_for_nobody_is_nobody(nobody, tmp_path):
    (tmp_path / "x.dcm").write_bytes(dicom(PICTURE, PatientID=nobody, IssuerOfPatientID="ward"))
    assert dicoms.facts(tmp_path / "x.dcm", "s")["patient"] == ""


@pytest.mark.parametrize("somebody", ["0x", "10", "anonymous7", "Unknownsen", "张三", "Ä"])
def test_who_does_not_is_somebody(somebody, tmp_path):
    content = dicom(PICTURE, PatientID=somebody, SpecificCharacterSet="ISO_IR 192")
    (tmp_path / "x.dcm").write_bytes(content)
    assert dicoms.facts(tmp_path / "x.dcm", "s")["patient"] == hashed(somebody)


def test_the_eye_of_a_frame_is_what_its_functional_group_says(tmp_path):
    def anatomy(eye):
        return item(FrameAnatomySequence=[item(FrameLaterality=eye)])

    tags = {"NumberOfFrames": "3", "ImageLaterality": "R", "Rows": 43, "Columns": 60}
    tags["PerFrameFunctionalGroupsSequence"] = [anatomy("L"), item(), anatomy("R")]
    path = tmp_path / "x.dcm"
    for shared, rest in ((None, "right"), ([anatomy("L")], "left")):
        path.write_bytes(dicom(bytes(43 * 60 * 3), SharedFunctionalGroupsSequence=shared, **tags))
        eyes = [dicoms.facts(name, "s")["eye"] for name in dicoms.frames(path)]
        assert eyes == ["left", rest, "right"]


def test_real_photographs(data_dir):
    folder = data_dir / "dicom_op"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    eyes = {}
    for path in sorted(folder.glob("*.dcm")):
        found = open_file(path)
        assert found.reason is None
        file = pydicom.dcmread(path)
        assert found.picture.shape == (file.Rows, file.Columns, 3)
        eyes[path.stem] = dicoms.facts(path, "s")["eye"]
        if not file.file_meta.TransferSyntaxUID.is_encapsulated:
            np.testing.assert_array_equal(found.picture, file.pixel_array)
            continue
        frame = next(pydicom.encaps.generate_frames(file.PixelData, number_of_frames=1))
        np.testing.assert_array_equal(
            found.picture, image_file.traced_decode(frame.rstrip(b"\0")).numpy()
        )
        assert read_photograph(path)[0] == frame
    assert eyes == {
        "hrf_01_dr_op_jpeg": "right",
        "idrid_002_op_explicit": "left",
        "idrid_002_op_jpeg": "left",
    }
