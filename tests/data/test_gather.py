"""Photographs of a command line: files, folders, tables, a list on stdin."""

import io
import os

import numpy as np
import pytest

from fundus_diag.data.gather import check_paths, gather
from fundus_diag.utils.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path):
    for name in ("b_left.jpg", "a/1_OS.JPG", "a/1_OD.dcm", "p7/left.png", "notes.txt", ".x.jpg",
                 ".git/x.jpg", "a/no_ending", "a/text", "thumbs.db"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a/no_ending").write_bytes(bytes(128) + b"DICM")
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
    assert found.notes == ["left out: 3 files whose ending is no picture's (.txt 1, .db 1, none 1)"]


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
        check_paths([])
    with pytest.raises(DataError, match="x.jpg, .*y.jpg: no such file or folder"):
        check_paths([root / "x.jpg", root, root / "y.jpg", "-"])
    with pytest.raises(DataError, match="empty: no photograph is there"):
        gather([root / "empty"])
    odd = root / os.fsdecode(b"\xd5.jpg")
    odd.write_bytes(b"x")
    assert any("1 files whose name is not UTF-8" in note for note in gather([root]).notes)
    with pytest.raises(DataError, match=r"\\xd5.jpg: the name of the file is not UTF-8"):
        gather([odd])
    with pytest.raises(DataError, match=r"\\xd5.jpg: the name of the file is not UTF-8"):
        check_paths([odd])
    assert len(gather([root / "gone.jpg"]).table) == 1


def test_people_eyes_and_frames_of_dicom_files_are_read_from_their_tags(tmp_path):
    pytest.importorskip("pydicom")
    from dicoms import dicom

    picture = np.zeros((20, 24, 3), np.uint8)
    one = dicom(picture, PatientID="4711", ImageLaterality="R")
    (tmp_path / "one_OS.dcm").write_bytes(one)
    four = {"NumberOfFrames": "4", "Rows": 20, "Columns": 24, "SamplesPerPixel": 3}
    four |= {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    content = dicom(4 * picture.tobytes(), PatientID="4711", Laterality="L", **four)
    (tmp_path / "scan").write_bytes(content)
    salts = []
    found = gather([tmp_path], salt=lambda: salts.append(1) or "ab" * 32)
    who = set(found.table["patient"])
    assert len(who) == 1
    assert "4711" not in str(who)
    assert found.table["image"].tolist() == ["one_OS.dcm", *(f"scan#{k}" for k in (1, 2, 3, 4))]
    assert found.table["eye"].tolist() == ["right", *["left"] * 4]  # tags before names
    assert gather([tmp_path], salt=lambda: "cd" * 32).table["patient"][0] not in who
    assert gather([tmp_path]).table["patient"].tolist()[0] == "one"  # without a salt the name
    assert gather([tmp_path / "scan#3"]).table["image"].tolist() == [str(tmp_path / "scan#3")]
    assert salts
