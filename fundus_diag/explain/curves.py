"""The figure of deletion and insertion curves."""

import functools

import numpy as np
from scipy import integrate

from fundus_diag.utils.plotting import BLUE, GREEN, GREY, ORANGE, RED, SKY, figure_files, plain

METHOD_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", SKY, "#000000", GREY)
FEW = 8  # pictures whose curves are drawn one by one as well


def curve_files(curves):
    """Deletion and insertion curves of several methods, their means.

    Args:
        curves: {method: {"shares": (steps + 1,), "deletion": (n, steps + 1), "insertion":
            (n, steps + 1)}}. A row of NaN is a picture without a curve: it is left out. Up to
            `FEW` pictures are drawn one by one as well, as thin lines.

    Returns:
        {name of a file, with {} for the label: its bytes}: both beside each other as PNG, each
        alone as SVG.
    """
    panels = (
        ("deletion", "Deletion: lower is better", "share of pixels taken away"),
        ("insertion", "Insertion: higher is better", "share of pixels put in"),
    )

    def draw(figure, shown=panels):
        every = figure.subplots(1, len(shown), squeeze=False)[0]
        for ax, (kind, heading, axis) in zip(every, shown, strict=True):
            ax.set_title(heading)
            ax.set(xlim=(0, 1), xlabel=axis, ylabel="probability")
            for k, (method, curve) in enumerate(curves.items()):
                _curve(ax, k, method, np.asarray(curve["shares"]), np.asarray(curve[kind]))
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
            ax.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.2), title="method, area, pictures"
            )

    height = 3.1 + 0.2 * len(curves)
    found = {"deletion_insertion_{}.png": figure_files((7.6, height), draw, ("png",))["png"]}
    for panel in panels:
        alone = functools.partial(draw, shown=[panel])
        found[panel[0] + "_{}.svg"] = figure_files((3.8, height), alone, ("svg",))["svg"]
    return found


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
