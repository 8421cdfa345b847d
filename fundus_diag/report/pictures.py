"""Pictures of a page: small, as data URLs, with nothing of a file in them but pixels."""

import base64

import cv2
import numpy as np


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
