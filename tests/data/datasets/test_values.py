"""What cells mean: words, whole numbers, ages, parts of names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_diag.data.datasets import values
from fundus_diag.data.datasets.schema import GradeRule, LabelRule, Rule
from fundus_diag.data.tables import table_of
from fundus_diag.utils.errors import DataError


def table(path, *rows):
    return table_of(path / "t.csv", ("\n".join(rows) + "\n").encode(), strict=False)


AGES = {
    "61": 61, "061": 61, "65Y": 65, "065Y": 65, "90+": 90, "65,5": 65.5, "65.5": 65.5,
    "54 years": 54, "7 y": 7, "61岁": 61, "": None, "nan": None, "NA": None, "12 months": "odd",
    "1961": "odd", "-4": "odd", "adult": "odd", "6 5": "odd", "1e2": "odd",
}  # fmt: skip


def test_ages_as_they_are_written():
    years, odd = values.ages(list(AGES))
    assert odd == [text for text, age in AGES.items() if age == "odd"]
    want = [age if isinstance(age, int | float) else np.nan for age in AGES.values()]
    np.testing.assert_array_equal(years, want)


def test_the_group_of_that_name_counts_before_the_first(tmp_path):
    text = table(tmp_path, "id", "left_10", "right_11")
    rule = Rule(column=["id"], pattern="(?P<eye>left|right)_(?P<patient>.+)")
    assert values.cells(text, rule, name="patient")[0] == ["10", "11"]
    assert (
        values.cells(text, rule, name="eye")[0] == values.cells(text, rule)[0] == ["left", "right"]
    )


@given(st.floats(0, 999, allow_nan=False).map(lambda x: round(x, 2)))
def test_any_number_of_years_is_itself(age):
    (years,), odd = values.ages([f"{age:g}"])
    assert odd == []
    assert years == pytest.approx(float(f"{age:g}"))


def test_grades_and_labels_may_be_written_in_many_ways(tmp_path):
    text = table(tmp_path, "grade,glau", "2.0,RG", "0,u", "NA,", "R1,nrg", "5,1.0")
    rule = GradeRule(column=["grade"], values=[["0", "R0"], ["1", "r1"], ["2"]],
                     not_graded=["na", "5"])  # fmt: skip
    found, _ = values.cells(text, rule)
    assert values.grades(text, rule, found) == {
        "grade_0": [0, 1, None, 0, None],
        "grade_1": [0, 0, None, 1, None],
        "grade_2": [1, 0, None, 0, None],
    }
    rule = LabelRule(column=["glau"], positive=["RG", "1"], negative=["NRG"], not_graded=["U"])
    found, _ = values.cells(text, rule)
    assert values.label(text, "G", rule, found) == [1, None, None, 0, 1]


def test_words_without_a_meaning_are_named_all_at_once(tmp_path):
    text = table(tmp_path, "x", "1", "maybe", "0", "maybe", "2")
    with pytest.raises(DataError) as caught:
        values.translated(text, "D", text.column("x"), {"1": 1.0, "0": 0.0})
    assert str(caught.value).endswith(
        "t.csv line 3: D 'maybe' has no meaning in the mapping (3 rows: 'maybe' 2, '2' 1)"
    )


def test_of_several_columns_the_first_that_is_filled_counts(tmp_path):
    text = table(tmp_path, "left,right,id", "0,,1", ",3,2", ",,3", "1,2,4")
    assert values.cells(text, Rule(column=["left", "right"]))[0] == ["0", "3", "", "1"]
    assert values.cells(text, Rule(column=["{id}_{left}.jpg", "{id}.png"]))[0] == [
        "1_0.jpg", "2.png", "3.png", "4_1.jpg",
    ]  # fmt: skip


def test_a_part_of_a_cell_may_stand_in_another_text(tmp_path):
    text = table(tmp_path, "ID", "#002", "#017", "none")
    rule = Rule(column=["ID"], pattern=r"#(\d+)", text="RET{}OD.jpg")
    assert values.cells(text, rule) == (["RET002OD.jpg", "RET017OD.jpg", ""], ["none"])
