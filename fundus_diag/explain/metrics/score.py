"""All figures of one map against the mask of a lesion."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fundus_diag.explain.metrics import localization
from fundus_diag.explain.metrics.deletion import deletion_insertion
from fundus_diag.explain.output import laid_back

FIGURES = (
    "pointing", "energy", "overlap", "overlap_as_planned", "iou_best", "iou",
    "deletion", "insertion",
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What the maps of one label in one photograph are scored against.

    Attributes:
        picture: (S, S, 3), the square that the network saw.
        baseline: (S, S, 3), what stands for deleted pixels.
        box: (4,) of the square in the photograph; see `preprocess`.
        mask: (H, W) bool over the photograph.
        near: (H, W) bool, where a peak hits; see `localization.within`.
        predict: pictures (n, S, S, 3) to probabilities (n,) of the label.
        probability: of the photograph as it is.
        where: {column: text} of the photograph and the label, for tables.
    """

    picture: np.ndarray
    baseline: np.ndarray
    box: np.ndarray
    mask: np.ndarray
    near: np.ndarray
    predict: Callable
    probability: float
    where: dict


def score(map, target, level, steps):
    """All figures of one map.

    Args:
        map: (h, w) in [0, 1] over the square picture.
        target: `Target`.
        level: of the map, for the IoU.
        steps: of deletion and insertion.

    Returns:
        ({figure: value} of `FIGURES` and "zero"; curves of `deletion_insertion`).
    """
    mask = target.mask
    wide = np.clip(laid_back(map, target.box, mask.shape), 0, 1)
    curve = deletion_insertion(target.picture, map, target.predict, steps, target.baseline)
    figures = {
        "pointing": localization.pointing_game(wide, target.near),
        "energy": localization.energy_inside(wide, mask),
        "overlap": localization.overlap(wide, mask),
        "overlap_as_planned": localization.overlap_as_planned(wide, mask),
        "iou_best": localization.best_iou(wide, mask)[0],
        "iou": localization.iou(wide, mask, level),
        "deletion": curve["deletion_area"],
        "insertion": curve["insertion_area"],
        "zero": int(not wide.any()),
    }
    return figures, curve
