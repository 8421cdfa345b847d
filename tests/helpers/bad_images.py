"""Files that are no photographs, or damaged, and what is said of each."""

import odd_images
from odd_images import odd_files, png, tiff_files
from PIL import Image

FILES, TIFFS = odd_files(), tiff_files()
# The header only, as a camera with 900 megapixels would write it; 30,000 rows of zeros behind.
HUGE = png(30_000, 30_000, 8, 0, b"\0" * 100_000)
BAD = {
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"image,patient\n" * 20, "not an image (JPEG, PNG, BMP, TIFF, DICOM)"),
    "heic.jpg": (
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
        "broken HEIC header",
    ),
    "dicom.jpg": (bytes(128) + b"DICM" + bytes(90), "broken DICOM header"),
    "closed.jpg": (FILES["rgb.jpg"][:-300] + b"\xff\xd9", "damaged JPEG"),
    "closed_progressive.jpg": (FILES["progressive.jpg"][:-300] + b"\xff\xd9", "damaged JPEG"),
    "stub.jpg": (b"\xff\xd8\xff\xe0", "broken JPEG header"),
    "stub.png": (FILES["rgb.png"][:20], "broken PNG header"),
    "stub.bmp": (FILES["rgb.bmp"][:10], "broken BMP header"),
    "stub.tif": (b"II*\0\x08\0\0\0", "broken TIFF header"),
    "dot.png": (odd_images.save(Image.new("RGB", (1, 1)), "PNG"), "1x1 pixels: smaller than 16"),
    "dot.tif": (odd_images.save(Image.new("RGB", (1, 1)), "TIFF"), "1x1 pixels: smaller than 16"),
    "huge.png": (HUGE, "900 megapixels, more than 100"),
    "cut.jpg": (FILES["rgb.jpg"][:-300], "truncated"),
    "cut_progressive.jpg": (FILES["progressive.jpg"][:-300], "truncated"),
    "cut.png": (FILES["rgb.png"][:-300], "truncated"),
    "cut.bmp": (FILES["rgb.bmp"][:-300], "truncated"),
    "cut.tif": (TIFFS["lzw.tif"][:-3000], "broken TIFF header"),
    "scans.jpg": (
        FILES["progressive.jpg"][:-2] + b"\xff\xda\0\x08\1\1\0\1\x3f\0" * 101 + b"\xff\xd9",
        "more than 100 scans",
    ),
    "damaged.png": (
        FILES["rgb.png"][:60] + b"\xff" * 40 + FILES["rgb.png"][100:],
        "damaged PNG",
    ),
}
