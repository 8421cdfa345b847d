"""Whose eye a photograph shows, by its name."""

import pytest

from fundus_diag.data.names import patient_pattern, who
from fundus_diag.utils.errors import UsageError

TOLD = {
    "123_left": ("123", "left"),
    "123-OD": ("123", "right"),
    "123 L": ("123", "left"),
    "RET002OD": ("RET002", "right"),
    "007.right": ("007", "right"),
    "12左": ("12", "left"),
    "王_右眼": ("王", "right"),
    "OD_123": ("123", "right"),
    "123_left_2": ("123", "left"),
    "left": ("", "left"),
    "IMG_0001": ("", ""),
    "model": ("", ""),
    "12L": ("", ""),
    "left_right": ("left", "right"),
    "a_left_b_right_c": ("", ""),
}


@pytest.mark.parametrize("stem", TOLD)
def test_common_forms_are_known(stem):
    assert who(stem) == TOLD[stem]


def test_a_pattern_of_ones_own_is_searched_for():
    pattern = patient_pattern(r"P(?P<patient>\d+)-(?P<eye>[od]s|od)")
    assert who("2019-P17-os-b", pattern) == ("17", "left")
    assert who("P17_left", pattern) == ("", "")
    assert who("visit_17_L", patient_pattern(r"_(?P<patient>\d+)_")) == ("17", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [("(", "not a regular expression"), (r"(\d+)_(left)", "no group is called patient or eye")],
)
def test_a_pattern_that_cannot_be_taken_is_one_line(text, message):
    with pytest.raises(UsageError, match=message):
        patient_pattern(text)
