"""Where in a photograph logits come from, as one looks at it in Python."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from fundus_diag.data.labels import label_text
from fundus_diag.explain.laying import over_photograph
from fundus_diag.explain.output import shrunk
from fundus_diag.explain.overlay import blend, contour
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.plotting import STYLE


@dataclass(frozen=True, repr=False)
class Explanation:
    """Where in one photograph the logits of some labels come from.

    Attributes:
        image: what the photograph is called.
        eye: "left", "right" or "".
        method: of the maps.
        labels: K names.
        probabilities: (K,) calibrated.
        thresholds: (K,), NaN where a label has none.
        called: (K,) bool.
        photograph: (H, W, 3) uint8 RGB, at most 640 px a side.
        maps: (K, H, W) float32 in [0, 1], filtered, relative to this photograph and label; 0
            outside the field of view.
    """

    image: str
    eye: str
    method: str
    labels: tuple[str, ...]
    probabilities: np.ndarray
    thresholds: np.ndarray
    called: np.ndarray
    photograph: np.ndarray = field(compare=False)
    maps: np.ndarray = field(compare=False)

    def __repr__(self) -> str:
        said = ", ".join(
            f"{label} {p:.3f}" for label, p in zip(self.labels, self.probabilities, strict=True)
        )
        return f"<Explanation of {self.image} by {self.method}: {said}>"

    def overlay(self, label: str | None = None, level: float = 0.5, alpha: float = 0.75) -> Figure:
        """The photograph, and beside it the map of a label laid over it, with its outline.

        Args:
            label: one of `labels`; None is the first.
            level: from which on the map is outlined, above 0 up to 1.
            alpha: share of the map's colour at half its height and above, in [0, 1].

        Raises:
            UsageError: there is no map of this label, or a number is out of its range.
        """
        if label is not None and label not in self.labels:
            raise UsageError(f"label {label}: the maps are of {', '.join(self.labels)}")
        if not 0 < level <= 1 or not 0 <= alpha <= 1:
            raise UsageError(f"level {level}, alpha {alpha}: lie above 0 up to 1, and from 0 to 1")
        k = 0 if label is None else self.labels.index(label)
        map, threshold = self.maps[k], self.thresholds[k]
        laid = blend(self.photograph, map, alpha)
        if map.any():
            laid = contour(laid, map >= level)
        at = "no threshold" if np.isnan(threshold) else f"threshold {threshold:.3f}"
        what = f"{label_text(self.labels[k])}: {self.probabilities[k]:.3f} ({at})"
        with rc_context(STYLE):
            figure = Figure(figsize=(8, 4.4), layout="constrained")
            for axes, picture, text in zip(
                figure.subplots(1, 2), (self.photograph, laid), (self.image, what), strict=True
            ):
                axes.imshow(picture)
                axes.set_title(text)
                axes.set_axis_off()
        return figure


def explanations(found: dict[str, Any]) -> Iterator[Explanation]:
    """`Explanation`s of one case, as `explain_batch` yields it."""
    for method, eyes in found["fused"].items():
        for eye, maps in eyes.items():
            photograph, box, inside = shrunk(found["loaded"][eye])
            grid = found["grids"][method]
            laid = [over_photograph(x, grid, box, inside) for x in maps]
            yield Explanation(
                found["case"].images[eye], eye, method, tuple(found["labels"]),
                found["probability"], found["threshold"], found["called"], photograph,
                np.stack(laid),
            )  # fmt: skip
