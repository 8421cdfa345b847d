"""Tables as hospitals and researchers keep them: encodings, delimiters, sheets, headers."""

import datetime
from pathlib import Path

import openpyxl
import pytest

from fundus_diag.data.tables import Form, read_table
from fundus_diag.utils.errors import DataError

ROWS = [["name", "眼", "patient"], ["a 1.jpg", "左", "007"], ["é.jpg", "右", "008"]]


def text(rows, delimiter=","):
    return "\n".join(delimiter.join(row) for row in rows) + "\n"


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        ("utf-8", Form()),
        ("utf-8-sig", Form()),
        ("utf-16", Form()),  # a byte order mark says so, whatever the form says
        ("utf-16", Form(encoding="gbk")),
        ("utf-16-le", Form(encoding="utf-16-le")),
        ("gb18030", Form(encoding="gb18030")),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_an_encoding_and_a_delimiter_are_said(tmp_path, encoding, form, delimiter):
    path = tmp_path / "t.csv"
    path.write_bytes(text(ROWS, delimiter).encode(encoding))
    table = read_table(path, form=Form(delimiter, form.encoding))
    assert [list(table.columns), *table.rows] == ROWS
    assert table.lines == [2, 3]


def test_another_encoding_than_said_names_the_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(text(ROWS).encode("gb18030"))
    with pytest.raises(DataError, match="t.csv line 1: not UTF-8 text"):
        read_table(path)
    path.write_bytes("a,b\n1,é\n".encode("latin-1"))
    with pytest.raises(DataError, match="t.csv line 2: not UTF-8 text"):
        read_table(path)
    assert read_table(path, form=Form(encoding="latin-1")).rows == [["1", "é"]]


def test_blanks_part_a_table_without_a_header(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("007-0004-000.jpg 0\n\n007-0008-100.jpg\t 4 \n")
    table = read_table(path, form=Form("blanks", header=()))
    assert table.columns == ("1", "2")
    assert table.rows == [["007-0004-000.jpg", "0"], ["007-0008-100.jpg", "4"]]
    assert table.lines == [1, 3]


FILES = Path(__file__).parent / "files"  # as xlwt 1.3 wrote the same cells


def sheet(rows, path, name="Sheet1", formats=()):
    """A workbook of one sheet before which another stands; `formats`: {(row, column): format}."""
    book = openpyxl.Workbook()
    book.active.title = "cover"
    book.active.append(["x"])
    made = book.create_sheet(name)
    for i, row in enumerate(rows, start=1):
        for k, cell in enumerate(row, start=1):
            made.cell(i, k, cell)
            if (i - 1, k - 1) in dict(formats):
                made.cell(i, k).number_format = dict(formats)[i - 1, k - 1]
    book.save(path)
    return path


@pytest.mark.parametrize("ending", [".xlsx", ".xlsm", ".xls"])
def test_a_sheet_with_a_title_and_two_header_rows(tmp_path, ending):
    rows = [
        ["Clinical data of 2019", None, None, None],
        [None, None, None, None],
        ["ID", "Refraction", "Age", "Glaucoma"],
        [None, "dioptre", None, None],
        ["#002", -1.5, 61.0, 0],
        ["#004", 2, 47, 1],
    ]
    path = FILES / "headers.xls"
    if ending != ".xls":
        path = sheet(rows, tmp_path / f"t{ending}", "Patients ")
    table = read_table(path, form=Form(sheet="patients", header=(3, 4)))
    assert table.columns == ("ID", "Refraction dioptre", "Age", "Glaucoma")
    assert table.rows == [["#002", "-1.5", "61", "0"], ["#004", "2", "47", "1"]]
    assert table.lines == [5, 6]
    with pytest.raises(DataError, match=r"no sheet 'eyes' \(it has cover, Patients ?\)"):
        read_table(path, form=Form(sheet="eyes"))
    with pytest.raises(DataError, match="no text on line 2, where the header is said to stand"):
        read_table(path, form=Form(sheet="patients", header=(2,)))
    with pytest.raises(DataError, match="no text on line 9"):
        read_table(path, form=Form(sheet="patients", header=(9,)))


@pytest.mark.parametrize("ending", [".xlsx", ".xls"])
def test_numbers_of_a_sheet_are_as_they_are_shown(tmp_path, ending):
    rows = [
        ["patient", "visit", "yes", "empty", "part"],
        [7, datetime.date(2019, 5, 3), True, None, 0.25],
        [123456789012, datetime.date(2020, 1, 1), False, None, 3.0],
    ]
    path = FILES / "numbers.xls"
    if ending != ".xls":
        path = sheet(rows, tmp_path / f"t{ending}", formats={(1, 0): "000000"})
    table = read_table(path, form=Form(sheet="Sheet1"))
    assert table.rows[0][:3] == ["000007", "2019-05-03", "True"]
    assert table.rows[1][0] == "123456789012"
    assert [row[-1] for row in table.rows] == ["0.25", "3"]


def test_remarks_beside_a_sheet_are_nobodys_columns(tmp_path):
    rows = [["image", "D"], ["a.jpg", 1, None, "ask again"], ["b.jpg", 0]]
    path = sheet(rows, tmp_path / "t.xlsx")
    table = read_table(path, strict=False, form=Form(sheet="Sheet1"))
    assert table.rows == [["a.jpg", "1"], ["b.jpg", "0"]]
    with pytest.raises(DataError, match="line 2: 4 cells where the header names 2 columns"):
        read_table(path, form=Form(sheet="Sheet1"))


def test_what_is_called_xls_may_be_text_and_a_damaged_one_is_one_line(tmp_path):
    path = tmp_path / "t.xls"
    path.write_text(text(ROWS), "utf-8")
    assert read_table(path).columns == tuple(ROWS[0])
    whole = (FILES / "headers.xls").read_bytes()
    for content in (whole[:600], whole[:8] + bytes(2000), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="t.xls: (not a readable .xls file|no|the table)") as e:
            read_table(path)
        assert "\n" not in str(e.value)
    path.write_bytes(sheet(ROWS, tmp_path / "u.xlsx").read_bytes())
    assert read_table(path, form=Form(sheet="Sheet1")).columns == tuple(ROWS[0])
