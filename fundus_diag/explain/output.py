"""Files of an explained case: pages for people, arrays and table rows for programs.

NAME.npz has, of each method, the maps of its layers as METHOD (K, layers, h, w), raw, wherever they
point; the fused ones as METHOD_fused (K, h, w), 0 in cells that have no part in the field of view;
and METHOD_layers. Cell k of a side stands at METHOD_offset + k METHOD_stride, y and x, in pixels of
the picture, whose side is `picture`; the picture is `box` [y0, x0, y1, x1] of the photograph, whose
field of view is `field` (see `field.locate_field`). Of pairs the eye stands at the end of a name.
"""

import cv2
import numpy as np

from fundus_diag.data.labels import label_text
from fundus_diag.explain.laying import over_photograph, over_picture, peak, reached
from fundus_diag.explain.methods.registry import METHODS
from fundus_diag.explain.overlay import TOP_LABEL, explanation_png, methods_png
from fundus_diag.explain.regions import COLUMNS, region_table
from fundus_diag.imaging.inside import field_on_photograph
from fundus_diag.imaging.preprocess import to_original
from fundus_diag.utils.files import atomic, write_bytes

SHOWN = 640  # px, longest side of a photograph on a page
FIELDS = (
    "image", "file", "patient", "eye", "label", "method", "probability", "threshold", "called",
    "shown_as_top", "zero", "peak_row", "peak_column", *COLUMNS,
)  # fmt: skip


def table_rows(found):
    """Rows of explanations.csv for one explained case."""
    rows, case = [], found["case"]
    for method, eyes in found["fused"].items():
        for eye, maps in eyes.items():
            inside, box = found["inside"][eye], found["loaded"][eye].box
            for k, label in enumerate(found["labels"]):
                laid = over_picture(maps[k], found["grids"][method], inside)
                row, column = to_original(peak(laid), box, len(inside))
                rows.append(
                    {
                        "image": case.images[eye],
                        "file": case.name,
                        "patient": case.patient,
                        "eye": eye,
                        "label": label,
                        "method": method,
                        "probability": _text(found["probability"][k]),
                        "threshold": _text(found["threshold"][k]),
                        "called": int(found["called"][k]),
                        "shown_as_top": int(found["top"]),
                        "zero": int(not laid.any()),
                        "peak_row": _text(row, 1),
                        "peak_column": _text(column, 1),
                        **{n: _text(value, 4) for n, value in region_table(laid, eye).items()},
                    }
                )
    return rows


def write_case(out, found, level, pages=True, page=None):
    """NAME.npz of one explained case; pages: NAME.png, of several methods NAME_methods.png.

    `page`: a function of the first three that writes one more, or None.
    """
    case = found["case"]
    if pages and page is not None:
        page(out, found, level)
    if pages:
        write_bytes(out / f"{case.name}.png", explanation_page(found, level))
    pair = len(found["loaded"]) > 1
    if pages and len(found["fused"]) > 1:
        for eye, loaded in found["loaded"].items():
            photo, box, inside = shrunk(loaded)
            panels = [
                (
                    heading(method),
                    {
                        label: over_photograph(maps[eye][k], found["grids"][method], box, inside)
                        for k, label in enumerate(found["labels"])
                    },
                )
                for method, maps in found["fused"].items()
            ]
            name = f"{case.name}_{eye}" if pair else case.name
            title = f"{case.title}, {eye}" if pair else case.title
            write_bytes(out / f"{name}_methods.png", methods_png(photo, panels, title))
    arrays = {"labels": np.array(found["labels"])}
    for method, grid in found["grids"].items():
        arrays |= {f"{method}_offset": grid.offset, f"{method}_stride": grid.stride}
        arrays |= {f"{method}_layers": np.array(found["layers"][method]), "picture": grid.size}
    for eye, loaded in found["loaded"].items():
        end = f"_{eye}" if pair else ""
        arrays |= {f"box{end}": loaded.box, f"field{end}": loaded.field}
        arrays[f"size{end}"] = np.array(loaded.photograph.shape[:2])
        for method, maps in found["single"].items():
            (there,) = reached(found["inside"][eye][None], found["grids"][method]).numpy()
            arrays[f"{method}{end}"] = maps[eye]
            arrays[f"{method}_fused{end}"] = found["fused"][method][eye] * there
    with atomic(out / f"{case.name}.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def explanation_page(found, level):
    """PNG of one explained case: a row per label and eye, of its first method layer by layer."""
    method = next(iter(found["fused"]))
    shown = {eye: shrunk(loaded) for eye, loaded in found["loaded"].items()}
    grid = found["grids"][method]
    rows = []
    for k in range(len(found["labels"])):
        for eye, (photo, box, inside) in shown.items():
            single = found["single"][method][eye][k]
            names, everywhere = found["layers"][method], np.ones(photo.shape[:2], bool)
            several = zip(names, single, strict=True) if len(names) > 1 else ()
            rows.append(
                {
                    **describe(found, k),
                    "eye": eye if len(shown) > 1 else "",
                    "layers": [(n, over_photograph(m, grid, box, everywhere)) for n, m in several],
                    "fused": over_photograph(found["fused"][method][eye][k], grid, box, inside),
                    "level": level,
                }
            )
    photographs = {eye: photo for eye, (photo, _, _) in shown.items()}
    if len(shown) == 1:
        (photographs,) = photographs.values()
    title = ": ".join(x for x in (found["case"].title, heading(method)) if x)
    return explanation_png(photographs, rows, title)


def heading(method):
    """A method's name, with what has to be known to read its map."""
    return f"{method} (the same for every label)" if METHODS[method].same_for_all_labels else method


def describe(found, k):
    """What stands beside the maps of one label: the keys of `overlay.explanation_png`."""
    label = found["labels"][k]
    text = label_text(label).removeprefix(label).strip()
    return {
        "label": label,
        "text": text,
        "probability": float(found["probability"][k]),
        "threshold": float(found["threshold"][k]),
        "note": TOP_LABEL if found["top"] else "",
    }


def shrunk(loaded):
    """A photograph of at most `SHOWN` px on its longer side, with box and field of view in it.

    Returns:
        photograph (h, w, 3), box (4,), field of view (h, w) bool.
    """
    height, width = loaded.photograph.shape[:2]
    zoom = min(1.0, SHOWN / max(height, width))
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    scale = np.array([size[1] / height, size[0] / width] * 2, np.float32)
    small = cv2.resize(loaded.photograph, size, interpolation=cv2.INTER_AREA)
    field = np.append(loaded.field[:4] * scale, loaded.field[4])
    return small, loaded.box * scale, field_on_photograph(field, *small.shape[:2]).numpy()


def _text(value, digits=6):
    return "" if np.isnan(value) else f"{value:.{digits}f}"
