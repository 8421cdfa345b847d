"""Files of an explained case: pages for people, arrays and table rows for programs."""

import cv2
import numpy as np

from fundus_diag.data.labels import label_text
from fundus_diag.explain.methods.registry import METHODS
from fundus_diag.explain.overlay import TOP_LABEL, explanation_png, methods_png
from fundus_diag.explain.regions import COLUMNS, region_table
from fundus_diag.imaging.preprocess import map_to_original, to_original
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
            picture, box, _ = found["loaded"][eye]
            for k, label in enumerate(found["labels"]):
                where = region_table(maps[k], eye)
                peak = np.array([where["peak_y"], where["peak_x"]]) * len(picture)
                row, column = to_original(peak, box, len(picture))
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
                        "zero": int(not maps[k].any()),
                        "peak_row": _text(row, 1),
                        "peak_column": _text(column, 1),
                        **{name: _text(value, 4) for name, value in where.items()},
                    }
                )
    return rows


def write_case(out, found, level):
    """NAME.png, NAME.npz and, with several methods, NAME_methods.png of one explained case."""
    case = found["case"]
    write_bytes(out / f"{case.name}.png", explanation_page(found, level))
    pair = len(found["loaded"]) > 1
    if len(found["fused"]) > 1:
        for eye, (_, box, photo) in found["loaded"].items():
            photo, box = shrunk(photo, box)
            panels = [
                (
                    heading(method),
                    {
                        label: laid_back(maps[eye][k], box, photo.shape)
                        for k, label in enumerate(found["labels"])
                    },
                )
                for method, maps in found["fused"].items()
            ]
            name = f"{case.name}_{eye}" if pair else case.name
            title = f"{case.title}, {eye}" if pair else case.title
            write_bytes(out / f"{name}_methods.png", methods_png(photo, panels, title))
    arrays = {"labels": np.array(found["labels"])}
    for eye, (_, box, photo) in found["loaded"].items():
        end = f"_{eye}" if pair else ""
        arrays |= {f"box{end}": box, f"size{end}": np.array(photo.shape[:2])}
        for method, maps in found["single"].items():
            arrays[f"{method}{end}"] = maps[eye]
            arrays[f"{method}_fused{end}"] = found["fused"][method][eye]
            arrays[f"{method}_layers"] = np.array(found["layers"][method])
    with atomic(out / f"{case.name}.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def explanation_page(found, level):
    """PNG of one explained case: a row per label and eye, of its first method layer by layer."""
    method = next(iter(found["fused"]))
    shown = {eye: shrunk(photo, box) for eye, (_, box, photo) in found["loaded"].items()}
    rows = []
    for k in range(len(found["labels"])):
        for eye, (photo, box) in shown.items():
            single = found["single"][method][eye][k]
            names = found["layers"][method]
            several = zip(names, single, strict=True) if len(names) > 1 else ()
            rows.append(
                {
                    **describe(found, k),
                    "eye": eye if len(shown) > 1 else "",
                    "layers": [(n, laid_back(m, box, photo.shape)) for n, m in several],
                    "fused": laid_back(found["fused"][method][eye][k], box, photo.shape),
                    "level": level,
                }
            )
    photographs = {eye: photo for eye, (photo, _) in shown.items()}
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


def shrunk(photograph, box):
    """A photograph of at most `SHOWN` px on its longer side, and `box` scaled with it."""
    height, width = photograph.shape[:2]
    zoom = min(1.0, SHOWN / max(height, width))
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    scale = np.array([size[1] / height, size[0] / width] * 2, np.float32)
    return cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), box * scale


def laid_back(map, box, shape):
    """One map (h, w) over the square picture, on the photograph of that shape."""
    return map_to_original(map[None, ..., None], box, *shape[:2]).numpy()[0, ..., 0]


def _text(value, digits=6):
    return "" if np.isnan(value) else f"{value:.{digits}f}"
