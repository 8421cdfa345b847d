"""DICOM files of many kinds, made with pydicom."""

import io

import numpy as np
import pydicom
from odd_images import save
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.5.1"


def dicom(pixels=b"", syntax=ExplicitVRLittleEndian, whole=True, **tags):
    """The bytes of a DICOM file.

    Args:
        pixels: bytes, an array of samples (rows, columns[, samples]), or a list of frames' bytes,
            which are encapsulated; a list of one item that is so already stays as it is.
        syntax: transfer syntax.
        whole: whether tags of a photograph are filled in where `tags` do not give them.
        tags: {keyword: value}; None leaves the tag out.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = PHOTOGRAPH
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    usual = {}
    if whole:
        usual = {"SOPClassUID": PHOTOGRAPH, "SOPInstanceUID": "1.2.3.4", "Modality": "OP"}
        usual |= {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
        usual |= {"BitsAllocated": 8, "PixelRepresentation": 0}
    if isinstance(pixels, np.ndarray):
        usual |= {"Rows": pixels.shape[0], "Columns": pixels.shape[1]}
        usual["BitsAllocated"] = 8 * pixels.dtype.itemsize
        if pixels.ndim == 3:
            usual |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
            usual["PlanarConfiguration"] = 0
        big = syntax == ExplicitVRBigEndian
        pixels = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    usual |= tags
    if whole:
        usual.setdefault("BitsStored", usual["BitsAllocated"])
        usual.setdefault("HighBit", usual["BitsStored"] - 1 if usual["BitsStored"] else None)
    with pydicom.config.disable_value_validation():
        for name, value in usual.items():
            if value is not None:
                setattr(file, name, value)
    encapsulated = isinstance(pixels, list)
    if encapsulated:
        whole = pixels[0].startswith(b"\xfe\xff\x00\xe0")
        pixels = pixels[0] if whole else encapsulate(pixels)
    if pixels:
        file.PixelData = pixels
        file["PixelData"].VR = "OB" if usual.get("BitsAllocated") == 8 else "OW"
        file["PixelData"].is_undefined_length = encapsulated
    content = io.BytesIO()
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(content, file, enforce_file_format=False)
    return content.getvalue()


def photographs(array, frames=1):
    """Name -> DICOM file of the same RGB picture (H, W, 3) uint8, in every encoding."""
    image = Image.fromarray(array)
    jpeg = save(image, "JPEG", quality=95, subsampling="4:2:2")
    planes = np.moveaxis(array, -1, 0).tobytes()
    color = {"SamplesPerPixel": 3, "Rows": array.shape[0], "Columns": array.shape[1]}
    color |= {"PlanarConfiguration": 0, "NumberOfFrames": str(frames)}
    rgb, ybr = ({"PhotometricInterpretation": x} for x in ("RGB", "YBR_FULL_422"))
    j2k = save(image, "JPEG2000", no_jp2=True)
    return {
        "plain": dicom(array.tobytes() * frames, **color, **rgb),
        "planes": dicom(planes * frames, **(color | rgb | {"PlanarConfiguration": 1})),
        "big": dicom(array.tobytes() * frames, ExplicitVRBigEndian, **color, **rgb),
        "jpeg": dicom([jpeg] * frames, JPEGBaseline8Bit, **color, **ybr),
        "jpeg_2000": dicom([j2k] * frames, JPEG2000Lossless, **color, **rgb),
        "rle": dicom([run_lengths(array)] * frames, RLELossless, **color, **rgb),
    }


def run_lengths(array):
    """A frame in run lengths, by pydicom."""
    from pydicom.pixels import get_encoder

    samples = array.shape[2] if array.ndim == 3 else 1
    options = {"rows": array.shape[0], "columns": array.shape[1], "number_of_frames": 1}
    options |= {"samples_per_pixel": samples, "bits_allocated": 8 * array.dtype.itemsize}
    options |= {"bits_stored": 8 * array.dtype.itemsize, "pixel_representation": 0}
    options |= {"photometric_interpretation": "RGB" if samples == 3 else "MONOCHROME2"}
    options |= {"planar_configuration": 0} if samples == 3 else {}
    return get_encoder(RLELossless).encode(np.ascontiguousarray(array), **options)


def item(**tags):
    """A data set with these tags, for a sequence."""
    found = Dataset()
    for name, value in tags.items():
        setattr(found, name, value)
    return found
