"""Figures of several runs: figures of merit beside each other, curves over each other, trials."""

import textwrap

import numpy as np

from fundus_diag.utils.plotting import BLUE, GREY, LINES, SKY, figure_png, plain


def forest_png(names, panels):
    """Figures of several variants with their intervals, a panel a figure. Returns PNG bytes.

    Args:
        names: of the V variants, from above.
        panels: list of (title, (V, 3) value, low, high; NaN where undefined).
    """

    def draw(figure):
        every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, values) in zip(every, panels, strict=True):
            for at, (value, low, high) in enumerate(values):
                ax.plot([low, high], [at, at], color=SKY, linewidth=3.5, solid_capstyle="round")
                ax.plot(value, at, "o", color=BLUE, markersize=5)
            if not np.isnan(values[0, 0]):
                ax.axvline(values[0, 0], color=GREY, linewidth=1, linestyle=":")
            ax.set_title(textwrap.fill(title, 18), fontsize=8.5)  # no wider than its panel
            ax.tick_params(axis="y", length=0)
            ax.xaxis.get_major_locator().set_params(nbins=4)
            ax.spines["left"].set_visible(False)
            ax.grid(axis="y", visible=False)
        every[0].set_ylim(len(names) - 0.5, -0.5)
        every[0].set_yticks(range(len(names)), [plain(_short(x)) for x in names])

    return figure_png((1.6 + 1.65 * len(panels), 1.0 + 0.3 * len(names)), draw)


def overlay_png(items, columns=4):
    """ROC curves of several variants, a panel a label. Returns PNG bytes.

    Args:
        items: list of (title, (G,) false-positive rates, [(name, (G,) sensitivities), ..]).
        columns: of panels.
    """
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)

    def draw(figure):
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        drawn = []
        for ax, (title, grid, lines) in zip(every, items, strict=False):
            ax.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", title=plain(title))
            ax.set(xlabel="false-positive rate", ylabel="sensitivity")
            ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
            for (_, line), (colour, style) in zip(lines, LINES, strict=False):
                ax.plot(grid, line, color=colour, linestyle=style, linewidth=1.4)
            if not lines:
                ax.text(0.5, 0.5, "one class only", ha="center", color=GREY)
            drawn = drawn or [(name, ax.lines[k + 1]) for k, (name, _) in enumerate(lines)]
        for ax in every[len(items) :]:
            ax.remove()
        if drawn:
            figure.legend(
                [line for _, line in drawn],
                [plain(_short(name)) for name, _ in drawn],
                loc="outside lower center",
                ncols=min(4, len(drawn)),
            )

    return figure_png((2.9 * columns, 2.9 * rows + 0.4), draw)


def pareto_png(numbers, values, best, axes):
    """Trials by two objectives, those that nothing beats on a line. Returns PNG bytes.

    Args:
        numbers: of the N trials.
        values: (N, 2); the first objective goes up, the second to the right.
        best: numbers of those that nothing beats.
        axes: of both objectives (what it is called, whether more is better).
    """

    def draw(figure):
        ax = figure.add_subplot()
        chosen = np.isin(numbers, list(best))
        ax.plot(values[~chosen, 1], values[~chosen, 0], "o", color=SKY, markersize=5)
        order = np.argsort(values[chosen, 1])
        x, y = values[chosen, 1][order], values[chosen, 0][order]
        ax.step(x, y, where="pre" if axes[1][1] else "post", color=BLUE, linewidth=1)
        ax.plot(x, y, "o", color=BLUE, markersize=6)
        for number, at, height in zip(np.array(numbers)[chosen][order], x, y, strict=True):
            ax.annotate(str(number), (at, height), (4, 4), textcoords="offset points", fontsize=7)
        better = {True: "more is better", False: "less is better"}
        ax.set_ylabel(f"{axes[0][0]} ({better[axes[0][1]]})")
        ax.set_xlabel(f"{axes[1][0]} ({better[axes[1][1]]})")

    return figure_png((6.4, 4.2), draw)


def bars_png(groups):
    """Shares as bars, a panel a group. Returns PNG bytes.

    Args:
        groups: list of (title, {name: share in [0, 1]}).
    """
    names = sorted(groups[0][1], key=groups[0][1].get)

    def draw(figure):
        every = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
        for ax, (title, shares) in zip(every, groups, strict=True):
            heights = [shares[x] for x in names]
            ax.barh([plain(x.replace("_", " ")) for x in names], heights, color=BLUE, height=0.6)
            ax.set_title(plain(title), fontsize=8.5)
            ax.set_xlim(0, 1)
            ax.grid(axis="y", visible=False)

    return figure_png((1.4 + 2.4 * len(groups), 0.9 + 0.27 * len(names)), draw)


def _short(name, most=34):
    """A name that fits beside a figure."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
