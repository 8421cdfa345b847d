"""Cases of files and of tables, and their pictures as a network takes them."""

import os
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import make_photographs

from fundus_diag.runs import cases
from fundus_diag.utils.errors import DataError, UsageError


def run_over(unit):
    config = {"unit": unit, "image_size": 32, "crop": "fundus"}
    return SimpleNamespace(config=config, labels=("A", "B"), run_dir="run")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_photographs(tmp_path_factory.mktemp("cases"), patients=8)


def test_a_table_is_photographs_or_patients(manifest):
    root = manifest.parent
    found = cases.cases_of_manifest(run_over("eye"), manifest, root, "val")
    assert [(x.name, x.patient, x.images, x.paths) for x in found[:2]] == [
        ("005_left", "p5", {"left": "005_left.png"}, {"left": root / "005_left.png"}),
        ("005_right", "p5", {"right": "005_right.png"}, {"right": root / "005_right.png"}),
    ]
    found = cases.cases_of_manifest(run_over("patient"), manifest, root, "val")
    assert [(x.name, list(x.images.values())) for x in found] == [
        ("p5", ["005_left.png", "005_right.png"]),
        ("p6", ["006_left.png"]),  # the table has no right eye of this patient
        ("p7", ["007_left.png", "007_right.png"]),
    ]
    assert all(list(x.paths) == list(x.images) for x in found)


def test_what_a_run_cannot_be_asked_for_is_refused(manifest, tmp_path):
    with pytest.raises(UsageError, match="--split dev: .* has no row in it"):
        cases.cases_of_manifest(run_over("eye"), manifest, manifest.parent, "dev")
    with pytest.raises(DataError, match="a.jpg .*reads both eyes, and which eye this is nobody"):
        cases.cases_of_files(run_over("patient"), ["a.jpg"])
    (tmp_path / "m.csv").write_text("image,patient,eye\n")
    with pytest.raises(DataError, match="no row"):
        cases.cases_of_manifest(run_over("eye"), tmp_path / "m.csv", tmp_path)


def test_a_file_whose_name_is_not_utf_8_is_refused_before_it_is_read():
    files = ["a.jpg", os.fsdecode(b"x/\xd5_left.jpg")]
    with pytest.raises(DataError, match=r"^x/\\xd5_left.jpg: the name of the file is not UTF-8"):
        cases.cases_of_files(run_over("eye"), files)


def test_pictures_stand_left_before_right_and_a_missing_eye_is_masked():
    left, right, other = (np.full((32, 32, 3), value, np.float32) for value in (1, 2, 3))
    rows = [{"right": right, "left": left}, {"right": other}]
    images, mask = cases.stack_pictures(run_over("patient"), rows)
    assert images.shape == (2, 2, 32, 32, 3)
    assert images.dtype == mask.dtype == np.float32
    assert images[..., 0, 0, 0].tolist() == [[1, 2], [0, 3]]
    assert mask.tolist() == [[1, 1], [0, 1]]
    images, mask = cases.stack_pictures(run_over("eye"), [{"": left}, {"right": other}])
    assert mask is None
    assert images[:, 0, 0, 0].tolist() == [1, 3]


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "a_methods"],
        ["p", "p_left_methods"],
        ["A", "a"],
        ["\u00e9", "e\u0301"],  # the same letter, as one sign and as two
        ["a/b", "a__b"],
        ["a?", "a*"],
        ["x" * 300, "x" * 299 + "y"],
        ["x" * 140 + "1" + "x" * 140, "x" * 140 + "2" + "x" * 140],
    ],
)
def test_files_of_no_two_cases_are_alike(texts):
    names = cases._names(texts)
    files = [
        unicodedata.normalize("NFC", f"{name}{ending}").casefold()
        for name in names
        for ending in (".png", ".npz", "_methods.png", "_left_methods.png", "_right_methods.png")
    ]
    assert len(set(files)) == len(files)


@given(st.lists(st.text(max_size=200), max_size=6, unique=True))
@settings(max_examples=150, deadline=None)
@example(["眼" * 90])
def test_names_of_files_fit_any_file_system(texts):
    names = cases._names(texts)
    assert len({x.casefold() for x in names}) == len(names)
    for name in names:
        longest = f".partial-4194304-{name}_right_methods.png".encode("utf-8", "surrogatepass")
        assert len(longest) <= 255
        assert not set(name) & set('/\\:*?"<>|\0\n\t')


def test_short_names_stay_and_titles_are_as_the_table_has_them(manifest, tmp_path):
    assert cases._names(["1_left", "0004_黄斑", "a b"]) == ["1_left", "0004_黄斑", "a b"]
    long = "1.2.840." + "9" * 300
    found = cases.cases_of_files(run_over("eye"), [f"/x/{long}.jpg", "/x/黄斑?.jpg"])
    assert [x.title for x in found] == [long, "黄斑?"]
    assert found[0].name.startswith("1.2.840.99")
    assert len(found[0].name) <= 150
    assert found[1].name == "黄斑_"
