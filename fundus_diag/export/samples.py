"""Photographs to check an export with: drawn ones, of nobody, and those of the run."""

import functools

from fundus_diag.data.labels import EYES, LABELS, OTHER
from fundus_diag.data.synthetic.camera import compress
from fundus_diag.data.synthetic.eye import draw_eye

SHOWN = (*({x} for x in LABELS if x != OTHER), {"D", OTHER})


@functools.lru_cache(maxsize=2)
def drawn_photographs(count=8, size=320):
    """JPEG files of drawn eyes, healthy and not, in turn left and right: a tuple of bytes."""
    files = []
    for k in range(count):
        picture, _ = draw_eye((0, k // 2), SHOWN[k % len(SHOWN)], EYES[k % 2], size)
        files.append(compress(picture, 92))
    return tuple(files)
