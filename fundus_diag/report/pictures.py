"""Pictures of a page: small, as data URLs, with nothing of a file in them but pixels."""

import base64
import re

import cv2
import numpy as np
from markupsafe import Markup, escape


def size_within(shape, side):
    """(width, height) of a picture of shape (H, W, ..), its longer side at most `side` px."""
    height, width = shape[:2]
    zoom = min(1.0, side / max(height, width))
    return max(1, round(width * zoom)), max(1, round(height * zoom))


def resized(picture, size):
    """A picture (H, W, ..) averaged to (width, height)."""
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def jpeg(picture):
    """A picture (H, W, 3), RGB uint8, as the bytes of a JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 86]
    return cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), quality)[1].tobytes()


def data_url(content, kind="png"):
    """The bytes of a picture as a data URL, so that the page is one file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def jpeg_url(picture):
    """A picture (H, W, 3), RGB uint8, as the data URL of a JPEG."""
    return data_url(jpeg(picture), "jpeg")


def inline_svg(content, title, key):
    """A figure of `plotting.figure_files` as a part of a page: an <svg> with letters of the page.

    Args:
        content: bytes of the SVG.
        title: what is on it, for those who cannot see it.
        key: of this figure alone: names in it begin so, for a page has one of each.
    """
    text = content.decode()
    text = text[text.index("<svg") :]
    for part in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->"):
        text = re.sub(part, "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{key}-", text)
    # Fonts are set by the page; a hundredth of a point is finer than any screen.
    text = re.sub(r"font-family: [^;]*; ?", "", text)
    text = re.sub(
        r' (?:d|x|y|transform)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), text
    )
    text = re.sub(r"\s+", " ", text).replace("> <", "><")
    box = re.search(r'viewBox="[^"]+"', text)[0]
    body = text[text.index(">") + 1 :]
    # What is made here is safe: matplotlib escapes what is written on a figure.
    head = Markup('<svg class="plot" role="img" aria-label="{}" ').format(escape(title))
    return head + Markup(f"{box}>{body}")
