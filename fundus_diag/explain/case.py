"""All that is measured of one person's photographs: labels, segments, findings, and how they meet.

Everything is a number with where it comes from; words are made of it elsewhere, and pictures too.
Lengths are in disc diameters where a disc was found: photographs have no scale.
"""

import math

import numpy as np
from scipy import ndimage

from fundus_diag.data.outlined import DISC
from fundus_diag.explain import regions
from fundus_diag.explain.association import associations, cover
from fundus_diag.explain.explain import explain_batch
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.laying import over_photograph
from fundus_diag.explain.output import shrunk
from fundus_diag.imaging.inside import field_on_photograph
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.utils.files import plain

REGION = np.ones((3, 3), bool)  # pixels that touch by a corner are one region
LEAST = 4  # pixels of a region that is counted: less is noise of the threshold
NEAR = 1.0  # disc diameters from the macula's middle: what lies nearer threatens sight
# Of the field of view a disc has a diameter of .154, with a deviation of .013 (see `regions`): what
# is half as wide, or twice, is none to measure by.
USUAL, DIAMETER = 0.154, (0.077, 0.308)
# From the middle of the disc to that of the macula, down and right in a right eye, in disc
# diameters: as both lie on the average of photographs.
TO_MACULA = [(regions.MACULA[k] - regions.DISC[k]) / USUAL for k in (0, 1)]


def segments_of(segmenter, path, eye=""):
    """What a segmenter outlines in one photograph, measured.

    Args:
        segmenter: `segmenter.Segmenter`.
        path: of the photograph.
        eye: "left", "right", or "" where nobody knows: then the macula's place is not.

    Returns:
        (facts, masks {class: (H, W) bool}, `preprocess.Loaded`). Masks have no region of fewer than
        `LEAST` pixels. Facts: "disc" {"middle" y and x in px, "diameter" px} or None, also where
        what is called one is too small or too large for it; "macula" {"middle", "how": "segmented",
        "by the disc", "outside" (by the disc it would lie out of the field of view) or "assumed"}
        or None; "classes" {class: {"threshold", "regions", "area" px, "share_of_field",
        "disc_areas", "nearest", "near"}}: the last two are the distance of the nearest region from
        the macula's middle in disc diameters, and how many lie within `NEAR`; None where disc or
        macula are not known.
    """
    config = segmenter.config
    loaded = load_photograph(path, config["image_size"], config["crop"])
    field = field_on_photograph(loaded.field, *loaded.photograph.shape[:2]).numpy()
    said = segmenter.on_photograph(loaded) * field[..., None]
    called = segmenter.call(said)
    masks = {name: _regions(called[..., k]) for k, name in enumerate(segmenter.classes)}
    wide = 2 * math.sqrt(max(1, int(field.sum())) / math.pi)
    disc = _largest(next((masks[x] for x in DISC if x in masks), None))
    if disc and not DIAMETER[0] <= disc["diameter"] / wide <= DIAMETER[1]:
        disc = None
    macula = _macula(masks.get("macula"), disc, loaded, eye)
    if macula and macula["how"] == "by the disc" and not _inside(macula["middle"], field):
        macula["how"] = "outside"  # another part of the eye, or the other eye than the name says
    place = macula if macula and macula["how"] != "outside" else None
    classes = {
        name: _measured(mask, field, disc, place, float(segmenter.thresholds[k]))
        for k, (name, mask) in enumerate(masks.items())
    }
    return {"disc": disc, "macula": macula, "classes": classes}, masks, loaded


def maps_of(run, case, loaded, settings):
    """Maps of all labels of a run over the photographs of one case.

    Args:
        run: `run.Run`.
        case: `cases.Case`.
        loaded: {eye: `preprocess.Loaded`} of it, at the run's size.
        settings: `Settings`; its first method makes them.

    Returns:
        {eye: {label: (h, w) float32 on the copy of the photograph that `output.shrunk` makes}}.
    """
    layers = layers_of(run.model, settings)
    method, every = next(iter(layers)), list(range(len(run.labels)))
    (made,) = explain_batch(run, [(case, loaded)], layers, settings, [every], together=True)
    grid, found = made["grids"][method], {}
    for eye, seen in loaded.items():
        _, box, inside = shrunk(seen)
        found[eye] = {
            label: over_photograph(made["fused"][method][eye][k], grid, box, inside)
            for k, label in enumerate(run.labels)
        }
    return found


def association_rows(maps, masks, loaded, level=0.5):
    """Rows of `association.associations`, dicts, of one photograph.

    Args:
        maps: of `maps_of`, of its eye.
        masks: {class: (H, W) bool} on the photograph's own pixels.
        loaded: `preprocess.Loaded`.
        level: see `association.associations`.
    """
    photo, _, inside = shrunk(loaded)
    covers = {name: cover(mask, photo.shape[:2]) for name, mask in masks.items()}
    rows = associations(maps, covers, inside, level).to_dict("records")
    return plain(rows)


def _regions(mask):
    """A mask without the regions of fewer than `LEAST` pixels."""
    labelled, _ = ndimage.label(mask, REGION)
    sizes = np.bincount(labelled.ravel())
    sizes[0] = 0  # all that is none
    return (sizes >= LEAST)[labelled]


def _largest(mask):
    """Middle and diameter of the largest region, by its area; None where there is none."""
    if mask is None or not mask.any():
        return None
    labelled, _ = ndimage.label(mask, REGION)
    sizes = np.bincount(labelled.ravel())[1:]
    largest = labelled == 1 + int(sizes.argmax())
    y, x = np.argwhere(largest).mean(axis=0) + 0.5
    return {"middle": [float(y), float(x)], "diameter": 2 * math.sqrt(sizes.max() / math.pi)}


def _macula(mask, disc, loaded, eye):
    found = _largest(mask)
    if found:
        return {"middle": found["middle"], "how": "segmented"}
    if eye not in ("left", "right"):
        return None
    if disc:  # a photograph may be centred on it, and then the average misleads
        down, right = (disc["diameter"] * x for x in TO_MACULA)
        y, x = disc["middle"]
        middle = [y + down, x + (right if eye == "right" else -right)]
        return {"middle": middle, "how": "by the disc"}
    y, x, _ = regions.MACULA
    x = x if eye == "right" else 1 - x
    # As `regions` has it, of the square about the field of view, whatever the picture was cut to.
    y0, x0, y1, x1 = map(float, loaded.field[:4])
    half = max(y1 - y0, x1 - x0) / 2
    y0, x0 = (y0 + y1) / 2 - half, (x0 + x1) / 2 - half
    y1, x1 = y0 + 2 * half, x0 + 2 * half
    return {"middle": [y0 + y * (y1 - y0), x0 + x * (x1 - x0)], "how": "assumed"}


def _inside(middle, field):
    y, x = (math.floor(v) for v in middle)
    return 0 <= y < field.shape[0] and 0 <= x < field.shape[1] and bool(field[y, x])


def _measured(mask, field, disc, macula, threshold):
    labelled, count = ndimage.label(mask, REGION)
    area = int(mask.sum())
    facts = {
        "threshold": threshold,
        "regions": count,
        "area": area,
        "share_of_field": area / max(1, int(field.sum())),
        "disc_areas": None,
        "nearest": None,
        "near": None,
    }
    if disc:
        facts["disc_areas"] = area / (math.pi * disc["diameter"] ** 2 / 4)
    if disc and macula:
        facts["near"] = 0
    if disc and macula and count:
        y, x = np.indices(mask.shape)
        away = np.hypot(y + 0.5 - macula["middle"][0], x + 0.5 - macula["middle"][1])
        nearest = ndimage.minimum(away, labelled, np.arange(1, count + 1)) / disc["diameter"]
        facts["nearest"] = float(nearest.min())
        facts["near"] = int((nearest <= NEAR).sum())
    return facts
