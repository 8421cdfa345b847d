"""The healthy fundus: pigment, choroid, macula, optic disc and the two vascular trees.

What a patient's two eyes share (pigment, style of the vessels, size of the disc) stands in
`Patient`, what differs from eye to eye in `Eye`. Proportions follow a 45 degree photograph, whose
radius is about 6.7 mm of retina: the disc is 1.8 mm wide, and the fovea lies a little more than two
disc widths from its centre, on the temple's side.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fundus_diag.data.synthetic.canvas import (
    absorb,
    cloud_noise,
    paint,
    smooth_noise,
    soften,
    spots,
    strokes,
)

ARTERY = (0.86, 0.50, 0.46)  # share of red, green and blue light that passes the vessel
VEIN = (0.68, 0.34, 0.36)


@dataclass(frozen=True)
class Patient:
    """What both eyes share. All are plain numbers, drawn by `draw_patient`."""

    pigment: float  # 0 blond to 1 dark
    redness: float  # shifts the fundus colour between yellow (-1) and red (+1)
    choroid: float  # how far the choroid's vessels shine through, 0 to .12
    sheen: float  # reflex of the nerve fibres
    disc_radius: float
    cup_ratio: float  # diameter of the cup over that of the disc
    vessel_width: float
    tortuosity: float


@dataclass(frozen=True)
class Eye:
    """Places in one eye, in radii of the field (see `canvas`)."""

    disc: tuple[float, float]
    disc_axes: tuple[float, float]  # horizontal, vertical radius
    fovea: tuple[float, float]
    arcade: float  # height of the vascular arcades above and below the fovea


def draw_patient(rng):
    """Draws the `Patient`; nothing in it depends on a disease."""
    return Patient(
        pigment=rng.uniform(0, 1),
        redness=rng.uniform(-1, 1),
        choroid=rng.uniform(0, 0.12),
        sheen=rng.uniform(0.02, 0.08),
        disc_radius=rng.uniform(0.125, 0.15),
        cup_ratio=rng.uniform(0.25, 0.48),
        vessel_width=rng.uniform(0.85, 1.2),
        tortuosity=rng.uniform(0.6, 1.3),
    )


def draw_places(rng, patient):
    """Draws the `Eye`: where the patient looked decides where disc and fovea lie."""
    disc = np.array((rng.uniform(0.34, 0.62), rng.uniform(-0.14, 0.14)))
    fovea = disc + (-rng.uniform(0.52, 0.62), rng.uniform(0.03, 0.1))
    radius = patient.disc_radius * rng.uniform(0.95, 1.05)
    return Eye(
        disc=tuple(disc.tolist()),
        disc_axes=(radius * rng.uniform(0.88, 0.98), radius),
        fovea=tuple(fovea.tolist()),
        arcade=rng.uniform(0.4, 0.52),
    )


def background(frame, patient, eye, rng):
    """The pigmented retina without disc and vessels: float32 (size, size, 3), light in [0, 1]."""
    blond, dark = np.array((0.79, 0.52, 0.35)), np.array((0.52, 0.28, 0.16))
    colour = blond + patient.pigment * (dark - blond)
    colour = colour * (1 + patient.redness * np.array((0.04, -0.12, -0.10)))
    mottle = 0.035 * cloud_noise(rng, frame.size) + 0.008 * smooth_noise(rng, frame.size, 60)
    light = (1 + mottle) * (1 + patient.choroid * choroid(frame, eye, rng))
    light = light * (1 + nerve_fibres(frame, patient, eye, rng))
    scene = light.astype(np.float32)[..., None] * colour.astype(np.float32)
    from_fovea = distance(frame, eye.fovea)
    pit = np.exp(-((from_fovea / 0.17) ** 2)) * rng.uniform(0.75, 1.1)
    scene = absorb(scene, pit, (0.66, 0.54, 0.48))
    reflex = np.exp(-((from_fovea / 0.018) ** 2)) * rng.uniform(0, 0.5)
    return paint(scene, reflex, (0.95, 0.8, 0.55))


def choroid(frame, eye, rng):
    """Net of choroidal vessels in [-1, 1]: bright bands that run outwards, dark spaces between.

    The bands are the zero lines of a noise that is much longer along the radius than across it.
    """
    pole = np.array(eye.disc) * 0.55 + np.array(eye.fovea) * 0.45
    x, y = frame.grid()
    x, y = x - pole[0], y - pole[1]
    x = x + 0.05 * smooth_noise(rng, frame.size, 8)
    y = y + 0.05 * smooth_noise(rng, frame.size, 8)
    rings, spokes = 7, 52
    table = rng.standard_normal((rings, spokes)).astype(np.float32)
    table = np.concatenate([table, table[:, :6]], axis=1)  # the angle wraps around
    table = cv2.resize(table, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    turn = (np.arctan2(y, x) * (spokes / (2 * np.pi)) + spokes / 2 + 2) * 4
    out = np.clip(np.hypot(x, y) * (rings - 2) / 1.6, 0, rings - 1.5) * 4
    hills = cv2.remap(table, turn.astype(np.float32), out.astype(np.float32), cv2.INTER_LINEAR)
    bands = 2 * np.exp(-((hills / 0.5) ** 2)) - 1
    bands = bands * (1 + 0.3 * smooth_noise(rng, frame.size, 6)) - 0.25 * np.clip(hills, -1, 1)
    return np.clip(bands, -1, 1) * (1 - 0.9 * np.exp(-(x**2 + y**2) / 0.06))


def nerve_fibres(frame, patient, eye, rng):
    """Relative brightening by the fibre bundles that arch from the disc, >= 0, (size, size)."""
    x, y = frame.grid()
    x, y = x - eye.disc[0], y - eye.disc[1]
    away = np.hypot(x, y)
    upright = np.abs(y) / (away + 0.05)
    bundle = np.exp(-((away - 0.22) ** 2) / 0.03) * upright**1.5 * (x < 0.25)
    grain = 1 + 0.25 * smooth_noise(rng, frame.size, 40)
    return (patient.sheen * 2 * bundle * grain).astype(np.float32)


def distance(frame, place):
    """Distance of every pixel from `place` in radii, float32 (size, size)."""
    x, y = frame.grid()
    return np.hypot(x - place[0], y - place[1])


def optic_disc(frame, eye, cup_ratio, cup_shift, rng, notch=0.0):
    """Coverage of the disc and of its cup, each (size, size).

    Args:
        frame: the picture's `Frame`.
        eye: the `Eye`.
        cup_ratio: diameter of the cup over that of the disc.
        cup_shift: (x, y) of the cup from the disc's centre, in disc radii.
        rng: source of the outline's irregularity.
        notch: how far the cup breaks through the lower rim, 0 to 1.
    """
    rx, ry = eye.disc_axes
    centre = np.array([eye.disc])
    disc = spots(frame, rng, centre, [np.sqrt(rx * ry)], 0.06, rx / ry)
    middle = centre + np.array(cup_shift) * (rx, ry)
    reach = [cup_ratio * np.sqrt(rx * ry)]
    cup = spots(frame, rng, middle, reach, 0.08, rx / ry)
    if notch > 0:
        corner = centre + np.array([[-0.25 * rx, (0.55 + 0.2 * notch) * ry]])
        cup = np.maximum(cup, spots(frame, rng, corner, [0.34 * ry], 0.1, 0.8))
    return soften(disc, frame, 0.008), soften(np.minimum(cup, disc), frame, 0.007)


def paint_disc(scene, disc, cup, pallor=0.0):
    """Paints rim and cup; `pallor` in [0, 1] takes the colour out of the rim."""
    rim = np.array((0.95, 0.62, 0.38)) * (1 - pallor) + np.array((0.95, 0.80, 0.58)) * pallor
    scene = paint(scene, disc * 0.9, rim)
    return paint(scene, cup * 0.92, (1.0, 0.93, 0.76))


def vessels(frame, patient, eye, rng, tortuosity=1.0, artery_width=1.0):
    """The two trees from one source, so that each argument changes only what it names.

    Returns:
        dict of coverage maps (size, size): "artery", "vein" and "reflex" (the bright line on an
        artery), with "shine", its strength, and "paths": the four main arteries and the four main
        veins, (8, n, 2).
    """
    bend = patient.tortuosity * tortuosity
    trunks = _trunks(eye, rng, bend)  # (8, n, 2): arteries first
    branches, owner, share = _branch(trunks, rng, 5, (0.25, 0.6), bend)
    twigs, parent, finer = _branch(branches, rng, 3, (0.12, 0.3), bend)
    clear = 1 - np.exp(-((distance(frame, eye.fovea) / 0.13) ** 4))  # no vessel at the fovea
    maps = {"paths": trunks, "shine": 0.12}
    for name, mine, width in (
        ("artery", range(4), 0.019 * artery_width),
        ("vein", range(4, 8), 0.026),
    ):
        width = width * patient.vessel_width
        of_branch = np.isin(owner, mine)
        of_twig = of_branch[parent]
        thick = width * 0.55 * (1 - 0.5 * share)
        thin = thick[parent] * 0.5 * (1 - 0.4 * finer)
        sizes = [(width, width * 0.3)] * len(mine)
        sizes += [(w, 0.5 * w) for w in thick[of_branch]] + [(w, 0.6 * w) for w in thin[of_twig]]
        paths = [*trunks[list(mine)], *branches[of_branch], *twigs[of_twig]]
        maps[name] = strokes(frame, paths, sizes) * clear
        if name == "artery":
            line = [(0.4 * a, 0.4 * b) for a, b in sizes[: 4 + of_branch.sum()]]
            maps["reflex"] = strokes(frame, paths[: len(line)], line) * clear
    return maps


def paint_vessels(scene, maps):
    """Paints the maps of `vessels`: veins, arteries over them, the arteries' reflex."""
    scene = absorb(scene, maps["vein"] * 0.82, VEIN)
    scene = absorb(scene, maps["artery"] * 0.82, ARTERY)
    return paint(scene, maps["reflex"] * maps["shine"], (0.95, 0.62, 0.42))


def _trunks(eye, rng, bend, points=40):
    """Four arteries, four veins: up and down around the macula, up and down towards the nose."""
    t = np.linspace(0, 1, points)
    paths = []
    for name in ("artery", "vein"):
        for up in (-1, 1):
            gap = eye.disc[0] - eye.fovea[0]
            along = 2.5 * gap * t**1.7
            height = eye.arcade * rng.uniform(0.85, 1.0) * (1.0 if name == "artery" else 1.12)
            rise = up * height * np.minimum(along / gap, 1.0 + 0.35 * t) ** rng.uniform(0.36, 0.46)
            wave = _wiggle(rng, t, bend)
            paths.append(np.stack([-along + 0.6 * wave, rise + wave], axis=-1))
        for up in (-1, 1):
            turn = up * rng.uniform(0.6, 1.15)
            reach = 1.1 * t
            heading = turn * (1 - 0.25 * t)
            wave = _wiggle(rng, t, bend)
            step = np.stack([np.cos(heading), np.sin(heading)], axis=-1) * reach[:, None]
            paths.append(step + wave[:, None] * (-np.sin(turn), np.cos(turn)))
    start = np.array(eye.disc) + (0.15 * eye.disc_axes[0], 0)
    return np.stack(paths) + start


def _wiggle(rng, t, bend):
    """A sideways swing along a path, 0 at its start."""
    waves = np.array((4.0, 9.0, 15.0, 24.0))[:, None]
    size = np.array((0.022, 0.013, 0.007, 0.0045))[:, None] * rng.normal(0, 1, (4, 1))
    return bend * (size * np.sin(waves * t + rng.uniform(0, 6.28, (4, 1)))).sum(0) * np.sqrt(t)


def _branch(paths, rng, count, length, bend, points=16):
    """Lets `count` branches grow from each of the (m, n, 2) paths.

    Returns:
        branches (m * count, points, 2), the index of each one's parent, and how far along the
        parent it leaves, in [0, 1].
    """
    m, n, _ = paths.shape
    share = np.sort(rng.uniform(0.22, 0.95, (m, count)), axis=1).ravel()
    parent = np.repeat(np.arange(m), count)
    at = (share * (n - 2)).astype(int)
    start = paths[parent, at]
    along = paths[parent, at + 1] - start
    side = np.tile(np.where(np.arange(count) % 2, 1.0, -1.0), m)
    heading = np.arctan2(along[:, 1], along[:, 0]) + side * rng.uniform(0.45, 1.0, m * count)
    reach = rng.uniform(*length, m * count)
    t = np.linspace(0, 1, points - 1)
    size, phase = rng.normal(0, (0.35, 0.22), (m * count, 2)), rng.uniform(0, 6.28, (m * count, 2))
    swing = np.sin(np.array((5.0, 11.0)) * t[:, None] + phase[:, None])
    drift = bend * (swing * size[:, None]).sum(-1)
    drift = drift - drift[:, :1] - side[:, None] * 0.5 * t  # bends back along its parent
    step = (reach / points)[:, None, None]
    turn = heading[:, None] + drift
    move = np.stack([np.cos(turn), np.sin(turn)], axis=-1) * step
    grown = np.concatenate([np.zeros((m * count, 1, 2)), np.cumsum(move, axis=1)], axis=1)
    return start[:, None] + grown, parent, share
