"""Columns of a table from outside: which count, and how they are found."""

import openpyxl
import pytest

from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError


def save(folder, kind, rows):
    path = folder / f"t.{kind}"
    if kind == "csv":
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")
        return path
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_empty_columns_without_a_name_do_not_count(tmp_path, kind):
    rows = [["", "a", "", "b", "", ""], ["", "1", "", "2", "", ""], ["", "", "", "3", "", ""]]
    table = read_table(save(tmp_path, kind, rows))
    assert table.columns == ("a", "b")
    assert table.rows == [["1", "2"], ["", "3"]]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_column_that_is_not_asked_for_may_be_called_anything(tmp_path, kind):
    rows = [["", "a", "Note", "Note"], ["0", "1", "x", "y"]]
    path = save(tmp_path, kind, rows)
    table = read_table(path, strict=False)
    assert table.column("a") == ["1"]
    with pytest.raises(DataError, match="line 1: two columns are named 'Note'"):
        table.column("Note")
    with pytest.raises(DataError, match="line 1: column 1 has no name"):
        read_table(path)
    with pytest.raises(DataError, match="line 1: two columns are named 'Note'"):
        read_table(save(tmp_path, kind, [row[1:] for row in rows]))


def test_a_column_is_found_in_either_form_of_its_name(tmp_path):
    path = save(tmp_path, "csv", [["e\u0301", "x"], ["1", "2"]])
    table = read_table(path)
    assert table.has("\u00e9")
    assert table.column("\u00e9") == table.column("e\u0301") == ["1"]
    with pytest.raises(DataError, match="two columns are named"):
        read_table(save(tmp_path, "csv", [["e\u0301", "\u00e9"], ["1", "2"]]))


def test_a_manifest_is_read_in_composed_form_but_for_its_pictures(tmp_path):
    rows = [["image", "patient", "eye", "E\u0301"], ["e\u0301.jpg", "e\u0301", "left", "1"]]
    read = read_manifest(save(tmp_path, "csv", rows))
    assert read.labels == ("\u00c9",)
    assert read.table[["image", "patient"]].to_numpy().tolist() == [["e\u0301.jpg", "\u00e9"]]


def test_the_refusal_of_a_label_says_what_the_rule_is(tmp_path):
    path = save(tmp_path, "csv", [["image", "patient", "eye", "a:b"], ["x", "1", "", "1"]])
    with pytest.raises(
        DataError, match="'a:b' cannot be the name of a label: a letter, digit or _"
    ):
        read_manifest(path)
