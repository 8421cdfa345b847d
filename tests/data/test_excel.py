"""Excel files that hold more than they look: refused in one line, before memory is gone."""

import io
import tracemalloc
import zipfile

import openpyxl
import pytest

from fundus_diag.data import excel
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError

SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
CELL = '<c r="A{0}" t="inlineStr"><is><t>x</t></is></c>'


def sheet(rows, head="", beside=""):
    data = f"<sheetData>{rows}</sheetData>"
    return f"<?xml version='1.0'?>{head}<worksheet {SPACE}>{data}{beside}</worksheet>"


def write(path, worksheet, **members):
    """An .xlsx file whose first sheet, and other members, are replaced."""
    book = openpyxl.Workbook()
    book.active.append(["a", "b"])
    content = io.BytesIO()
    book.save(content)
    replaced = {"xl/worksheets/sheet1.xml": worksheet, **members}
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, replaced.get(name) or old.read(name))
    return path


def many(count, cell="<c/>"):
    return '<row r="1">' + cell * count + "</row>"


def far(count):
    return "".join(f'<row r="{k}"><c r="ZZZ{k}"><v>1</v></c></row>' for k in range(1, count))


BOMBS = {
    "cells in one row": sheet(many(300_000)),
    "cells far to the right": sheet(far(200)),
    "rows": sheet("<row/>" * 60_000),
    "rows without their number": sheet('<row r="900000000"><c r="A900000000"><v>1</v></c></row>'),
    "elements beside the rows": sheet("", beside="<x>" + "<y/>" * 200_000 + "</x>"),
    "attributes": sheet("<row " + " ".join(f'a{k}="{k}"' for k in range(400_000)) + "/>"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_too_much_is_refused_and_takes_little_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(excel, "MAX_PIECES", 50_000)
    path = write(tmp_path / "t.xlsx", BOMBS[name])
    assert path.stat().st_size < 2_000_000
    tracemalloc.start()
    with pytest.raises(DataError, match=r"t\.xlsx: more than 2 million cells or 200 MB of text"):
        read_table(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


def test_a_long_text_that_many_cells_name_is_counted_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(excel, "MAX_TEXT", 100_000)
    rows = "".join(f'<row r="{k}">{CELL.format(k)}</row>' for k in range(1, 40)).replace(
        "<t>x</t>", "<t>" + "x" * 5_000 + "</t>"
    )
    with pytest.raises(DataError, match="MB of text"):
        read_table(write(tmp_path / "t.xlsx", sheet(rows)))


def test_entities_are_refused(tmp_path):
    head = '<!DOCTYPE x [<!ENTITY e "aaaaaaaaaa"><!ENTITY f "&e;&e;&e;">]>'
    rows = f'<row r="1">{CELL.format(1)}</row>'.replace("<t>x", "<t>&f;")
    with pytest.raises(DataError, match="not a readable .xlsx file .it defines entities"):
        read_table(write(tmp_path / "t.xlsx", sheet(rows, head)))


def test_what_unpacks_to_more_than_it_may_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(excel, "MAX_UNPACKED", 2_000_000)
    path = write(tmp_path / "t.xlsx", " " * 3_000_000)
    with pytest.raises(DataError, match="3 MB unpacked, more than 2"):
        read_table(path)


def test_a_table_as_people_have_it_is_read_as_it_stands(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["image", "age", "words"])
    for k in range(300):
        book.active.append([f" {k}.jpg ", k, None if k % 2 else "left & right"])
    book.active.append([None, None, None])
    book.save(tmp_path / "t.xlsx")
    table = read_table(tmp_path / "t.xlsx")
    assert table.columns == ("image", "age", "words")
    assert table.rows == [[f"{k}.jpg", str(k), "" if k % 2 else "left & right"] for k in range(300)]
    assert table.lines == list(range(2, 302))


@pytest.mark.parametrize("piece", ["<si/>", "<si><t>x</t></si>"])
def test_texts_that_cells_refer_to_are_counted(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(excel, "MAX_PIECES", 1000)
    fine, many = (f"<sst {SPACE}>{piece * count}</sst>".encode() for count in (1000, 1001))
    excel._count("t.xlsx", io.BytesIO(fine))
    with pytest.raises(DataError, match="t.xlsx: more than 2 million cells"):
        excel._count("t.xlsx", io.BytesIO(many))
