"""Photographs of a command line: files, folders, tables, a list on stdin."""

import io
import os

import pytest

from fundus_diag.data.gather import gather
from fundus_diag.utils.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path):
    for name in ("b_left.jpg", "a/1_OS.JPG", "a/1_OD.dcm", "p7/left.png", "notes.txt", ".x.jpg",
                 ".git/x.jpg", "a/no_ending", "thumbs.db"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def rows(found):
    return found.table[["image", "patient", "eye"]].to_numpy().tolist()


def test_a_folder_is_searched_through(root):
    found = gather([root])
    assert rows(found) == [
        ["b_left.jpg", "b", "left"],
        ["a/1_OD.dcm", "1", "right"],
        ["a/1_OS.JPG", "1", "left"],
        ["a/no_ending", "", ""],
        ["p7/left.png", "p7", "left"],  # the folder is the patient's
    ]
    assert list(found.table["path"]) == [root / x for x in found.table["image"]]
    assert found.notes == ["left out: 2 files whose ending is no picture's (.txt 1, .db 1)"]


def test_files_tables_and_lists_go_together_and_nothing_counts_twice(root, monkeypatch):
    (root / "t.csv").write_text("image,patient,eye\na/1_OD.dcm,P1,right\nb_left.jpg,P2,left\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{root / 'p7/left.png'}\n\n"))
    found = gather([root / "b_left.jpg", root / "t.csv", "-", root / "p7"])
    assert rows(found) == [
        [str(root / "b_left.jpg"), "b", "left"],
        ["a/1_OD.dcm", "P1", "right"],
        [str(root / "p7/left.png"), "", "left"],
    ]
    other = root / "elsewhere"
    other.mkdir()
    (other / "t.csv").write_text("image,patient,eye\nb_left.jpg,P2,left\n")
    (path,) = gather([other / "t.csv"], image_root=root).table["path"]
    assert path == root / "b_left.jpg"


def test_what_is_not_there_is_named(root):
    (root / "empty").mkdir()
    with pytest.raises(UsageError, match="no photograph is named"):
        gather([])
    with pytest.raises(DataError, match="x.jpg, .*y.jpg: no such file or folder"):
        gather([root / "x.jpg", root, root / "y.jpg"])
    with pytest.raises(DataError, match="empty: no photograph is there"):
        gather([root / "empty"])
    odd = root / os.fsdecode(b"\xd5.jpg")
    odd.write_bytes(b"x")
    assert any("1 files whose name is not UTF-8" in note for note in gather([root]).notes)
    with pytest.raises(DataError, match=r"\\xd5.jpg: the name of the file is not UTF-8"):
        gather([odd])
    assert len(gather([root / "gone.jpg"], missing_ok=True).table) == 1
