"""Figures of the report, drawn with matplotlib's object interface (no global state).

Colours: Okabe and Ito, "Color Universal Design", which people with colour blindness tell apart.
A `panel` is a function that draws one label on given axes; `alone` is one figure of it, `grid` one
of all labels. Those and the others give what `plotting.figure_files` takes: (size in inches,
function that draws).
"""

import numpy as np

from fundus_diag.metrics import curves
from fundus_diag.utils.plotting import BLUE, GREY, RED, SKY, plain


def alone(panel, item):
    """One figure, 2.9 x 2.8 inches, of `panel(axes, item)`."""
    return (2.9, 2.8), lambda figure: panel(figure.add_subplot(), item)


def grid(panel, items, columns=4):
    """One figure of `panel(axes, item)` for all items, row by row."""
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)

    def draw(figure):
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, item in zip(axes, items, strict=False):
            panel(ax, item)
        for ax in axes[len(items) :]:
            ax.remove()

    return (2.9 * columns, 2.8 * rows), draw


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
        ax.text(column, row, f"{share[row, column]:.0%}\n{count:,}", ha="center", va="center",
                color="white" if dark else "black")  # fmt: skip
    ax.grid(False)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="called", ylabel="truth")


def matrix_alone(table, names):
    """One figure of one confusion matrix."""
    side = 1.4 + 0.62 * len(names)
    counts = np.array(table)
    return (side, side), lambda figure: matrix(figure.add_subplot(), counts, names)


def overview(rows):
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
        ax.set_xlabel("ROC AUC, 95 % interval")

    return (4.1, 0.8 + 0.27 * len(rows)), draw


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
