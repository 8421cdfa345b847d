"""Tables as others publish them: parts of names, columns nobody asked for, forms of a letter."""

import os

import pytest

from fundus_diag.data import manifest
from fundus_diag.data.datasets.build import build as build_manifest
from fundus_diag.utils.errors import DataError

EYEPACS = """
[columns]
image = "train/{image}.jpeg"
patient = { column = "image", pattern = "(.+)_(?:left|right)" }
eye = { column = "image", pattern = ".+_(?P<eye>left|right)" }
[grades]
column = "level"
values = [0, 1]
"""


@pytest.fixture
def build(tmp_path):
    def build(mapping, table, *pictures, name="t.csv"):
        root = tmp_path / "root"
        for picture in pictures:
            (root / picture).parent.mkdir(parents=True, exist_ok=True)
            (root / picture).write_bytes(b"x")
        (tmp_path / name).write_text(table, "utf-8")
        (tmp_path / "map.toml").write_text(mapping, "utf-8")
        made = build_manifest(
            "csv", root, tmp_path / "out.csv", mapping=tmp_path / "map.toml", table=tmp_path / name
        )
        return manifest.read_manifest(tmp_path / "out.csv").table, made["notes"]

    return build


def test_patient_and_eye_may_be_parts_of_a_column(build):
    names = ("10_left", "10_right", "7_RIGHT", "odd")
    table = "image,level\n" + "".join(f"{name},{k % 2}\n" for k, name in enumerate(names))
    read, notes = build(EYEPACS, table, *(f"train/{name}.jpeg" for name in names))
    assert read["patient"].tolist() == ["10", "10", "7", "train/odd.jpeg"]
    assert read["eye"].tolist() == ["left", "right", "right", ""]
    assert notes == [
        "1 row not of the pattern of patient ('odd')",
        "1 row not of the pattern of eye ('odd')",
        "1 of 4 pictures are patients of their own: where nothing tells who is who, both eyes of a "
        "person may stand on two sides of a split",
    ]


def test_the_published_form_of_papila(build):
    mapping = """
    [columns]
    image = "{file}"
    patient = { column = "file", pattern = 'RET(\\d+)O[DS]\\.jpg' }
    eye = { column = "file", pattern = 'RET\\d+(O[DS])\\.jpg' }
    [labels.G]
    column = "glaucoma"
    positive = [1]
    negative = [0]
    """
    table = "file,glaucoma\nRET002OD.jpg,0\nRET002OS.jpg,1\n"
    read, notes = build(mapping, table, "RET002OD.jpg", "RET002OS.jpg")
    assert read[["patient", "eye"]].to_numpy().tolist() == [["002", "right"], ["002", "left"]]
    assert notes == []


def test_where_every_row_is_a_patient_of_its_own_a_note_says_so(build):
    mapping = EYEPACS.replace('{ column = "image", pattern = "(.+)_(?:left|right)" }', '"image"')
    read, notes = build(
        mapping, "image,level\n10_left,0\n10_right,1\n", "train/10_left.jpeg", "train/10_right.jpeg"
    )
    assert read["patient"].tolist() == ["10_left", "10_right"]
    assert notes[0].startswith("2 of 2 pictures are patients of their own")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(.+)_(?:left|right)", ".+", "map.toml: columns.patient.pattern: has no group"),
        ("(.+)_(?:left|right)", "(", "map.toml: columns.patient.pattern: not a regular expression"),
        (
            'column = "image", pattern = "(.+',
            'pattern = "(.+',
            "columns.patient.column: field required",
        ),
        ('column = "image"', 'column = "name"', "t.csv: no column 'name'"),
        (">left|right)", ">lef|tright|.*)", "t.csv line 2: eye '10_left' has no meaning"),
    ],
)
def test_a_wrong_pattern_is_one_line(build, old, new, message):
    assert old in EYEPACS
    mapping = EYEPACS.replace(old, new).replace(".+_(?P<eye>lef", "(?P<eye>lef")
    with pytest.raises(DataError, match=message) as caught:
        build(mapping, "image,level\n10_left,0\n", "train/10_left.jpeg")
    assert "\n" not in str(caught.value)


PLAIN = '[columns]\nimage = "image"\npatient = "patient"\n[labels.D]\ncolumn = "D"\n'
PLAIN += "positive = [1]\nnegative = [0]\n"


def test_columns_that_nobody_asks_for_may_be_called_anything(build):
    table = ",image,patient,Note,Note,D,,\n0,a.jpg,1,x,y,1,,\n1,b.jpg,1,x,y,0,,\n"
    read, _ = build(PLAIN, table, "a.jpg", "b.jpg")
    assert read["D"].tolist() == [1, 0]
    with pytest.raises(DataError, match="line 1: two columns are named 'D'"):
        build(PLAIN, table.replace("Note,Note", "Note,D"), "a.jpg")


def test_names_are_the_same_in_either_form(build):
    mapping = PLAIN.replace('column = "D"', 'column = "Rétine"').replace("[1]", '["é"]')
    table = "image,patient,Re\u0301tine\nA\u0308.jpg,e\u0301,e\u0301\na.jpg,\u00e9,0\n"
    read, _ = build(mapping, table, "\u00c4.jpg", "a.jpg")
    assert read["patient"].tolist() == ["\u00e9", "\u00e9"]
    assert read["D"].tolist() == [1, 0]
    assert read["image"].tolist() == ["\u00c4.jpg", "a.jpg"]  # as it lies on the disk


def test_without_files_the_message_says_what_to_name(tmp_path, build):
    (tmp_path / "root").mkdir()
    (tmp_path / "m.toml").write_text(PLAIN)
    with pytest.raises(DataError, match=r"m.toml: names no file \(\[files\] tables\).*--table"):
        build_manifest("csv", tmp_path / "root", tmp_path / "out.csv", mapping=tmp_path / "m.toml")
    (tmp_path / "m.toml").write_text('[files]\ntables = ["../t.csv"]\n' + PLAIN)
    with pytest.raises(DataError, match="none of the files ../t.csv"):
        build_manifest("csv", tmp_path / "root", tmp_path / "out.csv", mapping=tmp_path / "m.toml")


@pytest.mark.parametrize("age", ["inf", "1e999", "-Infinity", "1961-05-03", "adult", "-3"])
def test_an_age_that_is_none_is_a_note_and_not_the_end(build, age):
    mapping = PLAIN.replace("[labels", 'age = "age"\n[labels')
    table = f"image,patient,age,D\na.jpg,1,nan,1\nb.jpg,2,{age},0\nc.jpg,3,50,0\n"
    read, notes = build(mapping, table, "a.jpg", "b.jpg", "c.jpg")
    assert read["age"].isna().tolist() == [True, True, False]
    assert f"1 age left out, no number of years ('{age}')" in notes


def test_a_row_that_the_next_command_would_refuse_is_named(build, tmp_path):
    table = "image,patient,D\na.jpg,1,1\nb.jpg,x\x07,0\n"
    with pytest.raises(DataError, match=r"t.csv line 3: patient .* characters .picture 'b.jpg'"):
        build(PLAIN, table, "a.jpg", "b.jpg")
    assert not os.path.exists(tmp_path / "out.csv")
