"""One drawn photograph: a normal eye, the signs of its diseases, the camera, and the masks."""

import zlib
from dataclasses import replace

import cv2
import numpy as np

from fundus_diag.data.labels import EYES, HEALTHY, LABELS
from fundus_diag.data.synthetic import anatomy, changes, lesions
from fundus_diag.data.synthetic import camera as optics
from fundus_diag.data.synthetic.canvas import absorb, field_of_view, paint

SIGNS = {
    "D": ("microaneurysm", "haemorrhage", "hard_exudate", "cotton_wool"),
    "G": ("cup", "nerve_fibre_defect"),
    "C": ("haze",),
    "A": ("drusen", "geographic_atrophy", "macular_haemorrhage", "neovascular_membrane"),
    "H": ("artery", "tortuous_vein", "av_nicking", "flame_haemorrhage"),
    "M": ("tessellation", "peripapillary_crescent", "tilted_disc", "patchy_atrophy"),
    "O": ("laser_scar", "choroidal_naevus", "epiretinal_membrane", "vein_occlusion"),
}
DISEASES = tuple(SIGNS)
# Over the whole field, with no place to point at: the haze of a cataract, the tessellation.
# What every eye has, sick or not. The macula is the disc of one disc diameter about the fovea.
ANATOMY = ("disc", "cup", "macula", "vessels")
NOWHERE = ("tessellation", "haze")
PLACED = {label: tuple(x for x in signs if x not in NOWHERE) for label, signs in SIGNS.items()}
MIN_SIZE = 32  # pixels
_VISIBLE = 0.2  # change of a vessel's or the disc's coverage that belongs to a mask


def draw_eye(seed, labels, eye, size=256, mild=False, quality=None, outlines=None):
    """Draws one photograph.

    Args:
        seed: int or sequence of ints, names the patient: both eyes of a patient take the same.
        labels: diseases to show, from `DISEASES`; empty, or {"N"}, for a normal eye.
        eye: "left" or "right". The disc lies on the nose's side: right in a right eye.
        size: width and height, pixels.
        mild: D shows only lesions that together cover less than 1 % of the field.
        quality: JPEG quality the picture has gone through, 1 to 100; None for the camera's own,
            0 for no compression.
        outlines: a dict that is given bool (size, size) masks of `ANATOMY` too; None is none.

    Returns:
        picture uint8 (size, size, 3), RGB, and a dict from the names in `SIGNS` to bool
        (size, size) masks: where the picture differs because of that sign.

    Raises:
        ValueError: on an unknown label or eye, on N beside a disease, or a size below `MIN_SIZE`.
    """
    labels = _checked(labels, eye, size)
    seed = tuple(np.atleast_1d(seed).tolist())
    patient = anatomy.draw_patient(stream(seed, "patient"))
    camera = optics.draw_camera(stream(seed, "camera"))

    def source(name):
        return stream(seed, f"{eye}/{name}")

    frame = optics.frame_eye(camera, 1 if eye == "right" else -1, size, source("frame"))
    places = anatomy.draw_places(source("places"), patient)
    field = field_of_view(frame) > 0.5
    masks = {}
    maps, trunks = _vessels(frame, patient, places, labels, source, masks)
    marks = _marks(frame, places, trunks, labels, source, mild)
    masks |= {mark.sign: mark.coverage > mark.edge for mark in marks}

    scene = anatomy.background(frame, patient, places, source("background"))
    scene = _apply(scene, [mark for mark in marks if mark.deep])
    scene, disc, cup = _disc(scene, frame, patient, places, labels, source, masks)
    if outlines is not None:
        outlines |= _outlines(frame, places, maps, disc, cup, field)
    scene = anatomy.paint_vessels(scene, maps)
    scene = _apply(scene, [mark for mark in marks if not mark.deep])
    if "C" in labels:
        lens = changes.lens_signs(source("C"))
        scene = optics.cloud_lens(scene, frame, lens, source("veil"))
        masks["haze"] = field
    picture = optics.photograph(scene, frame, camera, source("photograph"))
    quality = camera.quality if quality is None else quality
    if quality:
        data = np.frombuffer(optics.compress(picture, quality), np.uint8)
        picture = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    masks = {sign: mask & field for sign, mask in masks.items()}
    return picture, {sign: mask for sign, mask in masks.items() if mask.any()}


def stream(seed, name):
    """Random numbers of their own for each purpose: what one draws does not shift another's."""
    return np.random.default_rng([*seed, zlib.crc32(name.encode())])


def _checked(labels, eye, size):
    labels = set(labels)
    if unknown := labels - set(LABELS):
        raise ValueError(f"unknown labels {sorted(unknown)}; known are {', '.join(LABELS)}")
    if HEALTHY in labels and len(labels) > 1:
        raise ValueError(f"{HEALTHY} is the absence of the others; got {sorted(labels)}")
    if eye not in EYES:
        raise ValueError(f"eye must be 'left' or 'right', got {eye!r}")
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} pixels, got {size}")
    return labels - {HEALTHY}


def _vessels(frame, patient, places, labels, source, masks):
    """Vessel maps with the settings of H, and the main vessels' paths without them.

    Notes in `masks` what H changed. Lesions along a vessel follow the paths without H, so that they
    lie in the same places with it.
    """
    plan = changes.vessel_signs(labels, source("H/vessels"))
    usual = anatomy.vessels(frame, patient, places, source("vessels"))
    if "H" not in labels:
        return usual, usual["paths"]
    bend, width = plan["tortuosity"], plan["artery_width"]
    maps = anatomy.vessels(frame, patient, places, source("vessels"), bend, width)
    maps["shine"] = plan["shine"]
    change = np.abs(maps["artery"] - usual["artery"])
    masks["artery"] = np.maximum(change, maps["reflex"]) > _VISIBLE
    masks["tortuous_vein"] = np.abs(maps["vein"] - usual["vein"]) > _VISIBLE
    nick = changes.crossings(maps["paths"], frame, source("nicking"))
    masks["av_nicking"] = nick * maps["vein"] > _VISIBLE
    maps["vein"] = maps["vein"] * (1 - 0.9 * nick)
    return maps, usual["paths"]


def _marks(frame, places, trunks, labels, source, mild):
    marks = []
    for label, make in lesions.MARKS.items():
        if label in labels:
            marks += make(frame, places, trunks, source(label), mild)
    return marks


def _disc(scene, frame, patient, places, labels, source, masks):
    """Paints the disc with the settings of G and M; notes in `masks` what they changed.

    Returns the scene, and the coverage of disc and cup.
    """
    plan = changes.disc_signs(labels, patient, places, source("disc/signs"))
    tilted = replace(places, disc_axes=plan["axes"])
    shape = (plan["cup_ratio"], plan["cup_shift"], source("disc"), plan["notch"])
    disc, cup = anatomy.optic_disc(frame, tilted, *shape)
    if "G" in labels:
        masks["cup"] = cup > 0.5
    if "M" in labels:
        upright, _ = anatomy.optic_disc(frame, places, *shape[:2], source("disc"), plan["notch"])
        masks["tilted_disc"] = np.abs(disc - upright) > _VISIBLE
    return anatomy.paint_disc(scene, disc, cup, plan["pallor"]), disc, cup


def _outlines(frame, places, maps, disc, cup, field):
    """Masks of `ANATOMY` inside the field of view."""
    vessels = np.maximum(maps["artery"], maps["vein"])
    macula = anatomy.distance(frame, places.fovea) < 2 * np.sqrt(np.prod(places.disc_axes))
    found = (disc > 0.5, cup > 0.5, macula, vessels > 0.4)
    return {name: mask & field for name, mask in zip(ANATOMY, found, strict=True)}


def _apply(scene, marks):
    for mark in marks:
        lay = absorb if mark.absorbs else paint
        scene = lay(scene, mark.coverage, mark.colour)
    return scene
