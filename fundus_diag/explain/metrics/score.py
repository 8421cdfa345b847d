"""All figures of one map against the mask of a lesion."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fundus_diag.explain.laying import highest, over_photograph, over_picture
from fundus_diag.explain.metrics import localization
from fundus_diag.explain.metrics.deletion import deletion_insertion
from fundus_diag.imaging.preprocess import to_original

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
        seen: (S, S) bool, where the picture shows the field of view.
        inside: (H, W) bool, where the photograph does.
        mask: (H, W) bool over the photograph, inside the field.
        near: (H, W) bool, where a peak hits; see `localization.within`.
        predict: pictures (n, S, S, 3) to probabilities (n,) of the label.
        probability: of the photograph as it is.
        where: {column: text} of the photograph and the label, for tables.
    """

    picture: np.ndarray
    baseline: np.ndarray
    box: np.ndarray
    seen: np.ndarray
    inside: np.ndarray
    mask: np.ndarray
    near: np.ndarray
    predict: Callable
    probability: float
    where: dict


def score(map, grid, target, level, steps):
    """All figures of one map, inside the field of view.

    Args:
        map: (h, w) in [0, 1].
        grid: where its cells stand in the picture, `geometry.Grid`.
        target: `Target`.
        level: of the map, for the IoU.
        steps: of deletion and insertion.

    Returns:
        ({figure: value} of `FIGURES` and "zero"; curves of `deletion_insertion`).
    """
    mask = target.mask
    wide = np.clip(over_photograph(map, grid, target.box, target.inside), 0, 1)
    seen = over_picture(map, grid, target.seen)
    curve = deletion_insertion(
        target.picture, seen, target.predict, steps, target.baseline, target.seen
    )
    peak = to_original(np.argwhere(highest(seen)) + 0.5, target.box, len(seen))
    figures = {
        "pointing": localization.pointing_game(peak, target.near),
        "energy": localization.energy_inside(wide, mask),
        "overlap": localization.overlap(wide, mask),
        "overlap_as_planned": localization.overlap_as_planned(wide, mask),
        "iou_best": localization.best_iou(wide, mask)[0],
        "iou": localization.iou(wide, mask, level),
        "deletion": curve["deletion_area"],
        "insertion": curve["insertion_area"],
        "zero": int(not seen.any()),
    }
    return figures, curve
