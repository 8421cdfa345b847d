"""A sheet of an Excel workbook (.xlsx, .xlsm, .xls) as rows of text.

The newer kind is a zip of XML, and a small one can hold any amount: its parts are counted before
the library reads them, since that holds a whole row, or a whole list, at once. The older kind, of
before 2007, is not packed.
"""

import contextlib
import datetime
import functools
import io
import os
import re
import warnings
import zipfile
from xml.parsers import expat

from fundus_diag.utils.errors import DataError

ZIP, OLE = b"PK\3\4", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # how the two kinds begin
MAX_XLS = 50_000_000  # bytes
MAX_UNPACKED = 200_000_000  # bytes
MAX_CELLS = 2_000_000  # empty ones within rows too
MAX_TEXT = 200_000_000  # characters of all cells: many may refer to one long text
MAX_PIECES = 2**20  # rows of a sheet, as Excel has it, and texts that cells refer to
MAX_ELEMENTS = 100_000  # within one row or text, or outside of them
MAX_TAG = 4_000_000  # bytes


def is_workbook(path, content):
    """Whether a file is one of Excel's, by its content; one called so has to be.

    A .xls may be text: many programs export their tables under that name.
    """
    return content.startswith((ZIP, OLE)) or path.suffix.lower() in (".xlsx", ".xlsm")


def excel_rows(path, content, sheet=None):
    """[(line, cells)] of the rows that hold any text.

    A formula counts as the value stored beside it. A number is written as it is shown where its
    format fills it up with zeros, as in 000123; else without a fraction that is zero.

    Args:
        path: file to name in an error.
        content: of the file.
        sheet: name of the sheet; None for the first.

    Raises:
        DataError: no such file or sheet, or one that holds too much.
    """
    with _readable(path, content):
        found = _opened(path, content)
        return _counted(path, found[_chosen(path, list(found), sheet)]())


def sheets(path, content):
    """Names of a workbook's sheets of cells. Raises DataError."""
    with _readable(path, content):
        return list(_opened(path, content))


@contextlib.contextmanager
def _readable(path, content):
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a damaged file fails in a dozen ways inside the library
        kind = ".xls" if content.startswith(OLE) else ".xlsx"
        raise DataError(f"{path}: not a readable {kind} file ({type(error).__name__})") from error


def _opened(path, content):
    """{name of a sheet: function that yields its (line, cells)}."""
    return _open_xls(path, content) if content.startswith(OLE) else _open_xlsx(path, content)


def _counted(path, lines):
    """[(line, cells)] of the rows that hold any text, up to `MAX_CELLS` and `MAX_TEXT`."""
    rows, cells, text = [], 0, 0
    for line, row in lines:
        cells, text = cells + len(row), text + sum(map(len, row))
        if cells > MAX_CELLS or text > MAX_TEXT or line > MAX_PIECES:
            raise DataError(f"{path}: {_TOO_MUCH}")
        if any(row):
            rows.append((line, row))
    return rows


def _open_xlsx(path, content):
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > MAX_UNPACKED:
            raise DataError(
                f"{path}: {size / 1e6:.0f} MB unpacked, more than {MAX_UNPACKED / 1e6:.0f}"
            )
        for member in archive.infolist():
            with archive.open(member) as file:
                _count(path, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl reports missing styles: no concern here
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)

    def rows(sheet):
        sheet.reset_dimensions()  # the size that the file claims may be wrong or enormous
        for line, row in enumerate(sheet.iter_rows(), start=1):
            yield line, [_text(cell.value, getattr(cell, "number_format", "")) for cell in row]

    return {sheet.title: functools.partial(rows, sheet) for sheet in book.worksheets}


def _open_xls(path, content):
    import xlrd

    if len(content) > MAX_XLS:
        raise DataError(f"{path}: {len(content) / 1e6:.0f} MB, more than {MAX_XLS / 1e6:.0f}")
    with open(os.devnull, "w") as nowhere:  # where the library would print what it wonders about
        book = xlrd.open_workbook(file_contents=content, formatting_info=True, logfile=nowhere)

    def rows(name):
        sheet = book.sheet_by_name(name)
        for at in range(sheet.nrows):
            yield at + 1, [_xls_text(book, cell) for cell in sheet.row(at)]

    return {name: functools.partial(rows, name) for name in book.sheet_names()}


def _chosen(path, names, name):
    """The sheet's name as the workbook has it: compared without case and blanks around it."""
    if not names:
        raise DataError(f"{path}: a workbook without a sheet of cells")
    if name is None:
        return names[0]
    found = [x for x in names if x.strip().casefold() == name.strip().casefold()]
    if not found:
        raise DataError(f"{path}: no sheet {name!r} (it has {', '.join(names[:20])})")
    return found[0]


def _xls_text(book, cell):
    import xlrd

    value = cell.value
    if cell.ctype == xlrd.XL_CELL_DATE:
        value = xlrd.xldate_as_datetime(value, book.datemode)
    elif cell.ctype == xlrd.XL_CELL_BOOLEAN:
        value = bool(value)
    elif cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK, xlrd.XL_CELL_ERROR):
        value = None
    return _text(value, book.format_map[book.xf_list[cell.xf_index].format_key].format_str)


def _text(value, shown):
    """What a cell says. `shown`: its number format."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and re.fullmatch("0+", shown or ""):
        return str(value).zfill(min(len(shown), 64))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return str(value).strip()


_TOO_MUCH = (
    f"more than {MAX_CELLS // 1_000_000} million cells or {MAX_TEXT // 1_000_000} MB of text"
)


def _count(path, file):
    """Raises where a member of the archive has more rows, or more within one, than Excel writes.

    What is no XML ends the counting: the library gets no further in it.
    """
    parser = expat.ParserCreate()
    depth = pieces = elements = read = 0

    def start(name, attributes):
        nonlocal depth, pieces, elements
        depth, elements = depth + 1, elements + 1
        if depth <= 3 and name.rpartition(":")[2] in ("row", "si"):
            number = attributes.get("r", "")  # the library makes the rows that are left out
            pieces = max(pieces + 1, int(number) if number.isdecimal() else 0)
            elements = 0
        if pieces > MAX_PIECES or elements > MAX_ELEMENTS:
            raise DataError(f"{path}: {_TOO_MUCH}")

    def end(_):
        nonlocal depth
        depth -= 1

    def doctype(*_):
        raise DataError(f"{path}: not a readable .xlsx file (it defines entities)")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = doctype
    while part := file.read(2**16):
        read += len(part)
        try:
            parser.Parse(part)
        except expat.ExpatError:
            return
        if read - parser.CurrentByteIndex > MAX_TAG:
            raise DataError(f"{path}: {_TOO_MUCH}")
