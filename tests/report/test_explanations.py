"""The page of explanations."""

import pandas as pd
import pytest
from tiny import make_photographs, ready_run

from fundus_diag import load_run
from fundus_diag.cli import main
from fundus_diag.report.selection import picks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    ready_run(make_photographs(folder / "photographs"), folder / "eye")
    return folder


@pytest.mark.usefixtures("undrawn")
def test_the_page_shows_the_surest_hits_and_the_worst_errors(folder):
    assert main(["report", str(folder / "eye"), "--resamples", "100"]) == 0
    page = (folder / "eye" / "explanations.html").read_text()
    run = load_run(folder / "eye")
    table = pd.read_csv(folder / "eye" / "predictions_test.csv")
    picked = picks(table, run.labels, run.thresholds, grade=False)
    for k, label in enumerate(run.labels):
        y, p, limit = table[f"y_{label}"], table[f"p_{label}"], run.thresholds[k]
        best = table[(y == 1) & (p >= limit)].sort_values(f"p_{label}", ascending=False)
        lost = table[(y == 1) & (p < limit)].sort_values(f"p_{label}")
        alarm = table[(y == 0) & (p >= limit)].sort_values(f"p_{label}", ascending=False)
        got = [(kind, table["image"][row]) for x, kind, row in picked if x == label]
        want = [("hit", x) for x in best["image"][:2]]
        want += [("missed", x) for x in lost["image"][:1]]
        want += [("false alarm", x) for x in alarm["image"][:1]]
        assert got == want
        for kind, image in want:
            assert f"{kind}: {image}" in page
    assert page.count("data:image/webp") == page.count("<article>") == page.count("<h3>") > 4
    assert "not for clinical use" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<script>") == 1
    assert "explanations.html" in (folder / "eye" / "report.html").read_text()
