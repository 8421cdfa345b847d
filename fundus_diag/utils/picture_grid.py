"""Pages of pictures in rows and columns, words beside, above and below them.

Laid out pixel by pixel, without axes: what is placed on a page is not resampled again. A page is
drawn for every photograph, so by Pillow, with matplotlib's fonts: a figure takes longer than the
maps on it.
"""

import functools
import textwrap

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from fundus_diag.utils.plotting import BLUE, family_of, plain

COMPRESSION = 2  # of PNG: a third of the time of 6, the usual, for a tenth more bytes
WIDTH = 1600  # pixels that a page keeps within as long as its columns are not at their narrowest
CELL = (110, 290)  # narrowest and widest column of photographs, pixels
NARROW = 0.8  # width of a single layer's map, which is coarse, over that of a photograph
GAP, MARGIN = 8, 14
TEXT = 195  # width of the column of words, pixels
LEADING = 17  # from line to line
TITLE, SMALL = 22, 16  # from line to line of the title, of headings and notes
FONTS = {  # size in pixels, bold?, colour
    "title": (17.6, True, "#222222"),
    "label": (16, True, "#222222"),
    "plain": (13, False, "#222222"),
    "above": (13, True, BLUE),
    "below": (13, True, "#555555"),
    "faint": (12.2, False, "#555555"),
    "on a picture": (13, False, "#ffffff"),
}
TALL = 0.76  # of a font's size: from the line that letters stand on to the top of an l
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
    canvas = Image.new("RGB", size, "white")
    for k, line in enumerate(title):
        _write(canvas, MARGIN, MARGIN + TITLE * k, line, "title")
    for x, cell, heading in zip(lefts, columns, headings, strict=True):
        y = top - 4 - SMALL * (heading.count("\n") + 1)
        _write(canvas, x + cell / 2, y, heading, "plain", "m")
    y = top
    for words, row, tall in zip(lines, pictures, talls, strict=True):
        for k, (line, font) in enumerate(words):
            _write(canvas, MARGIN, y + LEADING * k, line, font)
        for x, cell, (picture, on_it) in zip(lefts, columns, row, strict=True):
            _place(canvas, x, y, cell, tall, picture, on_it)
        y += tall + GAP
    for x, cell, bar in zip(lefts, columns, bars, strict=True):
        if bar is not None:
            _place(canvas, x, bottom + 4, cell, len(bar[0]), bar[0], "")
            _write(canvas, x, bottom + 17, bar[1], "faint")
            _write(canvas, x + cell, bottom + 17, bar[2], "faint", "r")
    for k, note in enumerate(notes):
        _write(canvas, MARGIN, bottom + 44 + SMALL * k, note, "faint")
    pixels = cv2.cvtColor(np.asarray(canvas), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION])[1].tobytes()


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


def _place(canvas, x, y, width, height, picture, words):
    """A picture in the middle of a box whose upper left corner is (x, y) pixels from the page's."""
    high, wide = picture.shape[:2]
    x, y = x + (width - wide) // 2, y + (height - high) // 2
    _paste(canvas, x, y, picture)
    if words:
        _label(canvas, x + wide / 2, y + high / 2, "\n".join(textwrap.wrap(words, 12)))


def _paste(canvas, x, y, picture):
    canvas.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, y))


def _label(canvas, x, y, words):
    """Words on a dark ground, which (x, y) is the middle of."""
    lines = words.split("\n")
    wide, high = max(_font("on a picture", s).getlength(s) for s in lines), SMALL * len(lines)
    left, top = round(x - wide / 2) - 4, round(y - high / 2) - 3
    size = round(wide) + 8, high + 3
    ground = canvas.crop((left, top, left + size[0], top + size[1]))
    canvas.paste(Image.blend(ground, Image.new("RGB", size, "black"), 0.6), (left, top))
    _write(canvas, x, y - high / 2, words, "on a picture", "m")


def _write(canvas, x, y, text, font, side="l"):
    """Lines of text, the first one's tall letters from y down.

    x is the left ("l"), the middle ("m") or the right end ("r") of each.
    """
    size, _, colour = FONTS[font]
    draw = ImageDraw.Draw(canvas)
    for k, line in enumerate(text.split("\n")):
        place = round(x), round(y + TALL * size) + SMALL * k
        line = plain(line, [family_of(line)])  # two scripts on a line: one of them by number
        draw.text(place, line, colour, _font(font, line), anchor=f"{side}s")


def _font(name, text):
    size, bold, _ = FONTS[name]
    return _loaded(family_of(text), size, bold)


@functools.lru_cache
def _loaded(family, size, bold):
    weight = "bold" if bold else "normal"
    path = font_manager.findfont(font_manager.FontProperties(family=family, weight=weight))
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
