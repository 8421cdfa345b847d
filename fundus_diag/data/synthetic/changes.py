"""Signs that are changes of a healthy part: of the disc, the vessels, the lens.

Each function draws settings that `eye.draw_eye` hands to the anatomy or to the camera. It
draws the same random numbers with and without the disease, so only what the disease changes moves.
"""

import numpy as np

from fundus_diag.data.synthetic.canvas import spots


def disc_signs(labels, patient, eye, rng):
    """Settings of the disc: {"axes", "cup_ratio", "cup_shift", "notch", "pallor"}.

    G widens the cup and breaks through the lower rim; M tilts the disc, which narrows it.
    """
    shift = rng.uniform(-0.06, 0.06, 2)
    wide, notch, tilt = rng.uniform(0.72, 0.86), rng.uniform(0, 1), rng.uniform(0.68, 0.82)
    glaucoma = "G" in labels
    return {
        "axes": (eye.disc_axes[0] * (tilt if "M" in labels else 1), eye.disc_axes[1]),
        "cup_ratio": wide if glaucoma else patient.cup_ratio,
        "cup_shift": tuple(shift * (1.5 - wide if glaucoma else 1)),
        "notch": notch if glaucoma and notch > 0.4 else 0.0,
        "pallor": 0.35 if glaucoma else 0.0,
    }


def vessel_signs(labels, rng):
    """Settings of the vessels: {"artery_width", "tortuosity", "shine" of the arteries}.

    H: narrow, winding arteries with a reflex like copper wire.
    """
    narrow, bend, wire = rng.uniform(0.5, 0.65), rng.uniform(1.1, 1.6), rng.uniform(0.6, 0.9)
    if "H" not in labels:
        return {"artery_width": 1.0, "tortuosity": 1.0, "shine": 0.12}
    return {"artery_width": narrow, "tortuosity": bend, "shine": wire}


def crossings(trunks, frame, rng):
    """Coverage of the places where a main artery crosses a main vein: arteriovenous nicking."""
    places = []
    for artery in trunks[:4]:
        for vein in trunks[4:]:
            gap = np.linalg.norm(artery[6:, None] - vein[None, 6:], axis=-1)
            if gap.min() < 0.02:
                places.append(vein[6 + np.unravel_index(gap.argmin(), gap.shape)[1]])
    if not places:
        return np.zeros((frame.size, frame.size), np.float32)
    return spots(frame, rng, np.array(places), np.full(len(places), 0.03))


def lens_signs(rng):
    """Settings of a cataract: {"veil" share of scattered light, "blur" in radii, "yellow"}."""
    return {
        "veil": rng.uniform(0.5, 0.74),
        "blur": rng.uniform(0.014, 0.03),
        "yellow": rng.uniform(0.0, 0.12),
    }
