"""Photographs that hold words about people in all that is not their pixels."""

import io
import re

import numpy as np
import pydicom
from dicoms import dicom
from odd_images import save
from PIL import Image, PngImagePlugin
from profiles import profile
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.uid import JPEGBaseline8Bit, generate_uid

# What is planted begins with one of these, whatever kind of value it is.
MARKS = (b"Zq7", b"ZQ7", b"19070707", b"070707", b"70707070", b"1.2.70707", b"077Y", b"1907:07:07")
GROUPS = (0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0022, 0x0032, 0x0038, 0x0040, 0x4008)
KEPT = {"SpecificCharacterSet", "ImageLaterality", "Laterality", "SOPClassUID"}
_VALUES = {
    "DA": "19070707", "TM": "070707.0707", "DT": "19070707070707", "AS": "077Y", "AE": "Zq7AE",
    "IS": "70707070", "DS": "70707070", "UI": "1.2.70707.{}", "CS": "ZQ7{}", "UR": "http://Zq7.{}",
    **{kind: "Zq7 {}^{}" for kind in ("PN", "LO", "SH", "LT", "ST", "UT", "UC")},
}  # fmt: skip


def _planted():
    """{keyword: value} of every tag of text in the groups that are not the picture's."""
    found = {}
    for tag, (kind, _, _, retired, keyword) in DicomDictionary.items():
        fits = tag >> 16 in GROUPS and kind in _VALUES and keyword and not retired
        if fits and keyword_for_tag(tag) not in KEPT:
            found[keyword] = _VALUES[kind].format(len(found), "x")
    return found


def private_dicom(pixels, patient, jpeg=False):
    """A DICOM file with a mark in every tag of text, private ones and its own header's."""
    tags = _planted() | {"PatientID": f"Zq7-{patient}", "ImageLaterality": "L"}
    if jpeg:
        frame = private_picture(Image.fromarray(pixels), "JPEG")
        color = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}
        color |= {"Rows": pixels.shape[0], "Columns": pixels.shape[1]}
        content = dicom([frame], JPEGBaseline8Bit, **color, **tags)
    else:
        content = dicom(pixels, **tags)
    file = pydicom.dcmread(io.BytesIO(content))
    block = file.private_block(0x0009, "Zq7 maker", create=True)
    block.add_new(1, "LO", "Zq7 private")
    file.OtherPatientIDsSequence = [pydicom.Dataset()]
    file.OtherPatientIDsSequence[0].PatientID = "Zq7 other"
    file.file_meta.ImplementationVersionName = "Zq7 version"
    file.file_meta.SourceApplicationEntityTitle = "Zq7 source"
    file.file_meta.MediaStorageSOPInstanceUID = "1.2.70707.1"
    file.file_meta.PrivateInformationCreatorUID = generate_uid("1.2.70707.")
    file.file_meta.PrivateInformation = b"Zq7 information"
    file.preamble = b"Zq7 preamble".ljust(128)
    out = io.BytesIO()
    with pydicom.config.disable_value_validation():
        file.save_as(out, enforce_file_format=False)
    assert out.getvalue().count(b"Zq7") > 300
    return out.getvalue()


def private_picture(image, kind):
    """A JPEG, PNG, TIFF or WebP with marks in EXIF (a place too), XMP, comment and profile."""
    exif = Image.Exif()
    exif[270], exif[315], exif[306] = "Zq7 description", "Zq7 artist", "1907:07:07 07:07:07"
    exif.get_ifd(0x8825).update({1: "N", 29: "1907:07:07", 18: "Zq7 datum"})
    more = {"exif": exif, "icc_profile": profile("Zq7 camera")}
    if kind in ("JPEG", "WEBP"):
        more["xmp"] = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Zq7 xmp</x:xmpmeta>"
    if kind == "JPEG":
        more |= {"comment": b"Zq7 comment", "quality": 95}
    if kind == "PNG":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_text("Author", "Zq7 author")
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", "Zq7 xmp")
    if kind == "WEBP":
        more["lossless"] = True
    content = save(image, kind, **more)
    assert b"Zq7" in content
    return content


def make_private(folder, table):
    """Turns the PNG files of a table of `make_photographs` into files with marks, of all kinds.

    Returns {name before: name now}.
    """
    names = {}
    for number, name in enumerate(table["image"]):
        image = Image.open(folder / name).convert("RGB")
        pixels, kind = np.asarray(image), ("JPEG", "PNG", "TIFF", "WEBP")[number % 4]
        if number % 3 == 0:
            content, ending = private_picture(image, kind), kind.lower()
        else:
            content = private_dicom(pixels, number // 2, jpeg=number % 3 == 1)
            ending = "dcm"
        names[name] = f"{name.removesuffix('.png')}.{ending}"
        (folder / name).unlink()
        (folder / names[name]).write_bytes(content)
    return names


def marks_in(content):
    """The marks in some bytes, and in the pictures that a page holds in its text."""
    import base64

    found = {mark for mark in MARKS if mark in content}
    for part in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content):
        found |= {mark for mark in MARKS if mark in base64.b64decode(part)}
    return found
