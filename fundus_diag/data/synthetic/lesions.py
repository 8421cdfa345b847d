"""The signs of the seven diseases as marks: where, in what colour, below or above the vessels.

Signs that change the disc, the vessels or the lens stand in `changes`. Each disease has
its own random stream, so adding one leaves the lesions of the others where they are.
"""

from dataclasses import dataclass

import numpy as np

from fundus_diag.data.synthetic.anatomy import choroid, distance
from fundus_diag.data.synthetic.canvas import cloud_noise, fill, soften, spots, strokes

BLOOD = (0.40, 0.05, 0.05)
FRESH_BLOOD = (0.52, 0.06, 0.06)
EXUDATE = (1.0, 0.90, 0.45)
WHITE = (0.97, 0.93, 0.82)
_BENDS = np.stack([np.linspace(0, 1, 8), np.sin(np.linspace(0, 6, 8))])  # shapes of a fold


@dataclass(frozen=True)
class Mark:
    """One kind of lesion in one eye.

    Attributes:
        sign: its name, also that of its mask.
        coverage: (size, size) in [0, 1].
        colour: (3,) or (size, size, 3) light; with `absorbs`, the share of light that is left.
        deep: drawn below the vessels, not above.
        absorbs: dims what lies below in place of covering it.
        edge: coverage from which a pixel belongs to the mask. About a half gives a spot its true
            area in a picture of any size; a veil that is thin all over needs less.
    """

    sign: str
    coverage: np.ndarray
    colour: object
    deep: bool = False
    absorbs: bool = False
    edge: float = 0.4


def diabetic_marks(frame, eye, trunks, rng, mild):
    """D: dark dots and yellow specks; unless `mild`, also blots, plaques and cotton wool.

    A mild eye's lesions together cover less than 1 % of the field, another's more than 1 %.
    """
    del trunks
    marks = []
    n = rng.integers(9, 14)
    dots = _scatter(frame, eye, rng, n, 0.34)
    marks.append(
        Mark("microaneurysm", spots(frame, rng, dots, rng.uniform(0.0155, 0.02, n), 0.1), BLOOD)
    )
    n = rng.integers(4, 9) if mild else rng.integers(25, 50)
    nests = _scatter(frame, eye, rng, 1 if mild else 3, 0.3)
    specks = nests[rng.integers(0, len(nests), n)] + rng.normal(0, 0.05 if mild else 0.08, (n, 2))
    specks = specks[frame.inside(specks)]
    sizes = rng.uniform(0.009, 0.014 if mild else 0.024, len(specks))
    marks.append(Mark("hard_exudate", spots(frame, rng, specks, sizes, 0.25), EXUDATE))
    if mild:
        return marks
    n = rng.integers(7, 13)
    blots = _scatter(frame, eye, rng, n, 0.4)
    sizes = rng.uniform(0.036, 0.06, n)
    marks.append(Mark("haemorrhage", spots(frame, rng, blots, sizes, 0.3, 1.2), BLOOD))
    n = rng.integers(2, 5)
    wool = _scatter(frame, eye, rng, n, 0.35)
    shape = spots(frame, rng, wool, rng.uniform(0.035, 0.055, n), 0.3, 1.5, rng.uniform(0, 3, n))
    marks.append(Mark("cotton_wool", 0.85 * soften(shape, frame, 0.012), WHITE, edge=0.2))
    return marks


def macular_marks(frame, eye, trunks, rng, mild):
    """A: soft drusen around the fovea; in half of the eyes atrophy or a bleeding membrane too."""
    del trunks, mild
    marks, fovea = [], np.array(eye.fovea)
    n = rng.integers(45, 90)
    away = 0.05 + 0.30 * np.sqrt(rng.uniform(0, 1, n))
    turn = rng.uniform(0, 2 * np.pi, n)
    places = fovea + away[:, None] * np.stack([np.cos(turn), 0.8 * np.sin(turn)], axis=-1)
    drusen = spots(frame, rng, places, rng.gamma(6, 0.0032, n).clip(0.01, 0.034), 0.15)
    marks.append(
        Mark(
            "drusen", 0.75 * soften(drusen, frame, 0.007), (0.97, 0.81, 0.54), deep=True, edge=0.25
        )
    )
    kind = rng.uniform()
    if kind < 0.28:
        patch = spots(frame, rng, fovea[None], [rng.uniform(0.13, 0.2)], 0.3, 1.15)
        net = choroid(frame, eye, rng)[..., None]
        colour = np.array((0.95, 0.74, 0.50)) * (1 + 0.12 * net)
        marks.append(Mark("geographic_atrophy", 0.85 * patch, colour, deep=True))
    elif kind < 0.52:
        reach = rng.uniform(0.09, 0.13)
        blood = spots(frame, rng, fovea[None], [reach * 1.7], 0.35, 1.3)
        marks.append(Mark("macular_haemorrhage", blood, BLOOD))
        membrane = spots(frame, rng, fovea[None], [reach], 0.25, 1.2)
        grey = (0.66, 0.62, 0.42)
        marks.append(Mark("neovascular_membrane", 0.9 * soften(membrane, frame, 0.015), grey))
    return marks


def hypertensive_marks(frame, eye, trunks, rng, mild):
    """H: flame-shaped haemorrhages along the nerve fibres around the disc."""
    del trunks, mild
    n = rng.integers(5, 10)
    turn = rng.uniform(0, 2 * np.pi, n)
    out = rng.uniform(1.5, 3.4, n) * eye.disc_axes[1]
    places = eye.disc + out[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    seen = frame.inside(places)
    flames = _flames(frame, rng, places[seen], turn[seen], rng.uniform(0.024, 0.036, seen.sum()))
    return [Mark("flame_haemorrhage", flames, FRESH_BLOOD)]


def myopic_marks(frame, eye, trunks, rng, mild):
    """M: the choroid shows through, a pale crescent on the disc's temporal side, patchy atrophy."""
    del trunks, mild
    net = choroid(frame, eye, rng)
    net = net - net.mean()  # changes the texture, not the brightness
    strength = rng.uniform(0.30, 0.42)
    left = 1 + strength * net[..., None] * np.array((0.8, 1.15, 1.1))
    marks = [Mark("tessellation", np.ones_like(net), left, deep=True, absorbs=True)]
    rx, ry = eye.disc_axes
    places = np.array(eye.disc) + [(-rng.uniform(0.45, 0.8) * rx, rng.uniform(-0.2, 0.2) * ry)]
    crescent = spots(frame, rng, places, [rng.uniform(1.3, 1.6) * rx], 0.12, 0.85)
    marks.append(Mark("peripapillary_crescent", 0.85 * crescent, (0.99, 0.93, 0.76), deep=True))
    if rng.uniform() < 0.5:
        n = rng.integers(1, 4)
        places = _scatter(frame, eye, rng, n, 0.28)
        edge = spots(frame, rng, places, rng.uniform(0.06, 0.13, n), 0.35, 1.2)
        pale = 0.9 * soften(edge, frame, 0.006)
        marks.append(Mark("patchy_atrophy", pale, (0.97, 0.88, 0.68), deep=True))
    return marks


def other_marks(frame, eye, trunks, rng, mild):
    """O: laser scars, a choroidal naevus, an epiretinal membrane or a branch vein occlusion."""
    del mild
    draw = (_laser_scars, _naevus, _epiretinal_membrane, _vein_occlusion)[rng.integers(0, 4)]
    return draw(frame, eye, trunks, rng)


def glaucoma_marks(frame, eye, trunks, rng, mild):
    """G: a wedge where the nerve fibres are lost (the cup is in `disc_signs`)."""
    del trunks, mild
    marks = []
    if rng.uniform() < 0.75:
        up = rng.choice((-1, 1))
        along = np.linspace(0.05, 1.3, 24)
        gap = eye.disc[0] - eye.fovea[0]
        high, low = (eye.arcade * k for k in (rng.uniform(0.8, 0.9), rng.uniform(0.5, 0.62)))
        outer = np.stack([-along * gap, up * high * np.sqrt(along)], axis=-1)
        inner = np.stack([-along * gap, up * low * np.sqrt(along)], axis=-1)
        wedge = fill(frame, [np.concatenate([outer, inner[::-1]]) + eye.disc])
        fade = np.clip(1.6 - distance(frame, eye.disc) / gap, 0, 1)  # it loses itself outwards
        wedge = soften(wedge, frame, 0.012) * fade
        left = (0.70, 0.62, 0.62)
        marks.append(Mark("nerve_fibre_defect", wedge, left, deep=True, absorbs=True, edge=0.2))
    return marks


MARKS = {
    "D": diabetic_marks,
    "G": glaucoma_marks,
    "A": macular_marks,
    "H": hypertensive_marks,
    "M": myopic_marks,
    "O": other_marks,
}


def _laser_scars(frame, eye, trunks, rng):
    n = 110
    turn = np.arange(n) * 2.4 + rng.uniform(0, 6)  # the golden angle spreads them evenly
    out = 0.46 + 0.5 * np.sqrt(np.arange(n) / n)
    places = eye.fovea + out[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    places = places + rng.normal(0, 0.025, (n, 2))
    clear = np.linalg.norm(places - eye.disc, axis=1) > 0.26
    places = places[clear & frame.inside(places)]
    sizes = rng.uniform(0.024, 0.034, len(places))
    scars = spots(frame, rng, places, sizes, 0.2)
    core = spots(frame, rng, places, sizes * 0.45, 0.3)
    pigment = np.array((0.26, 0.17, 0.13))
    colour = WHITE + soften(core, frame, 0.004)[..., None] * (pigment - WHITE)
    return [Mark("laser_scar", 0.8 * scars, colour, deep=True)]


def _naevus(frame, eye, trunks, rng):
    place = _scatter(frame, eye, rng, 1, 0.4, clear=0.34)
    spot = spots(frame, rng, place, [rng.uniform(0.11, 0.17)], 0.15, 1.2, rng.uniform(0, 3))
    mottle = 1 + 0.12 * cloud_noise(rng, frame.size, 12, 2)[..., None]
    colour = np.array((0.28, 0.25, 0.22)) * mottle
    return [Mark("choroidal_naevus", 0.8 * soften(spot, frame, 0.014), colour, deep=True, edge=0.2)]


def _epiretinal_membrane(frame, eye, trunks, rng):
    centre = np.array(eye.fovea) + rng.normal(0, 0.04, 2)
    patch = spots(frame, rng, centre[None], [rng.uniform(0.24, 0.3)], 0.16)
    n = 26
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False) + rng.normal(0, 0.16, n)
    reach = np.linspace(0.06, 0.36, 8)
    angles = turn[:, None] + rng.normal(0, 0.35, (n, 2)) @ _BENDS
    folds = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    folds = strokes(frame, list(folds), [(0.014, 0.006)] * n)
    shine = 1 + 0.25 * cloud_noise(rng, frame.size, 8, 3)
    sheen = soften(patch, frame, 0.02) * np.clip(0.36 * shine, 0.24, 0.55)
    sheen = np.maximum(sheen, 0.6 * folds * soften(patch, frame, 0.02))
    return [Mark("epiretinal_membrane", sheen, (0.90, 0.90, 0.84), edge=0.12)]


def _vein_occlusion(frame, eye, trunks, rng):
    vein = trunks[4 + rng.integers(0, 2)]  # one of the two veins on the temple's side
    n = 90
    at = rng.integers(8, 32, n)
    out = np.linalg.norm(vein[at] - eye.disc, axis=1)
    places = vein[at] + rng.normal(0, 1, (n, 2)) * (0.03 + 0.16 * out[:, None])
    places = places[frame.inside(places) & (np.linalg.norm(places - eye.disc, axis=1) > 0.16)]
    away = places - eye.disc
    heading = np.arctan2(away[:, 1], away[:, 0]) + rng.normal(0, 0.25, len(places))
    flames = _flames(frame, rng, places, heading, rng.uniform(0.014, 0.032, len(places)))
    return [Mark("vein_occlusion", 0.92 * flames, BLOOD)]


def _flames(frame, rng, places, heading, sizes):
    shape = spots(frame, rng, places, sizes, 0.35, rng.uniform(3.0, 5.0, len(places)), heading)
    streak = 1 + 0.1 * cloud_noise(rng, frame.size, 24, 2)
    return np.clip(shape * streak, 0, 1)


def _scatter(frame, eye, rng, count, spread, clear=0.2):
    """(count, 2) places around the posterior pole, seen by the camera and `clear` of the disc."""
    pole = 0.35 * np.array(eye.disc) + 0.65 * np.array(eye.fovea)
    found = np.empty((0, 2))
    while len(found) < count:
        places = pole + rng.normal(0, spread, (4 * count, 2))
        away = np.linalg.norm(places - eye.disc, axis=1) > clear
        found = np.concatenate([found, places[away & frame.inside(places, 0.08)]])
    return found[:count]
