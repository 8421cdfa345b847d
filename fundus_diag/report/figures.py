"""Figures of the report, drawn with matplotlib's object interface (no global state).

Colours: Okabe and Ito, "Color Universal Design", which people with colour blindness tell apart.
A `panel` is a function that draws one label on given axes; `panel_png` makes one picture of it and
`grid_png` one picture of all labels.
"""

import numpy as np

from fundus_diag.metrics import curves
from fundus_diag.utils.plotting import BLUE, GREY, LINES, RED, SKY, figure_png, plain


def panel_png(panel, item):
    """One picture, 2.9 x 2.8 inches, of `panel(axes, item)`. Returns PNG bytes."""
    return figure_png((2.9, 2.8), lambda figure: panel(figure.add_subplot(), item))


def grid_png(panel, items, columns=4):
    """One picture of `panel(axes, item)` for all items, row by row. Returns PNG bytes."""
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)

    def draw(figure):
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, item in zip(axes, items, strict=False):
            panel(ax, item)
        for ax in axes[len(items) :]:
            ax.remove()

    return figure_png((2.9 * columns, 2.8 * rows), draw)


def roc_panel(ax, item):
    """ROC curve, its band over patients, the operating point. `item`: see `parts.panel_items`."""
    _square(ax, item, "false-positive rate", "sensitivity")
    if not _drawable(ax, item):
        return
    if item["band"] is not None:
        grid, low, high = item["band"]
        ax.fill_between(grid, low, high, color=SKY, alpha=0.35, linewidth=0)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    ax.plot(*curves.roc_points(item["truth"], item["score"]), color=BLUE, linewidth=1.6)
    if item["recall"] is not None and item["false_positive_rate"] is not None:
        _operating_point(ax, item["false_positive_rate"], item["recall"])
    ax.text(0.97, 0.05, f"AUC {item['roc_auc']:.3f}", ha="right", transform=ax.transAxes)


def precision_recall_panel(ax, item):
    """Precision against recall as a step curve, the share of positives, the operating point."""
    _square(ax, item, "sensitivity (recall)", "precision")
    if not _drawable(ax, item):
        return
    ax.axhline(item["truth"].mean(), color=GREY, linewidth=0.8, linestyle=":")
    recall, precision = curves.precision_recall_points(item["truth"], item["score"])
    # The step to each recall is drawn at the precision reached there: the area is the average
    # precision that the table quotes.
    ax.step(np.append(0, recall), np.append(precision[0], precision), where="pre", color=BLUE,
            linewidth=1.6)  # fmt: skip
    if item["recall"] is not None and item["precision"] is not None:
        _operating_point(ax, item["recall"], item["precision"])
    low = precision[-1] > 0.5 or item["average_precision"] > 0.75
    place = (0.03, 0.14, "left") if low else (0.97, 0.93, "right")
    text = f"AP {item['average_precision']:.3f}"
    ax.text(*place[:2], text, ha=place[2], transform=ax.transAxes)


def reliability_panel(ax, item):
    """Share of positives against the mean probability, in bins of equally many rows."""
    ax.set_title(plain(item["title"]))
    ax.set_xlabel("mean probability")
    ax.set_ylabel("share of positives")
    if not _drawable(ax, item):
        return
    mean, share, low, high = curves.reliability_points(item["truth"], item["score"])
    top = min(1.0, 1.08 * max(mean.max(), high.max()))
    ax.plot([0, top], [0, top], color=GREY, linewidth=0.8, linestyle=":")
    error = [np.maximum(share - low, 0), np.maximum(high - share, 0)]
    ax.errorbar(mean, share, yerr=error, color=BLUE, ecolor=SKY, marker="o", markersize=3.5,
                linewidth=1.2, elinewidth=1.2)  # fmt: skip
    ax.set(xlim=(-0.02 * top, top * 1.02), ylim=(-0.02 * top, top * 1.02))
    ax.locator_params(nbins=5)
    ax.set_box_aspect(1)


def confusion_panel(ax, item):
    """Counts at the stored threshold, shaded by the share of their true class."""
    ax.set_title(plain(item["title"]))
    ax.grid(False)
    table = item["confusion"]
    if table is None:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no threshold", ha="center", color=GREY, transform=ax.transAxes)
        return
    matrix(ax, np.array(table), ["no", "yes"])


def matrix(ax, table, names):
    """A confusion matrix on `ax`: rows are the truth, columns the call."""
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1.3)
    for (row, column), count in np.ndenumerate(table):
        dark = share[row, column] > 0.7
        ax.text(column, row, f"{count:,}\n{share[row, column]:.0%}", ha="center", va="center",
                color="white" if dark else "black")  # fmt: skip
    ax.grid(False)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="called", ylabel="truth")


def matrix_png(table, names):
    """A picture of one confusion matrix. Returns PNG bytes."""
    side = 1.4 + 0.62 * len(names)
    counts = np.array(table)
    return figure_png((side, side), lambda figure: matrix(figure.add_subplot(), counts, names))


def overview_png(rows):
    """ROC AUC with its interval, one line per label; `rows`: (name, value, [low, high] or None)."""

    def draw(figure):
        ax = figure.add_subplot()
        for at, (_, value, pair) in enumerate(rows):
            if value is None:
                ax.text(0.505, at, "undefined", va="center", color=GREY)
                continue
            if pair is not None:
                ax.plot(pair, [at, at], color=SKY, linewidth=3.5, solid_capstyle="round")
            ax.plot(value, at, "o", color=BLUE, markersize=5.5)
        values = [x for _, value, pair in rows for x in (value, *(pair or ())) if x is not None]
        ax.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
        ax.set(xlim=(min([0.48, *values]) - 0.01, 1.01), ylim=(len(rows) - 0.5, -0.5))
        ax.set_yticks(range(len(rows)), [plain(name) for name, _, _ in rows])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("ROC AUC, 95 % interval (dotted: prior only)")

    return figure_png((4.8, 0.8 + 0.27 * len(rows)), draw)


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
            ax.set_title(title, fontsize=8.5)
            ax.tick_params(axis="y", length=0)
            ax.xaxis.get_major_locator().set_params(nbins=4)
            ax.spines["left"].set_visible(False)
            ax.grid(axis="y", visible=False)
        every[0].set_ylim(len(names) - 0.5, -0.5)
        every[0].set_yticks(range(len(names)), [plain(_short(x)) for x in names])

    return figure_png((1.6 + 1.65 * len(panels), 0.9 + 0.3 * len(names)), draw)


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


def _square(ax, item, x, y):
    ax.set_title(plain(item["title"]))
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=x, ylabel=y)
    ax.set_box_aspect(1)


def _drawable(ax, item):
    if item["roc_auc"] is None:
        text = "undefined:\nonly one class graded"
        ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)
        return False
    return True


def _operating_point(ax, x, y):
    ax.plot(x, y, "o", color=RED, markersize=6, markeredgecolor="white", clip_on=False, zorder=5)
