"""Image files of many kinds, made with Pillow and OpenCV or by hand."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, ImageOps

HEIGHT, WIDTH = 43, 61  # odd, so that padded rows show


def pixels(seed=0):
    """(HEIGHT, WIDTH, 3) smooth uint8 colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def save(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name, content):
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def png(height, width, bits=8, color=2, data=b"", extra=b""):
    """A PNG file from its parts; `data` is the uncompressed image data."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


def odd_files():
    """Name -> content of files that have to be decoded."""
    image = Image.fromarray(pixels())
    alpha = Image.fromarray(np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype("u1"))
    gray, rgba = image.convert("L"), image.copy()
    gray_alpha = gray.copy()
    rgba.putalpha(alpha)
    gray_alpha.putalpha(alpha)
    palette, wide = image.quantize(32), np.asarray(gray).astype(np.uint16) * 256 + 77
    cmyk = save(image.convert("CMYK"), "JPEG", quality=95)
    adobe = cmyk.index(b"Adobe") + 11  # its last byte says whether CMYK is stored as YCCK
    files = {
        "rgb.jpg": save(image, "JPEG", quality=95),
        "progressive.jpg": save(image, "JPEG", quality=90, progressive=True),
        "subsampled.jpg": save(image, "JPEG", quality=80, subsampling="4:2:0"),
        "gray.jpg": save(gray, "JPEG", quality=95),
        "cmyk.jpg": cmyk,
        "ycck.jpg": cmyk[:adobe] + b"\x02" + cmyk[adobe + 1 :],
        "trailing.jpg": save(image, "JPEG") + b"\0" * 500,
        "rgb.png": save(image, "PNG"),
        "gray.png": save(gray, "PNG"),
        "gray_alpha.png": save(gray_alpha, "PNG"),
        "rgba.png": save(rgba, "PNG"),
        "palette.png": save(palette, "PNG"),
        "palette16.png": save(image.quantize(16), "PNG", bits=4),
        "palette_transparent.png": save(palette, "PNG", transparency=3),
        "bits1.png": save(image.convert("1"), "PNG"),
        "gray16.png": save(Image.fromarray(wide), "PNG"),
        "rgb16.png": cv2.imencode(".png", pixels()[..., ::-1].astype(np.uint16) * 256)[1].tobytes(),
        "rgb.bmp": save(image, "BMP"),
        "gray.bmp": save(gray, "BMP"),
        "palette.bmp": save(palette, "BMP"),
        "rgba.bmp": save(rgba, "BMP"),
    }
    for bits in (2, 4):  # a PNG of gray levels 0 to 3, 0 to 15, which Pillow does not write
        row = b"\0" + bytes((0b00011011,) if bits == 2 else (0x05, 0xAF, 0x37)) * 16
        width = (len(row) - 1) * 8 // bits
        files[f"bits{bits}.png"] = png(20, width, bits, 0, row * 20)
    return files


def tiff_files():
    """Name -> content of TIFF files and of BMP files that TensorFlow does not decode."""
    image = Image.fromarray(pixels())
    gray, bilevel = image.convert("L"), image.convert("1")
    wide = np.asarray(gray).astype(np.uint16) * 256 + 77
    files = {
        "plain.tif": save(image, "TIFF"),
        "big.tif": save(image, "TIFF", big_tiff=True),
        "lzw.tif": save(image, "TIFF", compression="tiff_lzw"),
        "deflate.tif": save(image, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": save(image, "TIFF", compression="jpeg", quality=95),
        "gray.tif": save(gray, "TIFF"),
        "palette.tif": save(image.quantize(16), "TIFF"),
        "cmyk.tif": save(image.convert("CMYK"), "TIFF"),
        "bits1.tif": save(bilevel, "TIFF"),
        "gray16.tif": save(Image.fromarray(wide), "TIFF"),
        "rgb16.tif": cv2.imencode(".tif", pixels()[..., ::-1].astype(np.uint16) * 256)[1].tobytes(),
        "turned.tif": save(image, "TIFF", tiffinfo={274: 6}),
        "bits1.bmp": save(bilevel, "BMP"),
    }
    return files


def hand_made_tiff(sides, first=(), big=False, side=1200):
    """A gray TIFF of `side` x `side` pixels whose directory tells its size as given.

    Args:
        sides: entries (tag, type, value) for width (256) and height (257); a value of None stands
            outside of the directory and is `side`.
        first: entries (tag, type, value) before them.
        big: BigTIFF.
    """
    start, number, word = (16, "Q", "Q") if big else (8, "H", "I")
    data = zlib.compress(b"\x55" * side**2, 9)
    rest = [(258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (278, 4, side), (279, 4, len(data))]
    entries = [*first, *sides, *rest, (273, 4, "data")]
    size = struct.calcsize("<HH" + 2 * word)
    outside = start + struct.calcsize("<" + number) + len(entries) * size + struct.calcsize(word)
    places = {None: outside, "data": outside + 8}
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0\x08\0\0\0"
    table = struct.pack("<" + number, len(entries))
    for tag, kind, value in entries:
        table += struct.pack("<HH" + 2 * word, tag, kind, 1, places.get(value, value))
    return head + table + bytes(struct.calcsize(word)) + struct.pack("<Q", side) + data


def by_pillow(content):
    """What Pillow makes of a file: upright, on black, upper 8 bits, (H, W, 3) int."""
    image = Image.open(io.BytesIO(content))
    if image.format != "TIFF":  # Pillow turns TIFF while decoding
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB")).astype(int)


def foreign_files():
    """Name -> content of files that TensorFlow does not decode and Pillow does; `kind_...`."""
    image = Image.fromarray(pixels())
    other, gray = Image.fromarray(pixels(1)), image.convert("L")
    rgba = image.copy()
    rgba.putalpha(
        Image.fromarray(np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype("u1"))
    )
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 256 + 77)
    exif = Image.Exif()
    exif[274] = 6
    return {
        "plain.gif": save(image, "GIF"),
        "animated.gif": save(image, "GIF", save_all=True, append_images=[other]),
        "transparent.gif": save(image.quantize(32), "GIF", transparency=3),
        "lossless.webp": save(image, "WEBP", lossless=True),
        "lossy.webp": save(image, "WEBP", quality=95),
        "animated.webp": save(image, "WEBP", lossless=True, save_all=True, append_images=[other]),
        "rgba.webp": save(rgba, "WEBP", lossless=True, exact=True),
        "turned.webp": save(image, "WEBP", lossless=True, exif=exif),
        "plain.avif": save(image, "AVIF", quality=95),
        "turned.avif": save(image, "AVIF", quality=95, exif=exif),
        "rgb.jp2": save(image, "JPEG2000"),
        "gray.j2k": save(gray, "JPEG2000", no_jp2=True),
        "gray16.jp2": save(wide, "JPEG2000"),
        "rgba.jp2": save(rgba, "JPEG2000"),
        "rgb.ppm": save(image, "PPM"),
        "gray.pgm": save(gray, "PPM"),
        "gray16.pgm": save(wide, "PPM"),
    }
