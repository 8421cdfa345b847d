"""What labels, eyes and the absence of a disease may be called."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_diag.data.labels import LABELS, eye_of, is_healthy, is_label, nfc

BEFORE = re.compile(r"\w[\w .+()/&'-]{0,63}")  # the rule of older versions, which knew no marks
names = st.text(st.sampled_from("aZ_9é黄 .+()-/&':\n\tª²Åक़") | st.characters(), max_size=66)


@given(names)
def test_without_marks_the_rule_is_the_old_one(name):
    plain = "".join(c for c in name if unicodedata.category(c) not in ("Mn", "Mc"))
    assert is_label(plain) == bool(BEFORE.fullmatch(plain))


@given(names)
def test_a_mark_within_a_word_is_a_letter(name):
    """By replacing each mark that follows a letter, digit, _ or such a mark."""
    letters = ""
    for c in name:
        within = re.search(r"\w$", letters)
        letters += "x" if unicodedata.category(c) in ("Mn", "Mc") and within else c
    assert is_label(name) == bool(BEFORE.fullmatch(letters))


@pytest.mark.parametrize(
    "name", ["मोतियाबिंद", "டயாபடிக்", "চোখ", "Re\u0301tinopathie", "กระจก", "AMD (wet)", "2+", "_x"]
)
def test_names_of_any_script_are_labels(name):
    assert is_label(name)
    assert is_label(nfc(name))


@pytest.mark.parametrize(
    "name", ["", "\u0301a", "a \u0301", "a:b", "a\n", " a", "x" * 65, "a\u202e"]
)
def test_what_no_label_is_called(name):
    assert not is_label(name)


@pytest.mark.parametrize(
    ("words", "eye"),
    [
        (("left", "LEFT", "Left", "l", "L", "OS", "os", "左", "左眼", " left "), "left"),
        (("right", "RIGHT", "r", "R", "OD", "od", "右", "右眼"), "right"),
        (("", " "), ""),
        (("both", "OU", "1", "le ft"), None),
    ],
)
def test_words_for_eyes(words, eye):
    assert {eye_of(word) for word in words} == {eye}


def test_no_disease_by_its_usual_names():
    named = ("N", "n", "Normal", "NORMAL", "healthy", "No_DR", "no-finding", "no  disease", "正常")
    assert all(map(is_healthy, named))
    assert [label for label in LABELS if is_healthy(label)] == ["N"]
    assert not any(map(is_healthy, ("", "abnormal", "NPDR", "not normal", "grade_0", "normality")))
