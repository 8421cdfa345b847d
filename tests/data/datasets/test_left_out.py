"""Names of folders and pictures: what a build takes, what it leaves out and says so."""

import os
import unicodedata

import pytest

from fundus_diag.cli import main
from fundus_diag.data import manifest
from fundus_diag.data.datasets.build import build as build_manifest
from fundus_diag.utils.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def build(root, mapping=None, **options):
    if mapping:
        (root.parent / "map.toml").write_text(mapping, "utf-8")
        options["mapping"] = root.parent / "map.toml"
    out = root.parent / "out.csv"
    made = build_manifest("folders", root, out, **options)
    return manifest.read_manifest(out).table, made


PAIRS = [
    ("12_left", "12_right"), ("12_LEFT", "12_RIGHT"), ("12_Left", "12_right"), ("12-l", "12-R"),
    ("12_OD", "12_OS"), ("12OD", "12os"), ("12 L", "12 R"), ("12.left", "12.right"),
    ("12左", "12右"), ("12_左眼", "12_右眼"), ("RET002OD", "RET002OS"), ("é_l", "e\u0301_r"),
]  # fmt: skip


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("ending", ["jpg", "JPG"])
def test_both_eyes_of_a_person_are_one_patient(tmp_path, names, ending):
    root = touch(tmp_path / "eyes", f"normal/{names[0]}.{ending}", f"cataract/{names[1]}.{ending}")
    table, made = build(root)
    assert table["patient"].nunique() == 1
    assert set(table["eye"]) == {"left", "right"}
    first = table.set_index("image").loc[f"normal/{names[0]}.{ending}", "eye"]
    assert first == ("right" if names[0].upper().endswith("OD") else "left")
    assert made["notes"] == []


@pytest.mark.parametrize("name", ["12", "model", "12L", "left", "12_left_2", "period", "l", "_od"])
def test_a_name_that_tells_of_no_eye_is_a_patient_of_its_own(tmp_path, name):
    root = touch(tmp_path / "eyes", f"normal/{name}.jpg", "normal/7_left.jpg", "normal/7_right.jpg")
    table, made = build(root)
    (row,) = table[table["image"] == f"normal/{name}.jpg"].to_dict("records")
    assert (row["patient"], row["eye"]) == (row["image"], "")
    assert made["notes"][0].startswith("1 of 3 pictures are patients of their own")


def test_an_older_mapping_reads_eyes_in_any_case_and_by_any_word(tmp_path):
    root = touch(tmp_path / "eyes", "a/12_LEFT.jpg", "a/12_right.jpg", "b/0_x.jpg")
    old = '[classes]\na = "N"\nb = "D"\n[files]\nname = "(?P<patient>.+)_(?P<eye>left|right)"\n'
    table, _ = build(root, old)
    assert table["patient"].tolist() == ["12", "12", "b/0_x.jpg"]
    with pytest.raises(DataError, match="map.toml: 'b/0_x.jpg': eye 'x' is no word for an eye"):
        build(root, old.replace("left|right", ".+"))


def test_every_file_that_is_left_out_is_counted_with_an_example(tmp_path):
    root = touch(
        tmp_path / "eyes",
        "normal/1_left.jpg", "normal/1_right.jpg", "normal/2.webp", "normal/3.GIF", "normal/4",
        "normal/visit/5.jpg", "normal/visit/deep/6.jpg", "normal/x.jpg/7.jpg",
        "train/cataract/8_l.jpg", "train/cataract/8_r.jpg", "train/other/9.jpg", "train/10.jpg",
        "other/11.jpg", "other/12.jpg", "readme.txt", "normal/.hidden.jpg", "normal/Thumbs.db",
        "__MACOSX/._1.jpg", ".git/x.jpg", "normal/visit/Thumbs.db", "other/.secret/x.jpg",
        "normal/\x07.jpg", "empty/.keep",
    )  # fmt: skip
    (root / os.fsdecode(b"normal/\xd5\xc5_left.jpg")).write_bytes(b"x")
    table, made = build(root)
    assert sorted(table["image"]) == [
        "normal/1_left.jpg", "normal/1_right.jpg", "train/cataract/8_l.jpg",
        "train/cataract/8_r.jpg",
    ]  # fmt: skip
    assert sorted(made["notes"]) == [
        "left out: 1 files whose path is not UTF-8 ('normal/\\xd5\\xc5_left.jpg')",
        "left out: 1 files whose path is not the path of a file ('normal/\\x07.jpg')",
        "left out: 2 files in no folder of a class ('readme.txt')",
        "left out: 3 files in folders inside a class ('normal/visit/5.jpg')",
        "left out: 3 files in folders that stand for no class ('other/11.jpg')",
        "left out: 3 files whose ending is not in [files] extensions "
        "('normal/2.webp': .webp 1, .gif 1, none 1)",
    ]
    assert len(table) + 13 == sum(
        len([name for name in names if not name.startswith(".") and name != "Thumbs.db"])
        for folder, _, names in os.walk(root)
        if "/." not in folder.removeprefix(str(root))
    )


def test_where_all_is_left_out_the_error_says_why(tmp_path, capsys):
    (tmp_path / "eyes" / "normal").mkdir(parents=True)
    (tmp_path / "eyes" / os.fsdecode(b"normal/\xd5_left.jpg")).write_bytes(b"x")
    flags = ["--root", str(tmp_path / "eyes"), "--out", str(tmp_path / "out.csv")]
    assert main(["manifest", "build", "folders", *flags]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert r"no row is left (left out: 1 files whose path is not UTF-8 ('normal/\xd5_left" in line


def test_accents_in_either_form_name_the_class(tmp_path):
    name = "Rétinopathie"
    for at, on_disk in enumerate(("NFC", "NFD")):
        for written in ("NFC", "NFD"):
            root = touch(
                tmp_path / f"{at}{written}",
                f"{unicodedata.normalize(on_disk, name)}/1_l.jpg", "Normal/1_r.jpg",
            )  # fmt: skip
            mapping = f'[classes]\n"{unicodedata.normalize(written, name)}" = "D"\nnormal = "N"\n'
            table, made = build(root, mapping + "[files]\nname = '(?P<patient>.+)_(?P<eye>l|r)'\n")
            assert sorted(table["D"]) == [0, 1]
            assert made["notes"] == []


def test_a_patient_that_is_only_blanks_is_no_patient(tmp_path):
    root = touch(tmp_path / "eyes", "normal/ _left.jpg", "cataract/1_left.jpg")
    table, _ = build(root)
    assert table["patient"].tolist() == ["1", "normal/ _left.jpg"]


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    root, real = touch(tmp_path / "eyes", "normal/1.jpg", "cataract/2.jpg"), os.scandir

    def scandir(path):
        if str(path).endswith("cataract"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="eyes/cataract: cannot be read: Permission denied"):
        build(root)
    (root / "cataract").rename(root / "not_a_cataract")
    table, made = build(root)
    assert len(table) == 1
    assert (
        made["notes"][0] == "left out: 1 files in folders that may not be read ('not_a_cataract')"
    )


def test_a_patient_in_the_folders_of_two_splits_is_named_by_both_pictures(tmp_path):
    root = touch(tmp_path / "eyes", "train/normal/1_left.jpg", "test/normal/1_right.jpg")
    with pytest.raises(DataError) as caught:
        build(root)
    first, second = "test/normal/1_right.jpg", "train/normal/1_left.jpg"
    assert str(caught.value) == (
        f"{root} picture '{second}': patient '1' stands in 'test' (picture '{first}') and in "
        f"'train' (picture '{second}')"
    )


HEALTHY = 'healthy = "gesund"\n[classes]\ngesund = "gesund"\nstar = "C"\n[files]\n'


def test_the_label_of_no_disease_is_declared(tmp_path):
    root = touch(tmp_path / "eyes", "gesund/1_l.jpg", "star/1_r.jpg")
    table, _ = build(root, HEALTHY)
    assert table[["N", "C"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    table, _ = build(root, HEALTHY.replace("gesund", "healthy", 1).replace("healthy =", "title ="))
    assert "gesund" in table
    for old, new, message in (
        ('"C"', '"N"', "healthy = 'gesund', and N is a label too"),
        ('healthy = "gesund"', 'healthy = "G"', "healthy = 'G' is none of the labels"),
    ):
        with pytest.raises(DataError, match=message):
            build(root, HEALTHY.replace(old, new))
