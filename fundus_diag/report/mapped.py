"""A photograph with its maps as pages show it: the map laid over it, its outline, the verdict."""

import functools
import math

import cv2
import numpy as np

from fundus_diag.data.labels import LABEL_NAMES, label_text
from fundus_diag.explain.laying import over_photograph
from fundus_diag.explain.methods.registry import METHODS
from fundus_diag.explain.output import shrunk
from fundus_diag.explain.overlay import blend, layer
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import data_url, jpeg, jpeg_url, resized, size_within
from fundus_diag.report.shown import file_name
from fundus_diag.report.verdicts import in_ten
from fundus_diag.runs.answer_files import like
from fundus_diag.utils.files import write_bytes

SMALL = 240  # px, longest side of the photograph under a single layer
WIDE = 600  # of the coordinates in which outlines are drawn: hatches are as fine in all
OPACITY = 0.75  # of the map at half its height and above, before anybody moves the slider
PAGE_END, THUMB_END = "_maps.html", "_map.jpg"
TITLES = {  # as the documentation calls them
    "layer_cam": "LayerCAM", "grad_cam": "Grad-CAM", "grad_cam_pp": "Grad-CAM++",
    "score_cam": "Score-CAM", "rollout": "attention rollout", "chefer": "Chefer relevance",
    "vit_cx": "ViT-CX", "words": "words", "uniform": "uniform",
    "centred_gaussian": "centred Gaussian",
}  # fmt: skip


def cards(found, level, validation, grade):
    """What pages show of one explained case: a dict for each label and eye.

    Args:
        found: of `explain.explain_batch`.
        level: from which on the fused map is outlined.
        validation: of `answers.validation_of`, or None.
        grade: whether the labels are grades, called by the largest probability.

    Returns:
        List of {"label", "eye", "image", "verdict": sentence, "method", "photograph": URL, "size":
        (width, height), "map": URL of a layer with transparency, "outline": of `outline`, "" where
        the map is nowhere so high, "nothing": whether the map is zero, "layers", "methods": lists
        of (what it is called, what it is called in the network, URL)}.
    """
    method, *others = found["fused"]
    rows = []
    for k, label in enumerate(found["labels"]):
        for eye, loaded in found["loaded"].items():
            photo, box, inside = shrunk(loaded)
            url = jpeg_url(photo)

            def laid(map, method=method, box=box, inside=inside):
                return over_photograph(map, found["grids"][method], box, inside)

            fused = laid(found["fused"][method][eye][k])
            small = functools.partial(_small, photo)
            rows.append(
                {
                    "label": label,
                    "title": label_text(label),
                    "eye": eye,
                    "image": file_name(str(found["case"].images[eye])),
                    "verdict": verdict(found, k, validation, grade),
                    "method": TITLES.get(method, method),
                    "same": METHODS[method].same_for_all_labels,
                    "photograph": url,
                    "size": (photo.shape[1], photo.shape[0]),
                    "map": _layer_url(fused),
                    "outline": outline(fused >= level) if fused.any() else "",
                    "nothing": not fused.any(),
                    "layers": [
                        (title, name, small(laid(map)))
                        for title, name, map in _layers(found, method, eye, k)
                    ],
                    "methods": [
                        (TITLES.get(x, x), x, small(laid(found["fused"][x][eye][k], x)))
                        for x in others
                    ],
                }
            )
    return rows


def verdict(found, k, validation, grade):
    """A label's probability in words: what is called at which threshold, what such scores meant."""
    label, p = found["labels"][k], float(found["probability"][k])
    name = LABEL_NAMES.get(label, label_text(label))
    threshold = float(found["threshold"][k])
    if grade:
        how = "the likeliest grade" if found["called"][k] else "another grade is likelier"
    elif math.isnan(threshold):
        how = "never called: it has no threshold"
    else:
        at = short(threshold)
        how = f"called at {at}" if found["called"][k] else f"not called (threshold {at})"
    if found["top"]:
        how += "; nothing is called, this is the likeliest"
    n, had, *_ = like(validation, label, p)
    meant = ""
    if n:
        meant = f"; of validation photographs scored so {in_ten(had / n)} had it ({had} of {n})"
    return f"{name}: {short(p)}, {how}{meant}"


def short(share):
    """A share in [0, 1] as short as it can be read: .83, .004, over .999, 1."""
    if share in (0, 1):
        return f"{share:.0f}"
    if not 0.001 <= share <= 0.999:
        return "below .001" if share < 0.5 else "over .999"
    return f"{share:.{2 if 0.01 <= share <= 0.99 else 3}f}".removeprefix("0")


def outline(mask):
    """The outline of a mask (H, W) bool as the path of an SVG `WIDE` wide; filled by even and odd.

    On the edges of pixels: what the mask covers lies inside.
    """
    scale = WIDE / mask.shape[1]
    # Twice as large, so that a contour, which runs through middles of pixels, can lie on edges.
    fine = np.kron(mask, np.ones((2, 2), np.uint8)).astype(np.uint8)
    found, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for contour in found:
        line = (cv2.approxPolyDP(contour, 0.8, closed=True)[:, 0] / 2 + 0.25) * scale
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line) + "Z")
    return "".join(parts)


def _layers(found, method, eye, k):
    """(what a layer is called by its fineness, its name, its map), from coarse to fine."""
    names, cells = found["layers"][method], found["cells"][method]
    if len(names) < 2:
        return []
    maps = found["single"][method][eye][k]
    order = sorted(range(len(names)), key=lambda i: max(cells[i]))
    rows = []
    for place, i in enumerate(order):
        alike = [j for j in order if cells[j] == cells[i]]
        word = {0: "coarsest: ", len(order) - 1: "finest: "}.get(place, "")
        title = f"{word}{cells[i][0]} × {cells[i][1]} cells"
        if len(alike) > 1:
            title += f", {alike.index(i) + 1} of {len(alike)}"
        rows.append((title, names[i], maps[i]))
    return rows


def _small(photo, map):
    """URL of a small photograph with a map laid over it, relative to the map's own maximum."""
    size = size_within(photo.shape, SMALL)
    top = float(map.max())
    return jpeg_url(blend(resized(photo, size), resized(map / (top or 1), size), OPACITY))


def _layer_url(map):
    picture = layer(map, 1.0)[..., [2, 1, 0, 3]]
    quality = [cv2.IMWRITE_WEBP_QUALITY, 80]
    return data_url(cv2.imencode(".webp", np.ascontiguousarray(picture), quality)[1], "webp")


def write_case_page(out, found, level, name, validation, grade, drawn):
    """Writes NAME_maps.html of one explained case, and NAME_map.jpg for the index.

    Args:
        out: folder.
        found, level, validation, grade: see `cards`.
        name: of the run.
        drawn: whether it learned from drawn photographs.
    """
    case, rows = found["case"], cards(found, level, validation, grade)
    text = (
        environment()
        .get_template("explained.html.j2")
        .render(
            name=name, case=case, cards=rows, drawn=drawn, opacity=OPACITY, level=level, index=True
        )
    )
    write_bytes(out / f"{case.name}{PAGE_END}", text.encode())
    method, (eye, loaded) = next(iter(found["fused"])), next(iter(found["loaded"].items()))
    photo, box, inside = shrunk(loaded)
    laid = over_photograph(found["fused"][method][eye][0], found["grids"][method], box, inside)
    thumb = resized(blend(photo, laid, OPACITY), size_within(photo.shape, SMALL))
    write_bytes(out / f"{case.name}{THUMB_END}", jpeg(thumb))
