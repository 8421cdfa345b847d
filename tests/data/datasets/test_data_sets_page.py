"""docs/how-to/data-sets.md: its table is that of the descriptions, and its example builds."""

import re
from pathlib import Path

import pytest
from documents import blocks
from published import cells, made, text, tree

from fundus_diag.data.datasets.descriptions import describe, described
from fundus_diag.utils.errors import DataError

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "data-sets.md"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text("utf-8")


def test_the_table_has_every_data_set_as_it_is_described(page):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert set(rows) == set(described()) - {"csv", "folders"}
    for name, row in rows.items():
        description, columns = describe(name), row.split(" | ")
        assert columns[2] == ", ".join(description.label_choices), name
        assert columns[7] == ("yes" if description.verified else "no"), name
        splits = [description.split, *(part.split for part in description.parts)]
        splits += [x for one in (description, *description.parts) for x in one.splits.values()]
        if description.reader != "npz":
            found = [x for x in ("train", "val", "test") if x in splits]
            assert columns[4] == (", ".join(found) or "none"), name
        if "CC BY" in columns[5]:
            assert columns[5].split(" (")[0] in description.licence


def test_the_worked_example_builds(tmp_path):
    """What the page says is what happens."""
    found = [x.text.strip() for x in blocks(PAGE)]
    (table,) = [x for x in found if x.startswith("id;grade")]
    (mapping,) = [x for x in found if "[leave_out" in x]
    (by_path,) = [x for x in found if x.startswith('reader = "files"')]
    root = tree(tmp_path / "set", "photos/P012-OD.jpg", "lesions/P012-OD_EX.png")
    text(root / "grades.csv", table + "\n")
    text(tmp_path / "map.toml", mapping)
    out, options = tmp_path / "out.csv", {"mapping": tmp_path / "map.toml"}
    found, built = made("csv", root, out, **options)
    assert cells(found, "patient", "eye", "dataset", "grade_2") == {
        "photos/P012-OD.jpg": "screening-P012 right screening 1"
    }
    assert built["left_out"] == ["1 row, not gradable (such as 'P012-OS', line 3)"]
    assert cells(made("csv", root, out, "odir", **options)[0], "D", "G") == {
        "photos/P012-OD.jpg": "1 -"
    }
    masks, _ = made("csv", root, out, "masks", **options)
    assert masks["mask_EX"].tolist() == ["lesions/P012-OD_EX.png"]
    text(tmp_path / "map.toml", by_path)
    root = tree(tmp_path / "paths", "train/RG/7_L.jpg", "test/NRG/7_R.jpg", "test/NRG/7_R_mask.png")
    with pytest.raises(DataError, match="patient '7' stands in"):
        made("csv", root, out, "own", **options)
    (root / "test/NRG/7_R.jpg").rename(root / "test/NRG/8_R.jpg")
    found, built = made("csv", root, out, "own", **options)
    assert cells(found, "patient", "eye", "split", "G") == {
        "test/NRG/8_R.jpg": "8 right test 0", "train/RG/7_L.jpg": "7 left train 1",
    }  # fmt: skip
    assert [note for note in built["notes"] if "path is of no picture" in note] == []
