"""Pairs of eyes, merged tables, and what `manifest check` finds."""

import itertools

import numpy as np
import pandas as pd
import pytest

from fundus_diag.data import manifest
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


@pytest.mark.parametrize("name", ["normal", "Healthy", "NO_DR", "No finding", "正常"])
def test_no_patient_is_normal_and_diseased_at_once(name):
    """Whatever the label of no disease is called, an eye of each kind is no normal pair."""
    rows = [("a", "1", "left", 1, 0), ("b", "1", "right", 0, 1)]
    rows += [("c", "2", "left", 1, 0), ("d", "2", "right", 1, 0)]
    made = manifest.from_table(
        pd.DataFrame(rows, columns=["image", "patient", "eye", name, "cataract"])
    )
    pairs = manifest.pair_eyes(made).table
    np.testing.assert_array_equal(pairs[[name, "cataract"]], [[0, 1], [1, 0]])


@pytest.mark.parametrize(("label", "said"), [("N", 0), ("normal", 0), ("gesund", 1)])
def test_pairs_whose_labels_are_all_diseases_are_said(label, said):
    rows = [("a", "1", "left", "train", 1, 0), ("b", "2", "left", "val", 0, 1)]
    made = make(rows, f"image patient eye split {label} D")
    text = "each counts as a disease"
    assert sum(text in line for line in manifest.check_trainable(made, "patient")) == said
    assert not any(text in line for line in manifest.check_trainable(made))


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
    with pytest.raises(DataError, match="1 eyes with several .*left eye of '7': a, b.: a pair"):
        manifest.pair_eyes(make([("a", "7", "left", "", 1, 0), ("b", "7", "left", "", 1, 0)]))
    with pytest.raises(DataError, match="patient '7' has a picture of neither"):
        manifest.pair_eyes(make([("a", "7", "", "", 1, 0)]))


def save(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path
