"""The first sheet of an .xlsx file as rows of text.

Such a file is a zip of XML, and a small one can hold any amount: its parts are counted before the
library reads them, since that holds a whole row, or a whole list, at once.
"""

import io
import warnings
import zipfile
from xml.parsers import expat

from fundus_diag.utils.errors import DataError

MAX_UNPACKED = 200_000_000  # bytes
MAX_CELLS = 2_000_000  # empty ones within rows too
MAX_TEXT = 200_000_000  # characters of all cells: many may refer to one long text
MAX_PIECES = 2**20  # rows of a sheet, as Excel has it, and texts that cells refer to
MAX_ELEMENTS = 100_000  # within one row or text, or outside of them
MAX_TAG = 4_000_000  # bytes


def excel_rows(path, content):
    """Yields (line, cells); a formula counts as the value stored beside it.

    Raises:
        DataError: no such file, or one that holds too much.
    """
    try:
        lines = _read(path, content)
    except DataError:
        raise
    except Exception as error:  # a damaged archive fails in a dozen ways inside the library
        raise DataError(f"{path}: not a readable .xlsx file ({type(error).__name__})") from error
    width = None
    for line, cells in lines:
        used = max((at + 1 for at, cell in enumerate(cells) if cell), default=0)
        if used:
            width = width or used  # empty columns behind the header's last name do not count
            yield line, (cells + [""] * width)[: max(width, used)]


def _read(path, content):
    """[(line, cells)] of the rows that hold any text."""
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
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # the size that the file claims may be wrong or enormous
        rows, cells, text = [], 0, 0
        for line, values in enumerate(sheet.iter_rows(values_only=True), start=1):
            row = ["" if value is None else str(value).strip() for value in values]
            cells, text = cells + len(row), text + sum(map(len, row))
            if cells > MAX_CELLS or text > MAX_TEXT or line > MAX_PIECES:
                raise DataError(f"{path}: {_TOO_MUCH}")
            if any(row):
                rows.append((line, row))
        return rows


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
