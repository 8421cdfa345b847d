"""What a table holds: counted again by pandas, and drawn on a page."""

import re

import cv2
import numpy as np
import pandas as pd
from test_checks import draw

from fundus_diag.cli import main
from fundus_diag.data.checks import check
from fundus_diag.data.overview import lines, overview


def make(folder, rows=12):
    for k in range(rows):
        draw(folder / f"{k}.jpg", k)
    picture = cv2.imread(str(folder / "3.jpg"))
    cv2.imwrite(str(folder / "3.jpg"), cv2.GaussianBlur(picture, (0, 0), 4))
    (folder / "5.jpg").write_bytes((folder / "4.jpg").read_bytes())
    (folder / "6.jpg").write_text("no picture")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": [f"{k}.jpg" for k in range(rows)]})
    table["patient"] = [f"p{k // 2}" for k in range(rows)]
    table["eye"] = ["left", "right"] * (rows // 2)
    table["age"] = [20 + 3 * k if k % 4 else "" for k in range(rows)]
    table["sex"] = ["female", "male", ""] * (rows // 3)
    for label in ("D", "G", "R/O A"):
        table[label] = (rng.random(rows) < 0.5).astype(int)
    table.loc[[4, 5], "D"] = [0, 1]
    path = folder / "t.csv"
    table.to_csv(path, index=False)
    return path, table


def test_figures_are_those_that_pandas_counts(tmp_path):
    path, table = make(tmp_path)
    checked = check(path, tmp_path)
    facts = overview(checked.manifest, checked.pictures)
    assert facts["rows"] == 12
    assert facts["patients"] == table["patient"].nunique() == 6
    assert facts["eyes"] == {"left": 6, "right": 6}
    ages = pd.to_numeric(table["age"])
    np.testing.assert_allclose(facts["ages"], ages.quantile([0, 0.25, 0.5, 0.75, 1]))
    assert facts["without_age"] == 3
    assert facts["sexes"] == {"female": 4, "male": 4, "not known": 4}
    for i, one in enumerate(facts["labels"]):
        for k, other in enumerate(facts["labels"]):
            assert facts["together"][i][k] == ((table[one] == 1) & (table[other] == 1)).sum()
    assert facts["blurred"][0] == "3.jpg"
    assert len(checked.pictures) == 11
    height, width = cv2.imread(str(tmp_path / "0.jpg")).shape[:2]
    assert facts["sizes"] == [(f"{width} x {height}", 11)]
    said = "\n".join(lines(facts))
    assert "12 rows of 6 patients (left 6, right 6; at most 2 of one)" in said
    assert f"ages {ages.min():g} to {ages.max():g}" in said


def test_the_page_shows_labels_and_faults_and_says_nothing_of_the_machine(tmp_path, capsys):
    path, _ = make(tmp_path)
    page = tmp_path / "check.html"
    words = ["manifest", "check", path, "--image-root", tmp_path, "--page", page]
    assert main([str(x) for x in words]) == 1
    out = capsys.readouterr().out
    assert str(page) in out
    text = page.read_text()
    assert str(tmp_path) not in text
    assert "the same picture under two labels: 4.jpg (D 0), 5.jpg (D 1)" in text
    assert "6.jpg: not an image" in text
    sections = re.split("<h2>", text)
    errors = next(x for x in sections if x.startswith("Errors"))
    assert errors.count("<figure>") == 2
    assert len(re.findall("<figcaption>3.jpg", sections[-1])) == 1
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_table_alone_is_looked_at_without_pictures(tmp_path, capsys):
    path, _ = make(tmp_path)
    assert main(["manifest", "check", str(path), "--page", str(tmp_path / "c.html")]) == 0
    assert "12 rows of 6 patients" in capsys.readouterr().out
    assert "<figure>" not in (tmp_path / "c.html").read_text()


def test_the_page_does_not_say_where_a_missing_picture_was_looked_for(tmp_path):
    path, page = tmp_path / "m.csv", tmp_path / "c.html"
    path.write_text("image,patient,eye,D\ngone.jpg,p,left,1\n")
    words = ["manifest", "check", path, "--image-root", tmp_path, "--page", page]
    assert main([str(x) for x in words]) == 1
    assert "gone.jpg: no such file" in page.read_text()
    assert str(tmp_path) not in page.read_text()
