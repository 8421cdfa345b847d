"""Pages of pictures in rows and columns, words beside, above and below them.

Laid out pixel by pixel, without axes: what is placed on a page is not resampled again.
"""

import io
import textwrap

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from fundus_diag.utils.plotting import BLUE, STYLE, plain

DPI = 110
WIDTH = 1600  # pixels that a page keeps within as long as its columns are not at their narrowest
CELL = (110, 290)  # narrowest and widest column of photographs, pixels
NARROW = 0.8  # width of a single layer's map, which is coarse, over that of a photograph
GAP, MARGIN = 8, 14
TEXT = 195  # width of the column of words, pixels
LEADING = 17  # from line to line
TITLE, SMALL = 22, 16  # from line to line of the title, of headings and notes
FONTS = {
    "title": {"fontsize": 11.5, "fontweight": "bold"},
    "label": {"fontsize": 10.5, "fontweight": "bold"},
    "plain": {"fontsize": 8.5},
    "above": {"fontsize": 8.5, "fontweight": "bold", "color": BLUE},
    "below": {"fontsize": 8.5, "fontweight": "bold", "color": "#555555"},
    "faint": {"fontsize": 8, "color": "#555555"},
}
_LETTER = 7.4  # mean width of a letter of the plain font, pixels


def widths(wide, narrow):
    """Widths in pixels of columns of photographs and of single layers, from how many there are."""
    free = WIDTH - 2 * MARGIN - TEXT - GAP * (wide + narrow)
    width = np.clip(free / (wide + NARROW * narrow), *CELL)
    return int(width), max(CELL[0], int(NARROW * width))


def page(title, columns, lines, pictures, bars, notes):
    """PNG bytes of a page.

    Args:
        title: on top.
        columns: (heading, width in pixels) of each column of pictures.
        lines: of each row, the words at its left: lists of (line, name in `FONTS`).
        pictures: of each row, lists of ((h, w, 3) uint8, words on it), one a column.
        bars: of colours, one a column: None, or ((h, w, 3) uint8, word at its left end, word at
            its right end).
        notes: paragraphs at the bottom.
    """
    headings = [_short(name, width) for name, width in columns]
    columns = [width for _, width in columns]
    width = 2 * MARGIN + TEXT + sum(columns) + GAP * (len(columns) - 1)
    title = textwrap.wrap(plain(title), width // 10)
    notes = [line for note in notes for line in textwrap.wrap(note, width // 7)]
    talls = [
        max(len(words) * LEADING, *(picture.shape[0] for picture, _ in row))
        for words, row in zip(lines, pictures, strict=True)
    ]
    top = MARGIN + TITLE * len(title) + 6 + SMALL * max(h.count("\n") + 1 for h in headings)
    bottom = top + sum(talls) + GAP * len(talls)
    lefts = [MARGIN + TEXT + sum(columns[:k]) + GAP * k for k in range(len(columns))]
    size = width, bottom + 44 + SMALL * len(notes) + MARGIN
    with rc_context(STYLE):
        figure = Figure(figsize=[(side + 0.5) / DPI for side in size], dpi=DPI)  # cut to pixels
        for k, line in enumerate(title):
            _write(figure, MARGIN, MARGIN + TITLE * k, line, "title")
        for x, cell, heading in zip(lefts, columns, headings, strict=True):
            _write(figure, x + cell / 2, top - 5, heading, "plain", ha="center", va="bottom")
        y = top
        for words, row, tall in zip(lines, pictures, talls, strict=True):
            for k, (line, font) in enumerate(words):
                _write(figure, MARGIN, y + LEADING * k, line, font)
            for x, cell, (picture, on_it) in zip(lefts, columns, row, strict=True):
                _place(figure, x, y, cell, tall, picture, on_it)
            y += tall + GAP
        for x, cell, bar in zip(lefts, columns, bars, strict=True):
            if bar is not None:
                _place(figure, x, bottom + 4, cell, len(bar[0]), bar[0], "")
                _write(figure, x, bottom + 17, bar[1], "faint")
                _write(figure, x + cell, bottom + 17, bar[2], "faint", ha="right")
        for k, note in enumerate(notes):
            _write(figure, MARGIN, bottom + 44 + SMALL * k, note, "faint")
        return png(figure)


def png(figure):
    """PNG bytes of a figure at its own resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def wrapped(text, font):
    """`text` in lines that fit beside a row: list of (line, font)."""
    letters = 19 if font == "label" else 28
    return [(line, font) for line in textwrap.wrap(plain(text), letters)]


def _short(name, width):
    """A heading on at most two lines of `width` pixels; what is too long loses its middle."""
    letters, name = int(width / _LETTER), plain(name)
    if len(name) <= letters:
        return name
    for at in range(letters, 0, -1):  # break behind a separator, if the rest fits
        if name[at - 1] in "_ .-/" and len(name) - at <= letters:
            return f"{name[:at].rstrip()}\n{name[at:]}"
    first, last = name[: letters - 1], name[letters - 1 :]
    return f"{first}-\n{last}" if len(last) <= letters else f"{first}…\n…{name[1 - letters :]}"


def _place(figure, x, y, width, height, picture, words):
    """A picture in the middle of a box whose upper left corner is (x, y) pixels from the page's."""
    high, wide = picture.shape[:2]
    x, y = x + (width - wide) // 2, y + (height - high) // 2
    figure.figimage(picture, x, int(figure.bbox.height) - y - high, origin="upper")
    if words:
        box = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 3}
        words = "\n".join(textwrap.wrap(words, 12))
        middle = {"ha": "center", "va": "center", "color": "white", "bbox": box}
        _write(figure, x + wide / 2, y + high / 2, words, "plain", **middle)


def _write(figure, x, y, text, font, va="top", **more):
    place = x / figure.bbox.width, 1 - y / figure.bbox.height
    style = {"color": "#222222"} | FONTS[font] | more
    figure.text(*place, text, va=va, parse_math=False, **style)
