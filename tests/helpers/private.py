"""Photographs that hold words about people in all that is not their pixels."""

import base64
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
MARKS = (b"Zq7vK", b"ZQ7VK", b"19070813", b"235947.08", b"80713057", b"1.2.80713", b"1907:08:13")
IN_PAGES = re.compile(rb"base64,([A-Za-z0-9+/=]+)")  # pictures
GROUPS = (0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0022, 0x0032, 0x0038, 0x0040, 0x4008)
KEPT = {"SpecificCharacterSet", "ImageLaterality", "Laterality", "SOPClassUID"}
_VALUES = {
    "DA": "19070813", "TM": "235947.0813", "DT": "19070813235947", "AS": "077Y", "AE": "Zq7vKAE",
    "IS": "80713057", "DS": "80713057", "UI": "1.2.80713.{}", "CS": "ZQ7VK{}", "UR": "http://Zq7vK.{}",
    **{kind: "Zq7vK {}^{}" for kind in ("PN", "LO", "SH", "LT", "ST", "UT", "UC")},
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
    tags = _planted() | {"PatientID": f"Zq7vK-{patient}", "ImageLaterality": "L"}
    if jpeg:
        frame = private_picture(Image.fromarray(pixels), "JPEG")
        color = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422"}
        color |= {"Rows": pixels.shape[0], "Columns": pixels.shape[1]}
        content = dicom([frame], JPEGBaseline8Bit, **color, **tags)
    else:
        content = dicom(pixels, **tags)
    file = pydicom.dcmread(io.BytesIO(content))
    block = file.private_block(0x0009, "Zq7vK maker", create=True)
    block.add_new(1, "LO", "Zq7vK private")
    file.OtherPatientIDsSequence = [pydicom.Dataset()]
    file.OtherPatientIDsSequence[0].PatientID = "Zq7vK other"
    file.file_meta.ImplementationVersionName = "Zq7vK version"
    file.file_meta.SourceApplicationEntityTitle = "Zq7vK source"
    file.file_meta.MediaStorageSOPInstanceUID = "1.2.80713.1"
    file.file_meta.PrivateInformationCreatorUID = generate_uid("1.2.80713.")
    file.file_meta.PrivateInformation = b"Zq7vK information"
    file.preamble = b"Zq7vK preamble".ljust(128)
    out = io.BytesIO()
    with pydicom.config.disable_value_validation():
        file.save_as(out, enforce_file_format=False)
    assert out.getvalue().count(b"Zq7vK") > 300
    return out.getvalue()


def private_picture(image, kind):
    """A JPEG, PNG, TIFF or WebP with marks in EXIF (a place too), XMP, comment and profile."""
    exif = Image.Exif()
    exif[270], exif[315], exif[306] = "Zq7vK description", "Zq7vK artist", "1907:08:13 23:59:47"
    exif.get_ifd(0x8825).update({1: "N", 29: "1907:08:13", 18: "Zq7vK datum"})
    more = {"exif": exif, "icc_profile": profile("Zq7vK camera")}
    if kind in ("JPEG", "WEBP"):
        more["xmp"] = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Zq7vK xmp</x:xmpmeta>"
    if kind == "JPEG":
        more |= {"comment": b"Zq7vK comment", "quality": 95}
    if kind == "PNG":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_text("Author", "Zq7vK author")
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", "Zq7vK xmp")
    if kind == "WEBP":
        more["lossless"] = True
    content = save(image, kind, **more)
    assert b"Zq7vK" in content
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
    parts = [base64.b64decode(x) for x in IN_PAGES.findall(content)]
    parts.append(IN_PAGES.sub(b"", content))  # where letters stand by chance as in a mark
    return {mark for mark in MARKS for part in parts if mark in part}
