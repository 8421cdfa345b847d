import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_diag.utils.errors import SHOWN, DataError, shortened

LETTERS = st.text(st.characters(exclude_characters="'\"\\", exclude_categories=["C", "Z"]))


@pytest.mark.parametrize("text", ["a" * 5000, "it's " * 900, "\\\n\"'" * 400])
def test_a_long_text_that_is_quoted_is_named_by_its_beginning(text):
    line = str(DataError(f"t.csv line 2: age {text!r} is not a number of years (and 3 more)"))
    assert line.startswith(f"t.csv line 2: age '{repr(text)[1:50]}")
    assert line.endswith("..' is not a number of years (and 3 more)")
    assert len(line) < 2 * SHOWN + 70


@given(st.lists(LETTERS.filter(lambda x: len(x) <= SHOWN)))
def test_short_texts_and_lists_of_them_stay_as_they_are(texts):
    line = f"the run's photographs: {', '.join(map(repr, texts))}: nobody's"
    assert shortened(line) == line


def test_apostrophes_of_words_are_no_quotation_marks():
    line = "the run's rows " + "of some patients and of others " * 20 + "in a clinic's table"
    assert shortened(line) == line
