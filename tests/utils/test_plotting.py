"""Words on figures and pages: what no font can draw is told by number, and never a box."""

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image, ImageDraw

from fundus_diag.utils import picture_grid, plotting

ARC = "\u2312"  # in DejaVu Sans Mono and not in DejaVu Sans, which both come with matplotlib


@pytest.fixture
def second_font(monkeypatch):
    monkeypatch.setattr(plotting, "FAMILIES", ["DejaVu Sans", "DejaVu Sans Mono"])


@pytest.mark.usefixtures("second_font")
def test_what_no_font_draws_is_a_number():
    assert plotting.plain("drusen é\t黄 \U0001f4a1") == "drusen é \\u9ec4 \\U0001f4a1"
    assert plotting.plain(ARC) == ARC
    assert plotting.plain(ARC, ["DejaVu Sans"]) == "\\u2312"


@pytest.mark.usefixtures("second_font")
def test_a_page_draws_a_line_with_the_font_that_has_its_letters():
    assert plotting.family_of("drusen") == "DejaVu Sans"
    assert plotting.family_of(ARC) == "DejaVu Sans Mono"
    font = picture_grid._font("title", ARC * 3)
    mono = font_manager.FontProperties(family="DejaVu Sans Mono", weight="bold")
    assert font.path == font_manager.findfont(mono)
    canvas, want = (Image.new("RGB", (200, 60), "white") for _ in range(2))
    picture_grid._write(canvas, 10, 10, ARC * 3, "title")
    size, _, colour = picture_grid.FONTS["title"]
    place = 10, round(10 + picture_grid.TALL * size)
    ImageDraw.Draw(want).text(place, ARC * 3, colour, font, anchor="ls")
    assert np.asarray(want).min() < 100
    np.testing.assert_array_equal(np.asarray(canvas), np.asarray(want))
