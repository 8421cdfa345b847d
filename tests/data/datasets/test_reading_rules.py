"""What a description may say of rows and files: left out, once more, beside, not there, unknown."""

import pytest
from published import cells, made, text, tree

from fundus_diag.cli import main
from fundus_diag.data.datasets.build import build
from fundus_diag.data.manifest import read_manifest
from fundus_diag.utils.errors import DataError, UsageError


@pytest.fixture
def mapped(tmp_path):
    """A build by a mapping of one's own, of a tree that the test wrote under `root`."""

    def mapped(reader, mapping, labels=None, **options):
        path = tmp_path / "map.toml"
        path.write_text(f'reader = "{reader}"\n{mapping}', "utf-8")
        return made("csv", tmp_path / "root", tmp_path / "out.csv", labels, mapping=path, **options)

    return mapped


TABLE = """
[files]
tables = ["t.csv"]
[columns]
image = "image"
[leave_out."not gradable"]
column = "gradable"
values = [0]
[leave_out."with a remark"]
column = "remark"
[grades]
column = "grade"
values = [0, 1]
"""


def test_rows_are_left_out_for_a_reason_before_their_cells_are_read(mapped, tmp_path):
    rows = "image,grade,gradable,remark\na.jpg,1,1,\nb.jpg,?,0,\nc.jpg,0,1,blurred\nd.jpg,9,0.0,x\n"
    text(tree(tmp_path / "root", "a.jpg") / "t.csv", rows)
    table, built = mapped("csv", TABLE)
    assert table.index.tolist() == ["a.jpg"]
    assert built["left_out"] == [
        "2 rows, not gradable (such as 'b.jpg', line 3)",
        "1 row, with a remark (such as 'c.jpg', line 4)",
    ]
    text(tmp_path / "root/t.csv", rows.replace("gradable", "good"))
    with pytest.raises(DataError, match="t.csv: no column 'gradable'"):
        mapped("csv", TABLE)


def test_of_several_columns_one_has_to_be_there(mapped, tmp_path):
    mapping = '[files]\ntables = ["t.csv"]\n[columns]\nimage = ["name", "image"]\n'
    mapping += '[labels]\nD = ["left", "right"]\n'
    text(tree(tmp_path / "root", "a.jpg", "b.jpg") / "t.csv", "image,left\na.jpg,1\nb.jpg,\n")
    table, _ = mapped("csv", mapping)
    assert cells(table, "D") == {"a.jpg": "1", "b.jpg": "-"}
    with pytest.raises(DataError, match="t.csv: no column 'up', 'down' "):
        mapped("csv", mapping.replace('"left", "right"', '"up", "down"'))


def test_a_text_may_hold_what_was_found_and_the_whole_cell(mapped, tmp_path):
    mapping = '[files]\ntables = ["**/t.csv"]\n[labels]\nD = "D"\n[columns]\n'
    mapping += r"""image = { column = "id", pattern = '(\d+)_.', text = "p/{}/{cell}" }"""
    text(tree(tmp_path / "root", "p/12/12_l.JPG") / "deep/er/t.csv", "id,D\n12_l,1\n")
    table, _ = mapped("csv", mapping)
    assert table.index.tolist() == ["p/12/12_l.JPG"]
    text(tmp_path / "root/other/t.csv", "id,D\n12_l,1\n")
    with pytest.raises(DataError, match="'t.csv' may be 'deep/er/t.csv' or 'other/t.csv'"):
        mapped("csv", mapping)


FILES = r"""
[files]
path = '(?:.*/)?(?P<picture>(?P<class>n|d)/[^/]+)'
beside = 'masks/.*'
[classes]
n = "N"
d = "D"
"""


def test_files_count_once_and_what_lies_beside_them_not_at_all(mapped, tmp_path):
    tree(tmp_path / "root", "n/1.jpg", "x/n/1.jpg", "x/d/1.jpg", "masks/1.png", "other/1.jpg")
    table, built = mapped("files", FILES)
    assert cells(table, "N", "D") == {"n/1.jpg": "1 0", "x/d/1.jpg": "0 1"}
    assert built["notes"][:2] == [
        "left out: 1 files that are there once more ('x/n/1.jpg')",
        "left out: 1 files whose path is of no picture here ('other/1.jpg')",
    ]
    with pytest.raises(DataError, match=r"files.beside: not a regular expression"):
        mapped("files", FILES.replace("masks/.*", "("))


PARTS = """
[[parts]]
reader = "files"
files = { path = '(n|x)/.+' }
[[parts]]
reader = "csv"
without = "so nobody knows D"
files = { tables = ["t.csv"], folders = ["d"] }
columns = { image = "image" }
labels = { D = "D" }
"""


def test_what_one_part_takes_no_other_part_calls_strange(mapped, tmp_path):
    tree(tmp_path / "root", "n/1.jpg", "d/1.jpg", "d/2.jpg")
    text(tmp_path / "root/t.csv", "image,D\n1.jpg,1\n")
    table, built = mapped("csv", PARTS, "own")
    assert cells(table, "D") == {"n/1.jpg": "-", "d/1.jpg": "1"}
    assert built["notes"][0] == ("left out: 1 files whose path is of no picture here ('d/2.jpg')")
    (tmp_path / "root/t.csv").rename(tmp_path / "root/u.csv")
    mapping = PARTS.replace("files = { path", "classes = { n = 'N' }\nfiles = { path")
    mapping = mapping.replace("(n|x)/", "(?P<class>n)/")
    table, built = mapped("csv", mapping, "own")
    assert table.index.tolist() == ["n/1.jpg"]
    assert built["notes"][1].endswith("none of the files t.csv (so nobody knows D)")


def test_a_sign_may_leave_a_disease_open(mapped, tmp_path):
    tree(tmp_path / "root", *(f"{k}.jpg" for k in range(5)))
    rows = "image,cup,scar,dr\n0.jpg,0,0,0\n1.jpg,1,0,0\n2.jpg,1,1,0\n3.jpg,,0,0\n4.jpg,0,1,1\n"
    text(tmp_path / "root/t.csv", rows)
    mapping = 'label_choices = ["odir"]\n[files]\ntables = ["t.csv"]\n[columns]\nimage = "image"\n'
    mapping += '[labels]\ncup = "cup"\nscar = "scar"\ndr = "dr"\n'
    mapping += '[odir]\nD = "dr"\nO = { any = "scar", unknown = "cup" }\n'
    table, _ = mapped("csv", mapping)
    assert table["O"].tolist() == ["0", "", "1", "", "1"]
    assert table["D"].tolist() == ["0", "0", "0", "0", "1"]
    with pytest.raises(DataError, match="odir.O: 'cups' is none of the labels"):
        mapped("csv", mapping.replace('unknown = "cup"', 'unknown = "cups"'))


MASKS = r"""
label_choices = ["masks"]
[files]
path = '(?:.*/)?(?P<picture>n/\d\.jpg)'
beside = 'm/.*'
[masks]
EX = { files = ["m/{stem}_EX.png"], missing = "none" }
SE = { files = ["m/{stem}_SE.png"], missing = "none" }
OD = { files = ["m/{stem}_OD.png"] }
"""


def test_without_any_file_of_its_masks_nobody_says_that_there_is_no_lesion(mapped, tmp_path):
    tree(tmp_path / "root", "n/1.jpg", "n/2.jpg", "m/1_EX.png")
    table, built = mapped("files", MASKS)
    assert cells(table, "mask_EX") == {"n/1.jpg": "m/1_EX.png", "n/2.jpg": "none"}
    assert "mask_SE" not in table
    assert built["notes"][:2] == [
        "mask_SE: none of its files is there, for any of the pictures",
        "mask_OD: none of its files is there, for any of the pictures",
    ]


def test_paths_may_start_from_a_folder_above(mapped, tmp_path, capsys):
    tree(tmp_path / "root", "n/1.jpg", "n/2.jpg", "m/1_EX.png")
    table, built = mapped("files", MASKS, image_root=tmp_path)
    assert cells(table, "patient", "mask_EX") == {
        "root/n/1.jpg": "root/n/1.jpg root/m/1_EX.png",
        "root/n/2.jpg": "root/n/2.jpg none",
    }
    assert built["image_root"] == str(tmp_path)
    assert built["notes"][-1].startswith("2 of 2 pictures are patients of their own")
    assert mapped("files", MASKS, image_root=tmp_path / "root")[0].index[0] == "n/1.jpg"
    for wrong in (tmp_path / "root/n", tmp_path / "roo", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=f"--image-root {wrong}: no folder that holds "):
            mapped("files", MASKS, image_root=wrong)
    flags = ["--root", f"{tmp_path}/root", "--out", f"{tmp_path}/o.csv", "--labels", "own"]
    flags += ["--image-root", str(tmp_path), "--mapping", str(tmp_path / "map.toml")]
    (tmp_path / "map.toml").write_text('reader = "files"\n' + FILES)
    assert main(["manifest", "build", "csv", *flags]) == 0
    assert f"o.csv: image root {tmp_path}" in capsys.readouterr().out
    images = read_manifest(tmp_path / "o.csv").table["image"]
    assert images.tolist() == ["root/n/1.jpg", "root/n/2.jpg"]


def test_a_row_of_a_shared_table_is_missing_only_where_no_part_has_its_picture(mapped, tmp_path):
    text(tree(tmp_path / "root", "a/1.jpg", "b/2.jpg") / "t.csv", "image,D\n1,1\n2,0\n3,1\n")
    part = '[[parts]]\nsplit = "{}"\nfiles = {{ tables = ["t.csv"], folders = ["{}"] }}\n'
    mapping = '[columns]\nimage = "image"\n[labels]\nD = "D"\n'
    table, built = mapped("csv", mapping + part.format("train", "a") + part.format("test", "b"))
    assert cells(table, "split", "D") == {"a/1.jpg": "train 1", "b/2.jpg": "test 0"}
    assert built["left_out"] == ["1 row, picture missing (such as '3', line 4)"]


def test_both_eyes_of_the_odir_rows_of_a_line_are_kept(tmp_path):
    """Two rows of one line are two pictures, not one in two parts."""
    root = tree(tmp_path / "o", "images/7_left.jpg", "images/7_right.jpg")
    head = "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,"
    head += "Right-Diagnostic Keywords\n"
    text(root / "data.csv", head + "7,61,Male,7_left.jpg,7_right.jpg,normal fundus,cataract\n")
    build("odir5k", root, tmp_path / "out.csv", table=root / "data.csv")
    assert len(read_manifest(tmp_path / "out.csv").table) == 2
