"""The figure of deletion and insertion curves."""

import numpy as np
from scipy import integrate

from fundus_diag.utils.plotting import BLUE, GREEN, GREY, ORANGE, RED, SKY, figure_png, plain

METHOD_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", SKY, "#000000", GREY)
FEW = 8  # pictures whose curves are drawn one by one as well


def curves_png(curves):
    """Deletion and insertion curves of several methods, their means. Returns PNG bytes.

    Args:
        curves: {method: {"shares": (steps + 1,), "deletion": (n, steps + 1), "insertion":
            (n, steps + 1)}}. A row of NaN is a picture without a curve: it is left out. Up to
            `FEW` pictures are drawn one by one as well, as thin lines.
    """
    panels = (
        ("deletion", "Deletion: lower is better", "share of pixels taken away"),
        ("insertion", "Insertion: higher is better", "share of pixels put in"),
    )

    def draw(figure):
        for ax, (kind, heading, axis) in zip(figure.subplots(1, 2), panels, strict=True):
            ax.set_title(heading)
            ax.set(xlim=(0, 1), xlabel=axis, ylabel="probability")
            for k, (method, curve) in enumerate(curves.items()):
                _curve(ax, k, method, np.asarray(curve["shares"]), np.asarray(curve[kind]))
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
            ax.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.2), title="method, area, pictures"
            )

    return figure_png((7.6, 3.1 + 0.2 * len(curves)), draw)


def _curve(ax, k, method, shares, values):
    values = values[~np.isnan(values).any(axis=1)]
    colour = METHOD_COLOURS[k % len(METHOD_COLOURS)]
    style = ("-", "--", ":")[k // len(METHOD_COLOURS) % 3]
    if not len(values):
        ax.plot([], [], color=colour, linestyle=style, label=plain(f"{method}  undefined"))
        return
    if 1 < len(values) <= FEW:
        ax.plot(shares, values.T, color=colour, linewidth=0.6, alpha=0.4)
    mean = values.mean(axis=0)
    name = f"{method}  {integrate.trapezoid(mean, shares):.3f}, n = {len(values)}"
    ax.plot(shares, mean, color=colour, linestyle=style, linewidth=1.8, label=plain(name))
