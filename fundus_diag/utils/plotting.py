"""How every figure looks: colours that the colour-blind tell apart, sizes, a line of a history."""

import functools
import io
from typing import Any

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#767676",
)  # fmt: skip
# Lines of one panel: colours that the colour-blind tell apart, and dashes for who sees none.
LINES = (
    (BLUE, "-"), (RED, "-"), (GREEN, "-"), (ORANGE, "--"), (SKY, "--"), ("#CC79A7", "--"),
    ("#222222", ":"),
)  # fmt: skip
DPI = 200
# Where they are installed, for names in scripts that the one which comes with matplotlib lacks.
_MORE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "SimHei",
    "PingFang SC", "Hiragino Sans GB", "Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip
_INSTALLED = {font.name for font in font_manager.fontManager.ttflist}
FAMILIES = ["DejaVu Sans", *(name for name in _MORE if name in _INSTALLED)]
STYLE: dict[Any, Any] = {
    "font.family": FAMILIES,
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8,
    "svg.fonttype": "none",  # letters stay letters: they scale, and can be searched
    "svg.hashsalt": "fundus_diag",  # the same figure is the same file
    "pdf.fonttype": 42,
}
# Of each kind of file, what would tell two of the same figure apart.
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def curve_png(history, columns, title, best_epoch):
    """PNG bytes of `curve`, or None without data."""
    drawn = curve(history, columns, title, best_epoch)
    return drawn and figure_png(*drawn)


def curve(history, columns, title, best_epoch):
    """Training curves of some columns of history.csv: (size, draw) of `figure_files`.

    Args:
        history: one row per epoch with `epoch`, `phase` and the columns.
        columns: {column of history: text of the legend}.
        title: of the picture.
        best_epoch: the epoch whose weights were kept, or None.

    Returns:
        None without data.
    """
    columns = {c: t for c, t in columns.items() if c in history and history[c].notna().any()}
    if not columns:
        return None
    epoch = history["epoch"].to_numpy()
    if not (np.diff(epoch) > 0).all():  # counted anew in each phase
        epoch = np.arange(1, len(epoch) + 1)
    phase = history["phase"].to_numpy()

    def draw(figure):
        ax = figure.add_subplot()
        ax.set_title(title)
        styles = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."))
        for (column, text), (colour, dashes) in zip(columns.items(), styles, strict=False):
            marker = "o" if len(epoch) < 40 else None
            ax.plot(epoch, history[column], color=colour, linewidth=1.6, label=text, marker=marker,
                    markersize=2.5, linestyle=dashes)  # fmt: skip
        for at in np.flatnonzero(np.diff(phase)):
            border = (epoch[at] + epoch[at + 1]) / 2
            ax.axvline(border, color="#444444", linewidth=1)
            sides = (("right", f"phase {phase[at]:.0f} "), ("left", f" phase {phase[at + 1]:.0f}"))
            for side, text in sides:
                ax.text(border, 0.99, text, ha=side, va="top", fontsize=7, color="#444444",
                        transform=ax.get_xaxis_transform())  # fmt: skip
        if best_epoch is not None:
            ax.axvline(best_epoch, color=RED, linewidth=1, linestyle=":", label="best epoch")
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(loc="best")

    return (3.9, 2.8), draw


def figure_files(size, draw, kinds, note=""):
    """{kind: bytes} of what `draw` puts on a figure of this size, inches.

    Args:
        kinds: of png, pdf and svg.
        note: small, below the figure.
    """
    found = {}
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        if note:
            figure.supxlabel(plain(note), x=0.99, ha="right", fontsize=7, color="#444444")
        for kind in kinds:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=UNDATED[kind])
            found[kind] = buffer.getvalue()
            figure.set_layout_engine("none")  # what is laid out stays so for the other kinds
    return found


def figure_png(size, draw):
    """PNG bytes of what `draw` puts on a figure of this size, inches."""
    return figure_files(size, draw, ("png",))["png"]


def plain(text, families=None):
    """`text` with what no font here can draw by number (\\u9ec4): files may have any name.

    Args:
        text: anything.
        families: names of fonts that are drawn with, by default `FAMILIES`, one for another.
    """
    letters = (" " if letter.isspace() else letter for letter in str(text))
    families = FAMILIES if families is None else families
    return "".join(c if any(_draws(f, c) for f in families) else _number(c) for c in letters)


def family_of(text):
    """The one of `FAMILIES` that can draw most of a text, for what draws with one font alone."""
    return max(FAMILIES, key=lambda family: sum(_draws(family, letter) for letter in text))


def _draws(family, letter):
    return ord(letter) in _letters(family)


@functools.cache
def _letters(family):
    """Numbers of all characters that a font has."""
    properties = font_manager.FontProperties(family=family)
    return frozenset(font_manager.get_font(font_manager.findfont(properties)).get_charmap())


def _number(letter):
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
