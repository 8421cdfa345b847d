"""How many bits a sample of an image file has, and uses."""

from fundus_diag.imaging import tiff
from fundus_diag.imaging.image_file import kind_of


def bits(data: bytes) -> int:
    """Bits a sample that an image file says to hold; 8 where it says nothing."""
    kind = kind_of(data)
    if kind == "TIFF":
        return tiff.tiff_facts(data).get(tiff.BITS, 8)
    return data[24] if kind == "PNG" and len(data) > 24 else 8


def narrow_bits(data: bytes, picture) -> int:
    """12 or 14 where a file of 16 bits a sample uses no more of them, else 0.

    Cameras write such files; the upper 8 bits, which are taken, are nearly black then.

    Args:
        data: the file.
        picture: its decoded pixels, uint8, which hold the upper 8 bits.
    """
    if bits(data) != 16:
        return 0
    brightest = int(picture.max())
    return 12 if 0 < brightest < 2**4 else 14 if 0 < brightest < 2**6 else 0
