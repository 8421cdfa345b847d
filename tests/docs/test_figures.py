"""README has six figures, each on the page that it links to; benchmarks/README.md knows where."""

import re
from pathlib import Path

import pytest
from documents import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
NUMBER = re.compile(r"(?<![\w.])\d*\.?\d+(?:,\d{3})*")


def rows(text, columns):
    """Cells of the rows of every table of so many columns, without heads."""
    found = [
        [x.strip() for x in line.strip("| ").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [x for x in found if len(x) == columns and not set("".join(x)) <= set("-: ")]


def test_readme_is_short():
    assert len(README.splitlines()) <= 130


def test_readme_has_six_figures_that_stand_where_it_says():
    found = [x for x in rows(README, 3) if x[0] != "what"]
    assert len(found) == 6
    for _, figure, link in found:
        target = re.search(r"\]\(([^)#]+)", link)[1]
        page = (ROOT / target).read_text("utf-8")
        numbers = NUMBER.findall(figure)
        assert numbers
        for number in numbers:
            assert number in NUMBER.findall(page), f"{figure}: {number} is not in {target}"


@pytest.mark.parametrize("row", rows(BENCHMARKS, 5), ids=lambda x: x[0][:40])
def test_where_a_figure_stands_is_a_page_that_has_it(row):
    figure, where = row[0], row[1]
    if figure == "figure":
        return
    assert re.fullmatch(r"docs/[\w/-]+\.md", where)
    page = (ROOT / where).read_text("utf-8")
    if ": " in figure:
        for number in NUMBER.findall(figure.rpartition(": ")[2]):
            assert number in NUMBER.findall(page), f"{number} is not in {where}"


def test_programs_that_make_figures_are_there():
    for name in set(re.findall(r"benchmarks/(\w+\.py)", BENCHMARKS + README)):
        assert (Path(ROOT) / "benchmarks" / name).is_file(), name
