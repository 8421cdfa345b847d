"""Photographs to check an export with: drawn ones, of nobody, and those of the run."""

import functools
from pathlib import Path

from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.synthetic.camera import compress
from fundus_diag.data.synthetic.eye import draw_eye

SHOWN = ({"N"}, {"D"}, {"G"}, {"C"}, {"A"}, {"H"}, {"M"}, {"D", "O"})


@functools.lru_cache(maxsize=2)
def drawn_photographs(count=8, size=320):
    """JPEG files of drawn eyes, healthy and not, in turn left and right: a tuple of bytes."""
    files = []
    for k in range(count):
        eye = "left" if k % 2 == 0 else "right"
        picture, _ = draw_eye((0, k // 2), SHOWN[k % len(SHOWN)], eye, size)
        files.append(compress(picture, 92))
    return tuple(files)


def training_table(run):
    """(`Manifest`, folder of its photographs, "") of a run, or (None, None, why it is not here)."""
    data = run.config["data"]
    manifest, root = Path(data.get("manifest") or ""), Path(data.get("image_root") or "")
    if not manifest.is_file():
        return None, None, "its table is not here"
    if not root.is_dir():
        return None, None, "the folder of its photographs is not here"
    table = read_manifest(manifest)
    if table.sha256 != data.get("sha256"):
        return None, None, "its table has changed since"
    return table, root, ""
