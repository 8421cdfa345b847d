"""Data sets of one's own: folders per class and tables with a mapping."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from fundus_diag.data import manifest
from fundus_diag.data.datasets.build import build as build_manifest
from fundus_diag.data.names import PATTERN
from fundus_diag.utils.errors import DataError, UsageError

DESCRIPTIONS = Path(__file__).parents[3] / "data_manifests"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def build(name, root, **options):
    out = root.parent / "out.csv"
    counts = build_manifest(name, root, out, **options)
    return manifest.read_manifest(out), counts


def test_a_folder_per_class_grades_its_own_labels_only(tmp_path):
    root = touch(
        tmp_path / "eyes",
        "Normal/1.jpg",
        "normal/._1.jpg",
        "cataract/1.jpg",
        "glaucoma/5_left.png",
        "diabetic_retinopathy/5_right.JPEG",
        "diabetic_retinopathy/notes.txt",
        "other/9.jpg",
    )
    read, counts = build("folders", root)
    assert read.labels == ("N", "D", "G", "C")
    rows = read.table.set_index("image")
    assert rows.loc["Normal/1.jpg", list("NDGC")].tolist() == [1, 0, 0, 0]
    assert rows.loc["cataract/1.jpg", list("NDGC")].tolist() == [0, 0, 0, 1]
    assert rows["patient"].to_dict() == {
        "Normal/1.jpg": "Normal/1.jpg",
        "cataract/1.jpg": "cataract/1.jpg",
        "glaucoma/5_left.png": "5",
        "diabetic_retinopathy/5_right.JPEG": "5",
    }
    assert rows.loc["glaucoma/5_left.png", "eye"] == "left"
    assert counts["notes"] == [
        "left out: 1 files whose ending is not in [files] extensions "
        "('diabetic_retinopathy/notes.txt': .txt 1)",
        "left out: 1 files in folders that stand for no class ('other/9.jpg')",
        "2 of 4 pictures are patients of their own: where nothing tells who is who, both eyes of a "
        "person may stand on two sides of a split",
    ]


def test_names_of_a_folder_tell_what_those_of_photographs_without_a_table_tell():
    description = tomllib.loads((DESCRIPTIONS / "folders.toml").read_text("utf-8"))
    assert description["files"]["name"] == PATTERN


def test_folders_of_splits_give_the_split(tmp_path):
    root = touch(
        tmp_path / "eyes", "train/normal/1.jpg", "valid/cataract/2.jpg", "Test/normal/3.jpg"
    )
    read, _ = build("folders", root)
    assert dict(zip(read.table["image"], read.table["split"], strict=True)) == {
        "train/normal/1.jpg": "train",
        "valid/cataract/2.jpg": "val",
        "Test/normal/3.jpg": "test",
    }


def test_odir_columns_are_empty_where_folders_do_not_grade(tmp_path):
    root = touch(tmp_path / "eyes", "normal/1.jpg", "cataract/2.jpg")
    read, _ = build("folders", root, labels="odir")
    assert read.labels == tuple("NDGCAHMO")
    assert read.table[list("AHMO")].isna().all(axis=None)
    assert read.table[list("NDGC")].notna().all(axis=None)


MAPPING = """
[classes]
"NO" = "grade_0"
"MH" = "grade_1"
[files]
extensions = [".jpg"]
"""


def test_folders_may_be_grades(tmp_path):
    root = touch(tmp_path / "oct", "NO/1.jpg", "MH/1.jpg")
    (tmp_path / "oct.toml").write_text(MAPPING)
    read, _ = build("folders", root, mapping=tmp_path / "oct.toml")
    assert read.task == "grade"
    np.testing.assert_array_equal(read.table[["grade_0", "grade_1"]], [[0, 1], [1, 0]])


TABLE = "id,side,level,years,glau\n1,OD,2,60,RG\n1,os,0,60,NRG\n2,OD,,61,\n3,OD,1,,RG\n"
CSV = """
dataset = "mine"
patient_prefix = "mine-"
[files]
tables = ["t.csv"]
[columns]
image = "pictures/{id}_{side}.png"
patient = "id"
eye = "side"
age = "years"
[values]
eye = { OD = "right", OS = "left" }
[labels.D]
column = "level"
positive = [1, 2]
negative = ["0"]
[labels.G]
column = "glau"
positive = ["RG"]
negative = ["NRG"]
"""


@pytest.fixture
def eyes(tmp_path):
    root = touch(tmp_path / "eyes", *(f"pictures/{n}.png" for n in ("1_OD", "1_os", "2_OD")))
    (root / "t.csv").write_text(TABLE)
    (tmp_path / "map.toml").write_text(CSV)
    return root


def test_any_table_is_read_through_a_mapping(eyes, tmp_path):
    read, counts = build("csv", eyes, mapping=tmp_path / "map.toml")
    assert counts["left_out"] == ["1 row, picture missing (such as 'pictures/3_OD.png', line 5)"]
    assert (tmp_path / "out.csv").read_text() == (
        "image,patient,eye,age,dataset,D,G\n"
        "pictures/1_OD.png,mine-1,right,60,mine,1,1\n"
        "pictures/1_os.png,mine-1,left,60,mine,0,0\n"
        "pictures/2_OD.png,mine-2,right,61,mine,,\n"
    )
    read, _ = build("csv", eyes, mapping=tmp_path / "map.toml", labels="odir")
    assert read.labels == tuple("NDGCAHMO")


def test_a_table_of_grades_leaves_out_rows_without_one(eyes, tmp_path):
    head = CSV.split("[labels.D]")[0]
    (tmp_path / "map.toml").write_text(head + '[grades]\ncolumn = "level"\nvalues = [0, 1, 2]\n')
    read, counts = build("csv", eyes, mapping=tmp_path / "map.toml")
    assert read.task == "grade"
    np.testing.assert_array_equal(read.table[list(read.labels)], [[0, 0, 1], [1, 0, 0]])
    assert counts["left_out"] == [
        "1 row, no grade (such as 'pictures/2_OD.png', line 4)",
        "1 row, picture missing (such as 'pictures/3_OD.png', line 5)",
    ]
    with pytest.raises(UsageError, match="'grade_0' is no label of ODIR"):
        build("csv", eyes, mapping=tmp_path / "map.toml", labels="odir")


def test_a_manifest_like_table_needs_no_mapping(tmp_path):
    root = touch(tmp_path / "eyes", "a.jpg", "b.jpg")
    table = "image,patient,eye,D,G\na.jpg,1,left,1,\nb.jpg,1,right,0,1\n"
    (tmp_path / "x.csv").write_text(table)
    read, _ = build("csv", root, table=tmp_path / "x.csv")
    assert read.labels == ("D", "G")
    np.testing.assert_array_equal(read.table[["D", "G"]], [[1, np.nan], [0, 1]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('column = "level"', 'column = "grade"', "no column 'grade'"),
        ('column = "level"', "", "map.toml: labels.D.column: field required"),
        ('negative = ["0"]', "negative = []", r"t.csv line 3: D '0' has no meaning"),
        ('OD = "right"', 'OD = "both"', "eye 'both'"),
        ('eye = "side"', 'eye = "level"', "t.csv line 2: eye '2' has no meaning"),
        ("pictures/{id}", "../{id}", "t.csv line 2: image '../1_OD.png' leaves the image root"),
        ("{id}_{side}", "{id}_OD", "line 3: image 'pictures/1_OD.png' stands already on line 2"),
        ('image = "pictures', 'image = "{nothing}', "no column 'nothing'"),
        ("[labels.D]", "[labels.patient]", "'patient' cannot be the name of a label"),
        ("[labels.D]", "[labels.grade_0]", "grades"),
        ("[columns]", "[colums]", "map.toml: colums: there is no such key"),
        ("[columns]", "[columns", "not a TOML file"),
    ],
)
def test_a_wrong_mapping_is_one_line(eyes, tmp_path, old, new, message):
    assert old in CSV
    (tmp_path / "map.toml").write_text(CSV.replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        build("csv", eyes, mapping=tmp_path / "map.toml")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def test_a_mapping_that_is_not_there_is_one_line(eyes, tmp_path):
    with pytest.raises(DataError, match="none.toml: cannot be read"):
        build("csv", eyes, mapping=tmp_path / "none.toml")
