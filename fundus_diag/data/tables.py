"""Tables from outside, read as text: delimited text and Excel sheets that may hold anything.

Nothing is guessed from a cell: every value arrives as the text that stands in the file, with the
number of its line, and the caller turns it into a number or refuses it by name. "007" stays "007".
"""

import codecs
import csv
import hashlib
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fundus_diag.data.excel import excel_rows, is_workbook
from fundus_diag.data.labels import nfc
from fundus_diag.utils.errors import DataError

MAX_BYTES = 200_000_000  # of a file
MAX_COLUMNS = 2_000
# Byte order marks, and the encoding that each stands for.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Form:
    """How a table lies in its file.

    Attributes:
        delimiter: one character between cells, or "blanks" for any number of blanks and tabs.
        encoding: name of a text encoding, such as gbk, latin-1 or utf-16. A byte order mark counts
            first, and says UTF-8 or UTF-16.
        sheet: name of a workbook's sheet; None for the first.
        header: lines of the file that hold the names of columns, counted from 1; what stands above
            is left out. The parts that several lines have of a name are joined by a blank. Without
            any, columns are called 1, 2, 3 ..; None for the first line that holds any text.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    sheet: str | None = None
    header: tuple[int, ...] | None = None


PLAIN = Form()  # of a manifest


@dataclass(frozen=True)
class TextTable:
    """A table of text. `rows[i]` has one cell per column and began on line `lines[i]` of `path`."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    sha256: str
    header_line: int = 1

    def column(self, name: str) -> list[str]:
        """All cells of one column.

        Raises:
            DataError: there is no such column, or two are called so.
        """
        found = [at for at, column in enumerate(self.columns) if nfc(column) == nfc(name)]
        if not found:
            raise DataError(
                f"{self.path}: no column {name!r} (it has {', '.join(self.columns[:20])})"
            )
        if len(found) > 1:
            raise DataError(f"{self._header()}: two columns are named {name!r}")
        return [row[found[0]] for row in self.rows]

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return any(nfc(column) == nfc(name) for column in self.columns)

    def check_names(self) -> None:
        """Raises DataError where a column has no name, or one that another has."""
        names = [nfc(name) for name in self.columns]
        for at, name in enumerate(names):
            if not name:
                raise DataError(f"{self._header()}: column {at + 1} has no name")
            if name in names[:at]:
                raise DataError(f"{self._header()}: two columns are named {name!r}")

    def _header(self):
        return f"{self.path} line {self.header_line}"

    def only(self, wanted: Callable[[str], bool]) -> "TextTable":
        """The table with some of its columns: those whose names are wanted."""
        kept = [at for at, name in enumerate(self.columns) if wanted(name)]
        rows = [[row[at] for at in kept] for row in self.rows]
        return replace(self, columns=tuple(self.columns[at] for at in kept), rows=rows)


def read_table(path: Path, strict: bool = True, form: Form = PLAIN) -> TextTable:
    """Reads delimited text, or a sheet of an Excel workbook (its content says which).

    Cells lose the blanks around them; lines without any text are skipped, and so are columns
    without a name and without any text, as Excel leaves them.

    Args:
        path: file.
        strict: whether every column needs a name of its own; else only those that are asked for.
        form: how the table lies in the file; by default comma-separated UTF-8, or the first sheet.

    Raises:
        DataError: the file is missing, larger than 200 MB, of another encoding or no table; a
            column has no name or a name that another one has; a row has too many or too few cells.
    """
    path = Path(path)
    return table_of(path, read_bytes(path), strict, form)


def table_of(path: Path, content: bytes, strict: bool = True, form: Form = PLAIN) -> TextTable:
    """The table that a file of this content is; see `read_table`."""
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: {len(content) / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}")
    workbook = is_workbook(path, content)
    if workbook:
        rows = iter(excel_rows(path, content, form.sheet))
    else:
        rows = _text_rows(path, content, form)
    header, line, rows = _header(path, rows, form)
    if workbook:
        header = header[: _used(header)]
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path}: {len(header)} columns, more than {MAX_COLUMNS}")
    table = TextTable(path, tuple(header), [], [], hashlib.sha256(content).hexdigest(), line)
    for at, row in rows:
        row = row[: max(len(header), _used(row))]  # empty cells behind the last name do not count
        if workbook:
            row += [""] * (len(header) - len(row))
            row = row if strict else row[: len(header)]  # a remark beside the table
        if len(row) != len(header):
            raise DataError(
                f"{path} line {at}: {len(row)} cells where the header names {len(header)} columns"
            )
        table.rows.append(row)
        table.lines.append(at)
    if not table.rows:
        raise DataError(f"{path}: the table has a header and no row")
    if not all(header):
        table = _without_empty_columns(table)
    if strict:
        table.check_names()
    return table


def _header(path, rows, form):
    """(names of the columns, line that they stand on, the rows behind them)."""
    parts = {}
    for line, cells in rows:
        if not form.header:  # the first line is the header, or there is none
            if form.header is None:
                return cells, line, rows
            names = [str(at + 1) for at in range(len(cells))]
            return names, line, itertools.chain([(line, cells)], rows)
        if line in form.header:
            parts[line] = cells
        if line >= max(form.header):
            break
    missing = [line for line in form.header or () if line not in parts]
    if missing:
        raise DataError(f"{path}: no text on line {missing[0]}, where the header is said to stand")
    if not parts:
        raise DataError(f"{path}: the table is empty")
    names = itertools.zip_longest(*(parts[at] for at in form.header), fillvalue="")
    return [" ".join(filter(None, column)) for column in names], max(form.header), rows


def _used(cells):
    """How many cells there are up to the last one with any text."""
    return max((at + 1 for at, cell in enumerate(cells) if cell), default=0)


def _without_empty_columns(table):
    """The table without the columns that have neither a name nor any text."""
    used = [bool(name) for name in table.columns]
    for row in table.rows:
        used = [kept or bool(cell) for kept, cell in zip(used, row, strict=True)]
    rows = [list(itertools.compress(row, used)) for row in table.rows]
    return replace(table, columns=tuple(itertools.compress(table.columns, used)), rows=rows)


def read_bytes(path):
    """Content of a table's file, of at most `MAX_BYTES`. Raises DataError."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DataError(f"{path}: not a file")
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _text_rows(path, content, form):
    """Yields (line, cells) of the rows that hold any text, the header first."""
    text = _decoded(path, content, form.encoding)
    if "\0" in text:
        raise DataError(f"{path} line {text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL byte")
    if form.delimiter == "blanks":
        for line, row in enumerate(text.splitlines(), start=1):
            if row.split():
                yield line, row.split()
        return
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=form.delimiter, strict=True)
    line = 1  # of the row that is read next: a quoted cell may span several lines
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} line {line}: {error}") from None


def _decoded(path, content, encoding):
    found = next((name for mark, name in MARKS.items() if content.startswith(mark)), encoding)
    try:
        return content.decode(found)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        name = "UTF-8" if found in ("utf-8", "utf-8-sig") else found
        raise DataError(f"{path} line {line}: not {name} text") from None
