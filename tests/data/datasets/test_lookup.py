"""Pictures are found as tables write them: endings, case, folders, Windows' separators."""

import os
import unicodedata

import pytest

from fundus_diag.data.datasets.lookup import Lookup, stem_of
from fundus_diag.utils.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("on_disk", "named"),
    [
        ("a.jpg", "a.jpg"),
        ("a.JPG", "a.jpg"),
        ("a.jpeg", "a.png"),
        ("A.Jpg", "a"),
        ("1.1.jpg", "1.1.jpg"),
        ("1.1.jpg", "1.1"),
        ("1ffa962e-8d87..JPG", "1ffa962e-8d87."),
        ("1ffa962e-8d87..JPG", "1ffa962e-8d87..jpg"),
        ("Sub Dir/x y.png", "sub dir\\X Y.png"),
        ("regular/1/1_l1.jpg", "\\regular\\1\\1_l1.jpg"),
        ("regular/1/1_l1.jpg", "/regular/1/1_l1"),
        ("e\u0301.jpg", "\u00e9.jpg"),
        ("\u00e9.jpg", "E\u0301"),
        ("scan.dcm", "scan"),
        ("a.jpg", "./a.jpg"),
    ],
)
def test_a_name_is_found_as_the_disk_has_it(tmp_path, on_disk, named):
    touch(tmp_path, on_disk)
    assert Lookup(tmp_path).find(named) == on_disk
    assert Lookup(tmp_path, ["**"]).find(named) == on_disk
    assert Lookup(tmp_path).find("b" + named) is None


def test_the_name_itself_comes_before_what_is_like_it(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "A.JPG")
    lookup = Lookup(tmp_path)
    assert [lookup.find(x) for x in ("a.png", "a.jpg", "A.JPG")] == ["a.png", "a.jpg", "A.JPG"]
    with pytest.raises(DataError, match="'a' may be 'a.jpg' or 'a.png': name its folder and end"):
        lookup.find("a")


def test_folders_are_tried_in_their_order(tmp_path):
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg")
    lookup = Lookup(tmp_path, ["two", "one"])
    assert [lookup.find(x) for x in ("a", "b.jpg", "c")] == ["two/a.jpg", "two/b.jpg", None]


def test_anywhere_the_folders_that_agree_decide(tmp_path):
    touch(tmp_path, "0/7.jpg", "1/7.jpg", "1/deep/8.jpg", ".git/9.jpg")
    lookup = Lookup(tmp_path, ["**"])
    assert lookup.find("1/7.jpg") == "1/7.jpg"
    assert lookup.find("0\\7") == "0/7.jpg"
    assert lookup.find("8") == "1/deep/8.jpg"
    assert lookup.find("9.jpg") is None
    with pytest.raises(DataError, match="'7.jpg' may be '0/7.jpg' or '1/7.jpg'"):
        lookup.find("7.jpg")


@pytest.mark.parametrize("image", ["../a.jpg", "x/../../a.jpg", "..\\a.jpg", "", "/", "C:\\a.jpg"])
def test_nothing_outside_of_the_root_is_found(tmp_path, image):
    touch(tmp_path, "a.jpg", "root/b.jpg")
    for folders in (["."], ["**"]):
        assert Lookup(tmp_path / "root", folders).find(image) is None


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    touch(tmp_path, *(f"in/{k}.JPG" for k in range(50)))
    listed, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or real(path))
    lookup = Lookup(tmp_path, ["in"])
    assert [lookup.find(f"{k}.jpg") for k in range(50)] == [f"in/{k}.JPG" for k in range(50)]
    assert len(listed) == 2  # the root, and the folder


def test_stems():
    names = ("a/b.jpg", "a\\b.JPG", "1.1", "RET1..JPG", "x.dcm", unicodedata.normalize("NFD", "é"))
    assert [stem_of(x) for x in names] == ["b", "b", "1.1", "RET1.", "x", "e\u0301"]


def test_what_is_there_as_it_is_written_is_meant(tmp_path):
    """Also where another ending is as near, and a frame, which no folder lists."""
    lookup = Lookup(touch(tmp_path, "p/a.jpg", "p/a.JPG", "p/scan.dcm", "p/#2.jpg"), ["q", "p"])
    for name in ("a.jpg", "a.JPG", "scan.dcm#2", "#2.jpg"):
        assert lookup.find(name) == f"p/{name}"
    assert lookup.find("gone.dcm#2") is None
    assert Lookup(tmp_path / "p", ["."]).find("../p/a.jpg") is None
