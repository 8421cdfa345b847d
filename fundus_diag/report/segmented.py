"""The page of `segment predict`: photographs with the outlines of what was called."""

import numpy as np

from fundus_diag.data.labels import file_name
from fundus_diag.explain.of_pixels import class_maps
from fundus_diag.explain.overlay import blend, contour
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import data_url, jpeg, jpeg_url, resized, size_within
from fundus_diag.utils.files import make_folder, write_bytes

PAGE = "segments.html"
SIDE = 720  # px, longest side of a photograph on the page
MOST = 60  # photographs on the page; the others are in the table and the masks
# Okabe and Ito's, which the colour-blind can tell; on a retina, which is red, the bluish first.
COLOURS = ((86, 180, 233), (240, 228, 66), (0, 158, 115), (255, 255, 255), (204, 121, 167),
           (230, 159, 0), (0, 114, 178))  # fmt: skip

BOTH, MISSED, FALSE = (240, 240, 240), (86, 180, 233), (230, 159, 0)  # the colour-blind can tell


def outlined_jpeg(photograph, called):
    """A photograph with the outlines of masks (H, W, K) bool, as the bytes of a JPEG.

    Outlines are drawn on the small picture; nothing of the file is in it but pixels.
    """
    size = size_within(photograph.shape, SIDE)
    small = resized(photograph, size)
    for k in range(called.shape[-1]):
        mask = resized(called[..., k].astype(np.float32), size)
        small = contour(small, mask > 0.25, COLOURS[k % len(COLOURS)])
    return jpeg(small)


def write_maps(out, run, case, loaded, called, method):
    """Writes maps/CLASS/NAME.jpg: a photograph under the map of each class, with its outline.

    Args:
        out: folder.
        run: `segmenter.Segmenter`.
        case: `cases.Case`.
        loaded: its `preprocess.Loaded`.
        called: (H, W, K) bool.
        method: see `of_pixels.class_maps`.
    """
    found = class_maps(run, loaded, method)
    size = size_within(loaded.photograph.shape, SIDE)
    small = resized(loaded.photograph, size)
    for k, name in enumerate(run.classes):
        laid = blend(small, np.clip(resized(found[..., k], size), 0, 1))
        mask = resized(called[..., k].astype(np.float32), size) > 0.25
        folder = out / "maps" / file_name(name)
        make_folder(folder)
        write_bytes(folder / f"{case.name}.jpg", jpeg(contour(laid, mask)))


def write_segmented(path, run, shown, rows, number):
    """Writes the page.

    Args:
        path: HTML file.
        run: `segmenter.Segmenter`.
        shown: [(title, JPEG bytes, {class: share of the field of view})].
        rows: (photograph, why) of those that could not be read.
        number: of all photographs.
    """
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(run.classes)}
    text = (
        environment()
        .get_template("segmented.html.j2")
        .render(
            run=run.run_dir.resolve().name,
            cases=[(title, data_url(content, "jpeg"), shares) for title, content, shares in shown],
            colours={name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in colours.items()},
            unread=rows,
            number=number,
        )
    )
    write_bytes(path, text.encode())


def compared(photograph, calls):
    """{class: data URL} of a photograph, what both outline, what is missed and what is false."""
    size = size_within(photograph.shape, SIDE)
    small = resized(photograph, size).astype(np.float32) * 0.6
    found = {}
    for name, (truth, called) in calls.items():
        picture = small.copy()
        parts = (truth & ~called, MISSED), (called & ~truth, FALSE), (truth & called, BOTH)
        for mask, colour in parts:
            cover = resized(mask.astype(np.float32), size)
            cover = np.minimum(1.5 * cover, 0.9)[..., None]  # thin vessels stay seen
            picture += cover * (np.float32(colour) - picture)
        found[name] = jpeg_url(np.rint(picture).astype(np.uint8))
    return found
