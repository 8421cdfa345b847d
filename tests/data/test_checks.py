"""What `manifest check` finds in the photographs of a table."""

import itertools
import re
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from fundus_diag.data import duplicates
from fundus_diag.data.checks import check
from fundus_diag.utils.errors import DataError


def save(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def draw(path, seed, size=200, shift=0, quality=95, gain=1.0):
    """A disc with vessels of its own; `shift` in px and `gain` make another shot of one eye."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size, size, 3), np.uint8)
    cv2.circle(picture, (size // 2, size // 2), size // 2 - 4, (40, 80, 190), -1)
    for _ in range(12):
        points = np.cumsum(rng.normal(0, 14, (9, 2)), axis=0) + rng.uniform(40, size - 40, 2)
        points = (points + shift).astype(np.int32)
        cv2.polylines(picture, [points], False, (20, 30, 120), 3, cv2.LINE_AA)
    picture = np.clip(picture * gain, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def near_pairs(paths, patients):
    """Of files, each taken for another content where nothing else is said."""
    pictures = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths]
    small = [duplicates.thumbnail(picture) for picture in pictures]
    return duplicates.near_pairs(small, patients, range(len(paths)))


def test_near_duplicates_are_found_and_strangers_are_not(tmp_path):
    paths = [draw(tmp_path / f"{seed}.jpg", seed) for seed in range(12)]
    paths.append(draw(tmp_path / "again.jpg", 3, quality=60, gain=0.9))
    paths.append(draw(tmp_path / "own.jpg", 5, quality=60))
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((64, 64), 90, np.uint8))
    paths += [tmp_path / "blank.png"] * 2
    patients = [str(i) for i in range(len(paths))]
    patients[13] = "5"  # another file of the same person: no warning
    assert [pair[:2] for pair in near_pairs(paths, patients)] == [(3, 12)]


def test_blocks_do_not_change_the_pairs(tmp_path, monkeypatch):
    paths = [draw(tmp_path / f"{i}.jpg", i % 4, quality=90 - i) for i in range(10)]
    patients = [str(i) for i in range(10)]
    whole = near_pairs(paths, patients)
    assert sorted((j - i) % 4 for i, j, _ in whole) == [0] * 6  # 3, 3, 2 and 2 alike
    for block in (1, 3):
        monkeypatch.setattr(duplicates, "BLOCK", block)
        assert {p[:2] for p in near_pairs(paths, patients)} == {p[:2] for p in whole}


def test_pairs_are_the_likest_ones_that_hold_together_all_who_agree():
    """Against all pairs, from the likest on, each where it joins what was apart."""
    rng = np.random.default_rng(1)
    views = rng.normal(size=(4, 1024))[rng.integers(0, 4, 40)] + rng.normal(0, 0.2, (40, 1024))
    views = (views / np.linalg.norm(views, axis=1, keepdims=True)).astype("float32")
    patients = [str(k) for k in rng.integers(0, 9, 40)]
    found = duplicates.near_pairs(list(views), patients, range(40))
    group, expected = list(range(40)), []
    pairs = [(views[i] @ views[j], i, j) for j in range(40) for i in range(j)]
    for likeness, i, j in sorted(pairs, reverse=True):
        if patients[i] != patients[j] and likeness >= duplicates.NEAR and group[i] != group[j]:
            group = [group[i] if x == group[j] else x for x in group]
            expected.append((i, j))
    assert len(expected) > 20
    assert sorted(pair[:2] for pair in found) == sorted(expected)
    assert [pair[2] for pair in found] == sorted((pair[2] for pair in found), reverse=True)


def test_thousands_of_files_that_nearly_agree_are_as_many_pairs_not_millions():
    rng = np.random.default_rng(0)
    views = 1 + 0.1 * rng.normal(size=(3000, 64))
    views = (views / np.linalg.norm(views, axis=1, keepdims=True)).astype("float32")
    patients = [str(k) for k in range(3000)]
    found = duplicates.near_pairs(list(views), patients, range(3000))
    assert len(found) == 2999
    assert {k for i, j, _ in found for k in (i, j)} == set(range(3000))


def test_who_agrees_through_another_hangs_together(tmp_path):
    """0 and 2 agree with 1 and not with each other: neither may be left out."""
    angles = np.deg2rad([0, 18, 40])  # cosines .951, .927, .766
    views = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2)):
        found = duplicates.near_pairs([views[k] for k in order], list("abc"), range(3))
        names = {frozenset((order[i], order[j])) for i, j, _ in found}
        assert names == {frozenset((0, 1)), frozenset((1, 2))}


def test_of_equal_files_one_is_compared_for_all():
    """Against all pairs of files: each pair of contents that strangers share is named once."""
    rng = np.random.default_rng(0)
    views = rng.normal(size=(6, 1024))
    views[3:] = views[:3] + 0.1 * rng.normal(size=(3, 1024))
    views = (views / np.linalg.norm(views, axis=1, keepdims=True)).astype("float32")
    contents = rng.integers(0, 6, 60)
    patients = np.where(contents % 3 == 1, "one", rng.integers(0, 3, 60).astype(str))
    found = duplicates.near_pairs(views[contents], list(patients), list(contents))
    expected = {
        frozenset((contents[i], contents[j]))
        for i, j in itertools.combinations(range(60), 2)
        if contents[i] != contents[j] and patients[i] != patients[j]
        if views[contents[i]] @ views[contents[j]] >= duplicates.NEAR
    }
    assert expected == {frozenset((0, 3)), frozenset((2, 5))}  # 1 and 4 are one patient's
    assert len(found) == 2
    assert {frozenset((contents[i], contents[j])) for i, j, _ in found} == expected
    for i, j, alike in found:
        assert i < j
        assert patients[i] != patients[j]
        assert alike == pytest.approx(views[contents[i]] @ views[contents[j]], abs=1e-6)


def test_thousands_of_equal_files_are_no_more_than_one_picture():
    view = np.full(1024, 1 / 32, np.float32)
    patients = [str(k) for k in range(20_000)]
    assert duplicates.near_pairs([view] * 20_000, patients, ["same"] * 20_000) == []


@pytest.mark.slow
def test_photographs_of_odir_that_stand_under_two_patients_are_found(data_dir, tmp_path):
    with tarfile.open(data_dir / "odir5k" / "images_256.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    names = sorted(path.name for path in (tmp_path / "images").glob("*.jpg"))
    rows = [f"images/{name},{name.split('_')[0]},left,train,1" for name in names]
    path = save(tmp_path / "m.csv", "image,patient,eye,split,D", *rows)
    _, errors, warnings, _ = check(path, tmp_path)
    assert errors == []  # no two files are equal
    # Looked at one by one: four are the same photograph, the fifth is a second shot of one eye.
    found = [re.findall(r"images/(\w+)\.jpg", x) for x in warnings if "nearly the same" in x]
    assert sorted(found) == [
        ["2487_left", "3185_left"],
        ["2487_right", "3185_right"],
        ["352_left", "973_left"],
        ["352_right", "973_right"],
        ["398_right", "668_right"],
    ]


def test_check_tells_errors_from_warnings(tmp_path):
    for i in range(6):
        draw(tmp_path / f"{i}.jpg", i)
    (tmp_path / "6.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    draw(tmp_path / "7.jpg", 1, quality=50)
    (tmp_path / "text.jpg").write_text("no picture")
    rows = [
        "0.jpg,p0,left,train,50,1,0",
        "1.jpg,p1,left,train,1,0,1",
        "2.jpg,p2,left,val,50,,",
        "3.jpg,p2,right,val,50,1,0",
        "4.jpg,p3,left,train,50,1,0",
        "5.jpg,p3,right,test,50,1,0",
        "6.jpg,p4,left,train,50,1,0",
        "7.jpg,p5,left,train,50,1,0",
        "text.jpg,p6,left,train,50,1,0",
        "gone.jpg,p7,left,train,50,1,0",
        "0.jpg,p0,left,train,50,1,0",
        "../x.jpg,p8,left,train,50,1,0",
    ]
    path = save(tmp_path / "m.csv", "image,patient,eye,split,age,N,D", *rows)
    _, errors, warnings, _ = check(path, tmp_path)
    for expected in (
        "line 7: patient 'p3' stands in 'train' (line 6) and in 'test'",
        "line 12: image '0.jpg' stands already on line 2",
        "line 13: image '../x.jpg' leaves the image root",
        "gone.jpg: no such file",
        "text.jpg: ",
        "the same picture under two patients: 0.jpg (patient p0), 6.jpg (patient p4)",
    ):
        assert sum(expected in line for line in errors) == 1, (expected, errors)
    assert len(errors) == 6
    for expected in (
        "1.jpg (patient p1) and 7.jpg (patient p5)",
        "1 row with an odd age: 1 (1 row)",
        "1 row without a graded label: 2.jpg",
        "7 patients with one eye only: p0, p1, p4 ..",
        "label 'D' has no positive in split 'val'",
        "label 'D' has no positive in split 'test'",
    ):
        assert sum(expected in line for line in warnings) == 1, (expected, warnings)
    assert len(warnings) == 6


def test_photographs_that_show_nothing_and_12_bits_in_16_are_named(tmp_path):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 2**12, (80, 90, 3), np.uint16)
    files = {
        "fine.png": rng.integers(0, 255, (80, 90, 3), np.uint8),
        "wide.png": wide << 4,
        "black.png": np.zeros((80, 90, 3), np.uint8),
        "white.png": np.full((80, 90), 255, np.uint8),
        "12.png": wide,
        "12.tif": wide[..., 0],
        "14.png": wide << 2,
        "black16.png": np.zeros((80, 90), np.uint16),
    }
    for name, pixels in files.items():
        cv2.imwrite(str(tmp_path / name), pixels)
    rows = [f"{x},p,left,train,{k % 2}" for k, x in enumerate(files)]
    path = save(tmp_path / "m.csv", "image,patient,eye,split,D", *rows)
    _, errors, warnings, _ = check(path, tmp_path)
    assert errors == []
    for expected in (
        "photographs that show nothing (black, white or of one colour) (3): black.png, white.png",
        "photographs that hold 12 bits in 16 and so are nearly black (2): 12.png, 12.tif",
        "photographs that hold 14 bits in 16 and so are nearly black (1): 14.png",
    ):
        assert sum(expected in line for line in warnings) == 1, (expected, warnings)


def test_many_equal_files_are_one_line(tmp_path):
    draw(tmp_path / "0.jpg", 0)
    for k in range(1, 60):
        (tmp_path / f"{k}.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    rows = [f"{k}.jpg,p{k},left,train,1" for k in range(60)]
    _, errors, *_ = check(save(tmp_path / "m.csv", "image,patient,eye,split,D", *rows), tmp_path)
    assert len(errors) == 1
    assert "60 files" in errors[0]
    assert "19.jpg (patient p19) .." in errors[0]


def test_check_reads_each_file_once(tmp_path, monkeypatch):
    """A file that is gone as soon as it has been read is not missed."""
    draw(tmp_path / "0.jpg", 0)
    (tmp_path / "1.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    draw(tmp_path / "2.jpg", 0, quality=60)
    cv2.imwrite(str(tmp_path / "3.tif"), cv2.imread(str(draw(tmp_path / "x.jpg", 3))))
    (tmp_path / "4.jpg").write_text("no picture")
    rows = [f"{name},p{name[0]},left,train,1" for name in ("0.jpg", "1.jpg", "2.jpg", "3.tif")]
    rows.append("4.jpg,p4,left,train,0")
    path = save(tmp_path / "m.csv", "image,patient,eye,split,D", *rows)
    expected = check(path, tmp_path)[1:3]
    # Text and equal files; near files, lone eyes, and that no patient has two pictures.
    assert [len(x) for x in expected] == [2, 3]
    read, read_bytes = [], Path.read_bytes

    def once(self):
        content = read_bytes(self)
        if self != path:
            read.append(self.name)
            self.unlink()
        return content

    monkeypatch.setattr(Path, "read_bytes", once)
    assert check(path, tmp_path)[1:3] == expected
    assert sorted(read) == ["0.jpg", "1.jpg", "2.jpg", "3.tif", "4.jpg"]


@pytest.mark.parametrize("notes", ["", ",notes"])
def test_check_takes_a_table_without_labels(tmp_path, notes):
    """`predict` and `pretrain` do."""
    for i in range(2):
        draw(tmp_path / f"{i}.jpg", i)
    more = ",good" if notes else ""
    rows = [f"0.jpg,p,left{more}", f"1.jpg,p,right{more}", f"2.jpg,q,x{more}"]
    path = save(tmp_path / "m.csv", f"image,patient,eye{notes}", *rows)
    _, errors, warnings, _ = check(path, tmp_path)
    assert errors == [
        f"{path} line 4: eye 'x' is not one of left, right, nothing",
        f"{path}: 2.jpg: no such file under {tmp_path}",
    ]
    assert [line for line in warnings if "one eye only" not in line] == [
        f"{path}: no label: `predict` and `pretrain` take it, `train` does not"
    ]
    rows = [f"{row},{k}" for k, row in enumerate(("0.jpg,p,left", "1.jpg,p,right"), start=1)]
    path = save(tmp_path / "m.csv", "image,patient,eye,D", *rows)
    assert check(path, tmp_path).errors == [f"{path} line 3: label 'D' is '2', not 1, 0 or nothing"]


def test_check_finds_nothing_in_a_good_table(tmp_path):
    rows = []
    for i, split in enumerate(("train", "train", "val", "val", "test", "test")):
        draw(tmp_path / f"{i}.jpg", i)
        rows.append(f"{i}.jpg,p{i // 2},{'left' if i % 2 else 'right'},{split},60,{i % 2}")
    path = save(tmp_path / "m.csv", "image,patient,eye,split,age,D", *rows)
    assert check(path, tmp_path)[1:3] == ([], [])
    with pytest.raises(DataError, match="the image root is not a folder"):
        check(path, tmp_path / "none")


def test_one_picture_under_two_labels_is_an_error_that_shows_both(tmp_path):
    for name, seed in (("a.jpg", 0), ("b.jpg", 0), ("c.jpg", 1), ("d.jpg", 1)):
        draw(tmp_path / name, seed)
    rows = ["a.jpg,p,left,1,", "b.jpg,p,left,0,1", "c.jpg,q,left,1,1", "d.jpg,q,left,,1"]
    path = save(tmp_path / "m.csv", "image,patient,eye,D,G", *rows)
    _, errors, warnings, _ = check(path, tmp_path)
    assert errors == [f"{path}: the same picture under two labels: a.jpg (D 1), b.jpg (D 0)"]
    assert sum("the same picture twice" in line for line in warnings) == 2  # not graded is no label
