"""Pairs of eyes, merged tables, and what `manifest check` finds."""

import itertools
import tarfile

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus_diag.data import duplicates, manifest
from fundus_diag.data.checks import check
from fundus_diag.data.merge import merge
from fundus_diag.utils.errors import DataError

NAN = np.nan


def make(rows, columns="image patient eye split N D"):
    return manifest.from_table(pd.DataFrame(rows, columns=columns.split()))


@pytest.mark.parametrize(("left", "right"), list(itertools.product((1, 0, NAN), repeat=2)))
def test_labels_of_a_pair_follow_the_rule(left, right):
    made = make(
        [("a", "1", "left", "train", left, left), ("b", "1", "right", "train", right, right)]
    )
    row = manifest.pair_eyes(made).table.iloc[0]
    eyes = {str(left), str(right)}
    n = 0 if "0" in eyes else NAN if "nan" in eyes else 1
    d = 1 if "1" in eyes else NAN if "nan" in eyes else 0
    np.testing.assert_array_equal([row["N"], row["D"]], [n, d])


def test_a_missing_eye_is_empty_and_takes_no_part():
    made = make([("b", "2", "right", "val", 1, 0), ("a", "1", "left", "train", 0, 1)])
    pairs = manifest.pair_eyes(made)
    assert pairs.labels == made.labels
    assert pairs.table.to_dict("records") == [
        {"patient": "2", "image_left": "", "image_right": "b", "split": "val", "N": 1, "D": 0},
        {"patient": "1", "image_left": "a", "image_right": "", "split": "train", "N": 0, "D": 1},
    ]


def test_age_and_sex_of_a_pair_are_those_that_are_known():
    rows = [("a", "1", "left", NAN, "", 1), ("b", "1", "right", 60.0, "male", 1)]
    rows += [("c", "2", "left", NAN, "", 1)]
    table = manifest.pair_eyes(make(rows, "image patient eye age sex D")).table
    assert table["sex"].tolist() == ["male", ""]
    np.testing.assert_array_equal(table["age"], [60, NAN])


def test_a_pair_has_the_grade_of_the_worse_eye():
    columns = "image patient eye grade_0 grade_1 grade_2"
    rows = [("a", "1", "left", 0, 1, 0), ("b", "1", "right", 1, 0, 0), ("c", "2", "left", 0, 0, 1)]
    rows += [("d", "3", "left", 0, 0, 1), ("e", "3", "right", NAN, NAN, NAN)]
    table = manifest.pair_eyes(make(rows, columns)).table
    want = [[0, 1, 0], [0, 0, 1], [NAN, NAN, NAN]]
    np.testing.assert_array_equal(table[["grade_0", "grade_1", "grade_2"]], want)


def test_two_left_eyes_or_an_unknown_eye_name_the_patient():
    with pytest.raises(DataError, match="patient '7' has two pictures of the left eye"):
        manifest.pair_eyes(make([("a", "7", "left", "", 1, 0), ("b", "7", "left", "", 1, 0)]))
    with pytest.raises(DataError, match="patient '7' has a picture of neither"):
        manifest.pair_eyes(make([("a", "7", "", "", 1, 0)]))


def save(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_merged_labels_that_one_table_lacks_stay_empty(tmp_path):
    a = save(tmp_path / "a.csv", "image,patient,eye,split,dataset,G", "a,1,,train,airogs,1")
    b = save(tmp_path / "b.csv", "image,patient,eye,age,dataset,extra,D", "b,2,left,60,odir,1,0")
    counts = merge([a, b], tmp_path / "c.csv")
    assert counts["rows"] == 2
    assert (tmp_path / "c.csv").read_text() == (
        "image,patient,eye,split,age,dataset,D,G,extra\n"
        "a,1,,train,,airogs,,1,\n"
        "b,2,left,,60,odir,0,,1\n"
    )


def test_merging_refuses_what_cannot_stand_in_one_table(tmp_path):
    head = "image,patient,eye,D"
    a = save(tmp_path / "a.csv", head, "a,1,left,1")
    same_image = save(tmp_path / "b.csv", head, "./a,2,left,1")
    same_id = save(tmp_path / "c.csv", head, "c,1,left,1")
    grades = save(tmp_path / "d.csv", "image,patient,eye,grade_0,grade_1", "d,4,left,1,0")
    out = tmp_path / "out.csv"
    for other, message in (
        (same_image, "image './a' stands in"),
        (same_id, "patient '1' stands in"),
        (grades, "grades"),
    ):
        with pytest.raises(DataError, match=message):
            merge([a, other], out)
        assert not out.exists()


def test_one_person_may_stand_in_two_tables_of_one_data_set(tmp_path):
    head = "image,patient,eye,dataset,D"
    a = save(tmp_path / "a.csv", head, "a,1,left,odir,1")
    b = save(tmp_path / "b.csv", head, "b,1,right,odir,0")
    assert merge([a, b], tmp_path / "out.csv")["rows"] == 2


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


def test_near_duplicates_are_found_and_strangers_are_not(tmp_path):
    paths = [draw(tmp_path / f"{seed}.jpg", seed) for seed in range(12)]
    paths.append(draw(tmp_path / "again.jpg", 3, quality=60, gain=0.9))
    paths.append(draw(tmp_path / "own.jpg", 5, quality=60))
    (tmp_path / "text.jpg").write_text("no picture")
    paths.append(tmp_path / "text.jpg")
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((64, 64), 90, np.uint8))
    paths += [tmp_path / "blank.png"] * 2
    patients = [str(i) for i in range(len(paths))]
    patients[13] = "5"  # another file of the same person: no warning
    assert [pair[:2] for pair in duplicates.near_pairs(paths, patients)] == [(3, 12)]


def test_blocks_do_not_change_the_pairs(tmp_path, monkeypatch):
    paths = [draw(tmp_path / f"{i}.jpg", i % 4, quality=90 - i) for i in range(10)]
    patients = [str(i) for i in range(10)]
    whole = duplicates.near_pairs(paths, patients)
    assert {pair[:2] for pair in whole} == {
        (i, j) for i, j in itertools.combinations(range(10), 2) if (j - i) % 4 == 0
    }
    monkeypatch.setattr(duplicates, "BLOCK", 3)
    assert {p[:2] for p in duplicates.near_pairs(paths, patients)} == {p[:2] for p in whole}


@pytest.mark.slow
def test_photographs_of_odir_that_stand_under_two_patients_are_found(data_dir, tmp_path):
    with tarfile.open(data_dir / "odir5k" / "images_256.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    paths = sorted((tmp_path / "images").glob("*.jpg"))
    patients = [path.name.split("_")[0] for path in paths]
    pairs = duplicates.near_pairs(paths, patients)
    # Looked at one by one: four are the same photograph, the fifth is a second shot of one eye.
    assert {(paths[i].stem, paths[j].stem) for i, j, _ in pairs} == {
        ("352_left", "973_left"),
        ("352_right", "973_right"),
        ("2487_left", "3185_left"),
        ("2487_right", "3185_right"),
        ("398_right", "668_right"),
    }
    assert duplicates.same_content(paths) == []


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
    errors, warnings = check(path, tmp_path)
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
        "1 rows with an odd age: 1 (1 rows)",
        "1 rows without a graded label: 2.jpg",
        "7 patients with one eye only: p0, p1, p4 ..",
        "label 'D' has no positive in split 'val'",
        "label 'D' has no positive in split 'test'",
    ):
        assert sum(expected in line for line in warnings) == 1, (expected, warnings)
    assert len(warnings) == 6


def test_check_finds_nothing_in_a_good_table(tmp_path):
    rows = []
    for i, split in enumerate(("train", "train", "val", "val", "test", "test")):
        draw(tmp_path / f"{i}.jpg", i)
        rows.append(f"{i}.jpg,p{i // 2},{'left' if i % 2 else 'right'},{split},60,{i % 2}")
    path = save(tmp_path / "m.csv", "image,patient,eye,split,age,D", *rows)
    assert check(path, tmp_path) == ([], [])
    with pytest.raises(DataError, match="the image root is not a folder"):
        check(path, tmp_path / "none")
