"""Pictures of maps: over the photograph, layer by layer, method by method.

Colours of maps: matplotlib's viridis, whose lightness grows evenly, so that equal steps of a map
look equal, in gray as well. Its middle is blue and green, which no retina is; cividis, as even,
looks like the retina and its exudates there.
"""

import cv2
import numpy as np
from matplotlib import colormaps

from fundus_diag.utils.picture_grid import page, widths, wrapped

COLOURS = colormaps["viridis"]
LINE = (255, 255, 255)
CASING = (0, 0, 0)
ALPHA = 0.75
FULL = 0.5  # a value from which on the colour covers the photograph by all of alpha
TOP_LABEL = "(below its threshold: shown as the top label)"  # the note of such a row
NOTHING = "nothing speaks for it"
LAYER_SCALE = (
    "Single layers: raw values, each layer on one scale for all rows; comparable between pictures "
    "by the numbers at the bars."
)
FUSED_SCALE = (
    "Fused, and its outline: relative to this picture and label, in [0, 1]; says nothing between "
    "pictures."
)
METHOD_SCALE = (
    "Every map is relative to this picture, label and method, in [0, 1]: places compare, strengths "
    "do not."
)

FINE = 3  # contours are drawn on a grid that much finer, then averaged: smooth lines


def blend(photograph, map, alpha=ALPHA):
    """Lays a map over a photograph; the higher its value, the less of the photograph shows.

    Args:
        photograph: (H, W, 3) uint8 RGB.
        map: (H, W) in [0, 1].
        alpha: share of the map's colour where the map is `FULL` or more, in [0, 1]; in proportion
            below. Where the map is 0 the photograph stays as it is.

    Returns:
        (H, W, 3) uint8.
    """
    photograph, map = _check(photograph, map)
    colours = COLOURS(map, bytes=True)[..., :3].astype("float32")
    weight = alpha * np.minimum(map / FULL, 1)[..., None]
    return np.rint(photograph + weight * (colours - photograph)).astype("uint8")


def layer(map, alpha=ALPHA):
    """What to lay over a photograph for the same picture as `blend` makes: (H, W, 4) uint8 RGBA.

    Args:
        map, alpha: see `blend`.
    """
    map = np.clip(np.asarray(map, "float32"), 0, 1)
    colours = COLOURS(map, bytes=True)[..., :3]
    cover = np.rint(255 * alpha * np.minimum(map / FULL, 1)).astype("uint8")
    return np.concatenate([colours, cover[..., None]], axis=-1)


def contour(photograph, mask, colour=LINE, width=1):
    """Draws the outline of a mask, a line between two dark ones: seen on bright and dark ground.

    Args:
        photograph: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, such as `map >= level`. What lies beyond the photograph counts as
            outside, so the outline is closed along the photograph's edges.
        colour: (3,) of the line, [0, 255].
        width: of the line, and of the casing on either side of it, pixels.

    Returns:
        (H, W, 3) uint8. The line covers the `width` outermost pixels of the mask.
    """
    photograph, mask = np.asarray(photograph), np.asarray(mask)
    if mask.dtype != bool or photograph.shape != (*mask.shape, 3):
        raise ValueError(f"mask must be bool {photograph.shape[:2]}; got {mask.dtype} {mask.shape}")
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1,) * 2)
    outside = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    line = mask & ~cv2.erode(mask.astype("uint8"), disc, **outside).astype(bool)
    out = photograph.copy()
    out[cv2.dilate(line.astype("uint8"), disc).astype(bool)] = CASING
    out[line] = colour
    return out


def explanation_png(photograph, rows, title):
    """Page of one photograph, or of a patient's two: a row for each label. Returns PNG bytes.

    A row shows the photograph, the map of every layer by itself, the fused map over the photograph
    and the outline of `fused >= level`, with the label's name and probability beside it. The maps
    of a layer share one scale over all rows, from 0 to the highest value; the fused map's is 0 to
    1. Rows of one label stand under each other, in the order of the labels' first rows.

    Args:
        photograph: (H, W, 3) uint8 RGB that the maps cover; or {eye: photograph}.
        rows: one to about eight dicts:
            label: the short name;
            text: what it means; may be missing;
            eye: "left" or "right"; may be missing or "";
            probability, threshold: in [0, 1]; None or NaN where there is none;
            layers: list of (name, (h, w) map, not below 0), the same names in every row; may be
                empty;
            fused: (h, w) in [0, 1];
            level: of the outline, in (0, 1];
            note: a remark, such as `TOP_LABEL`; may be missing.
        title: of the page.

    Raises:
        ValueError: there is no row, rows have different layers, or a shape or value is wrong.
    """
    names = _layer_names(rows)
    rows = sorted(rows, key=lambda row: [r["label"] for r in rows].index(row["label"]))
    tops = [max(float(np.max(row["layers"][k][1])) for row in rows) for k in range(len(names))]
    wide, narrow = widths(3, len(names))
    small = {eye: _fitted(p, wide) for eye, p in _by_eye(photograph).items()}
    pictures = []
    for row in rows:
        own = small.get(row.get("eye") or "", small.get(""))
        if own is None:
            raise ValueError(f"no photograph of the {row.get('eye') or 'unnamed'} eye")
        part = _fitted(own, narrow)
        layers = [_alone(map, top, part) for (_, map), top in zip(row["layers"], tops, strict=True)]
        pictures.append([(own, ""), *layers, _over(row["fused"], own), _outlined(row, own)])
    bars = [None, *(_bar(top, narrow) for top in tops), _blended_bar(small, wide), None]
    notes = [LAYER_SCALE, FUSED_SCALE] if names else [FUSED_SCALE]
    columns = [("photograph", wide), *((name, narrow) for name in names), ("fused", wide),
               ("outline of fused", wide)]  # fmt: skip
    return page(title, columns, [_description(row) for row in rows], pictures, bars, notes)


def methods_png(photograph, panels, title):
    """Page that shows several methods side by side, a row for each label. Returns PNG bytes.

    Args:
        photograph: (H, W, 3) uint8 RGB that the maps cover.
        panels: list of (method's name, {label: (h, w) map in [0, 1]}). A label that a method lacks
            stays empty there.
        title: of the page.
    """
    labels = list(dict.fromkeys(label for _, maps in panels for label in maps))
    if not labels:
        raise ValueError("no map to show")
    cell, _ = widths(1 + len(panels), 0)
    own = _fitted(photograph, cell)
    pictures = [
        [(own, ""), *(_over(maps.get(label), own) for _, maps in panels)] for label in labels
    ]
    bars = [None] + [_blended_bar({"": own}, cell)] * len(panels)
    columns = [(name, cell) for name in ("photograph", *(name for name, _ in panels))]
    lines = [wrapped(str(label), "label") for label in labels]
    return page(title, columns, lines, pictures, bars, [METHOD_SCALE])


# Cells: a picture and the words on it.


def _alone(map, top, photograph):
    """A layer's map by itself, from 0 to `top`."""
    map = _resized(map, photograph)
    return COLOURS(map / (top or 1), bytes=True)[..., :3], "" if map.any() else NOTHING


def _over(map, photograph):
    if map is None:
        return np.full_like(photograph, 238), "no map"
    map = _resized(map, photograph)
    return blend(photograph, map), "" if map.any() else NOTHING


def _outlined(row, photograph):
    height, width = photograph.shape[:2]
    fine = cv2.resize(photograph, (FINE * width, FINE * height), interpolation=cv2.INTER_NEAREST)
    map = _resized(row["fused"], fine)
    if not map.any():
        return photograph, NOTHING
    fine = contour(fine, map >= row["level"], width=FINE + 1)
    small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return small, "" if (map >= row["level"]).any() else f"nothing from {row['level']:.2g} up"


def _bar(top, width):
    ramp = np.tile(np.linspace(0, 1, width), (9, 1))
    return COLOURS(ramp, bytes=True)[..., :3], "0", f"{top:.2g}" if top else ""


def _blended_bar(photographs, width):
    """The colours as they lie over the retina: its middle colour stands for it."""
    pixels = np.concatenate([p.reshape(-1, 3) for p in photographs.values()])
    lit = pixels[pixels.max(axis=1) > 40]
    ground = np.median(lit, axis=0) if len(lit) else np.zeros(3)
    strip = np.broadcast_to(ground.astype("uint8"), (9, width, 3))
    return blend(strip, np.tile(np.linspace(0, 1, width), (9, 1))), "0", "1"


def _description(row):
    """The lines beside a row of pictures."""
    eye = f", {row['eye']} eye" if row.get("eye") else ""
    p, t = (np.nan if row[k] is None else row[k] for k in ("probability", "threshold"))
    lines = wrapped(f"{row['label']}{eye}", "label") + wrapped(row.get("text") or "", "plain")
    lines.append((f"probability {p:.3f}" if p == p else "no probability", "plain"))
    lines.append((f"threshold {t:.3f}" if t == t else "no threshold", "plain"))
    if p == p and t == t:
        lines.append(("above threshold", "above") if p >= t else ("below threshold", "below"))
    lines += wrapped(row.get("note") or "", "faint")
    return [*lines, (f"outline: fused from {row['level']:.2g} up", "faint")]


def _layer_names(rows):
    if not rows:
        raise ValueError("no row to show")
    names = [[name for name, _ in row["layers"]] for row in rows]
    if any(own != names[0] for own in names):
        raise ValueError(f"rows must have the same layers; got {names}")
    return names[0]


def _by_eye(photograph):
    return photograph if isinstance(photograph, dict) else {"": photograph}


def _fitted(photograph, cell):
    """The photograph at the size in which a page shows it: as wide as its cell, or less if tall."""
    photograph = np.asarray(photograph)
    if photograph.dtype != np.uint8 or photograph.ndim != 3 or photograph.shape[2] != 3:
        raise ValueError(
            f"photograph must be (H, W, 3) uint8; got {photograph.dtype} {photograph.shape}"
        )
    height, width = photograph.shape[:2]
    scale = min(cell / width, 1.4 * cell / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(photograph, size, interpolation=way)


def _resized(map, photograph):
    """The map at the photograph's size, float32."""
    map = np.asarray(map, "float32")
    if map.ndim != 2 or not (np.isfinite(map).all() and (map >= 0).all()):
        raise ValueError(f"a map must be (h, w), finite and not below 0; got shape {map.shape}")
    height, width = photograph.shape[:2]
    way = cv2.INTER_AREA if map.shape[0] > height else cv2.INTER_LINEAR
    return cv2.resize(map, (width, height), interpolation=way)


def _check(photograph, map):
    photograph, map = np.asarray(photograph, "float32"), np.asarray(map, "float32")
    if photograph.shape != (*map.shape, 3):
        raise ValueError(
            f"a map of shape {map.shape} does not fit a photograph of shape {photograph.shape}"
        )
    if not (map >= -1e-6).all() or not (map <= 1 + 1e-6).all():
        raise ValueError("the map of a blend must lie in [0, 1]")
    return photograph, np.clip(map, 0, 1)
