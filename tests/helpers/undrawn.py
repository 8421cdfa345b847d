"""Figures that are not drawn: for tests of what is said beside them."""

import base64

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
SVG = b'<svg viewBox="0 0 1 1"><rect width="1" height="1"/></svg>'


def black(_size, _draw, kinds, _note=""):
    """In place of `plotting.figure_files`: a black pixel of each kind."""
    return {kind: SVG if kind == "svg" else base64.b64decode(PIXEL) for kind in kinds}
