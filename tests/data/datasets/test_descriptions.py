"""A data set is one TOML file: what it must say, and that nothing else has to know of it."""

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fundus_diag
from fundus_diag.cli import main
from fundus_diag.data import manifest
from fundus_diag.data.datasets import descriptions
from fundus_diag.data.datasets.build import READERS, build
from fundus_diag.data.datasets.descriptions import dataset_facts, describe, described
from fundus_diag.data.labels import LABELS
from fundus_diag.utils.errors import DataError, UsageError

PACKAGE = Path(fundus_diag.__file__).parent


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder of descriptions: those of the project, and whatever the test puts beside them."""
    folder = tmp_path / "descriptions"
    folder.mkdir()
    for path in descriptions.descriptions_dir().glob("*.toml"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(descriptions, "descriptions_dir", lambda: folder)
    return folder


@pytest.mark.parametrize("name", described())
def test_every_description_says_what_a_reader_needs(name):
    description = describe(name)
    own = name in ("csv", "folders")  # of one's own: had already
    for key in ("title", "origin", "licence", "citation", "about", *(() if own else ("access",))):
        assert len(getattr(description, key).strip()) > 3
    if not description.verified:
        assert re.search(r"[Nn]ot (?:been )?(?:confirmed|seen)|[Oo]nly .* seen", description.notes)
    assert set(description.not_graded) <= set(LABELS)
    assert {part.reader for part in (description, *description.parts)} - {None} <= set(READERS)


TABLE_SET = """
reader = "csv"
label_choices = ["own"]
dataset = "grades"
licence = "CC0"
patient_prefix = "g-"
[files]
tables = ["train.csv"]
[columns]
image = "{id_code}.png"
patient = "id_code"
[grades]
column = "diagnosis"
values = [0, 1, 2]
"""
FOLDER_SET = """
reader = "folders"
label_choices = ["odir", "own"]
dataset = "classes"
[classes]
Catarata = "C"
Normal = "N"
[files]
extensions = [".png"]
"""
ARCHIVE_SET = """
reader = "npz"
label_choices = ["odir"]
dataset = "small"
grades = 3
[files]
archives = ["small.npz"]
[odir]
G = { grade = 2 }
"""


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_a_table_a_folder_and_an_archive_are_added_by_a_description_alone(beside, tmp_path, capsys):
    (beside / "grades.toml").write_text(TABLE_SET)
    (beside / "classes.toml").write_text(FOLDER_SET)
    (beside / "small.toml").write_text(ARCHIVE_SET)
    root = touch(tmp_path / "g", "a.png", "b.png")
    (root / "train.csv").write_text("id_code,diagnosis\na,2\nb,0\n")
    out = tmp_path / "out.csv"
    assert main(["manifest", "build", "grades", "--root", str(root), "--out", str(out)]) == 0
    assert out.read_text() == (
        "image,patient,eye,dataset,grade_0,grade_1,grade_2\n"
        "a.png,g-a,,grades,0,0,1\n"
        "b.png,g-b,,grades,1,0,0\n"
    )
    assert "licence: CC0" in capsys.readouterr().out
    root = touch(tmp_path / "c", "Catarata/1.png", "Normal/2.png")
    build("classes", root, out)
    assert out.read_text().splitlines() == [
        "image,patient,eye,dataset," + ",".join(LABELS),
        "Catarata/1.png,Catarata/1.png,,classes,0,,,1,,,,",
        "Normal/2.png,Normal/2.png,,classes,1,,,0,,,,",
    ]
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = np.zeros((3, 20, 20, 3), np.uint8)
        arrays[f"{split}_labels"] = np.arange(3)
    np.savez(tmp_path / "small.npz", **arrays)
    build("small", tmp_path, out)
    table = manifest.read_manifest(out).table
    np.testing.assert_array_equal(table["G"], [0, 0, 1] * 3)
    assert table[[x for x in LABELS if x != "G"]].isna().all(axis=None)
    assert (tmp_path / table["image"][8]).is_file()


def test_help_and_complaint_list_the_data_sets_that_are_there(beside, capsys):
    (beside / "classes.toml").write_text(FOLDER_SET)
    assert main(["manifest", "build", "--help"]) == 0
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert f"The data set: {', '.join(described())}. (required)" in text
    assert "chase_db1, classes, csv," in text
    for choices in ("classes: odir or own", "odir5k: eye or patient", "retinamnist: grade or odir"):
        assert choices in text
    assert main(["manifest", "build", "nothing", "--root", ".", "--out", "x.csv"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'nothing'" in line
    assert all(repr(name) in line for name in described())


def test_no_name_of_a_data_set_stands_in_code():
    """But for readers that are called as the description which shows their use."""
    names = [name for name in described() if name not in READERS]
    assert len(names) >= 2
    for path in [*(PACKAGE / "data").rglob("*.py"), *(PACKAGE / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said = [name for name in names if re.search(rf"\b{name}\b", node.value)]
                assert not said, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"folders"',
            '"tarot"',
            "reader 'tarot': one of csv, files, folders, npz, odir",
        ),
        ('"folders"', "[1]", r"classes.toml: reader: input should be a valid string"),
        ('reader = "folders"', "", "classes.toml: reader None"),
        ('["odir", "own"]', '"odir"', "classes.toml: label_choices: input should be a valid list"),
        ('label_choices = ["odir", "own"]', "", "classes.toml: label_choices: field required"),
        ('"folders"', '"npz"', r"classes.toml: names no file \(\[files\] archives\)"),
        (
            'Normal = "N"',
            "Normal = 7",
            "classes.Normal.0: input should be a valid string",
        ),
        (
            'Normal = "N"',
            "Normal = 7\nOther = 8\n[masks]\nMA = 1",
            "classes.Normal.0: input should be a valid string; classes.Other.0: .*; masks.MA: ",
        ),
        ("[files]", "[files", "classes.toml: not a TOML file"),
    ],
)
def test_a_wrong_description_is_one_line(beside, tmp_path, old, new, message):
    assert old in FOLDER_SET
    (beside / "classes.toml").write_text(FOLDER_SET.replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        build("classes", touch(tmp_path / "c", "Normal/2.png"), tmp_path / "out.csv")
    assert "\n" not in str(caught.value)


def test_facts_of_a_table_are_those_of_its_descriptions(beside):
    table = pd.DataFrame({"dataset": ["odir5k", "", "elsewhere", "../odir5k", "odir5k"]})
    facts = {fact.pop("name"): fact for fact in dataset_facts(table)}
    unknown = dict.fromkeys(("title", "licence", "citation"))
    assert facts == {
        "odir5k": {key: getattr(describe("odir5k"), key) for key in unknown},
        "elsewhere": unknown,
        "../odir5k": unknown,
    }
    assert dataset_facts(table[["dataset"]].iloc[1:2]) == []
    assert dataset_facts(pd.DataFrame({"image": ["a"]})) == []


def test_a_description_is_read_in_one_way(beside):
    """Whoever asks, the build or the report, hears the same of a file that is no TOML."""
    (beside / "odir5k.toml").write_text("title = ")
    with pytest.raises(DataError, match="odir5k.toml: not a TOML file") as built:
        describe("odir5k")
    with pytest.raises(DataError) as reported:
        dataset_facts(pd.DataFrame({"dataset": ["odir5k"]}))
    assert str(built.value) == str(reported.value)
    with pytest.raises(UsageError, match="no data set '../odir5k': choose from adam, "):
        describe("../odir5k")
