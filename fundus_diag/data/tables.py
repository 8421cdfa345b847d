"""Tables from outside, read as text: CSV files and Excel sheets that may hold anything.

Nothing is guessed from a cell: every value arrives as the text that stands in the file, with the
number of its line, and the caller turns it into a number or refuses it by name. "007" stays "007".
"""

import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from fundus_diag.data.excel import excel_rows
from fundus_diag.data.labels import nfc
from fundus_diag.utils.errors import DataError

MAX_BYTES = 200_000_000  # of a file
MAX_COLUMNS = 2_000


@dataclass(frozen=True)
class TextTable:
    """A table of text. `rows[i]` has one cell per column and began on line `lines[i]` of `path`."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    sha256: str

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
            raise DataError(f"{self.path} line 1: two columns are named {name!r}")
        return [row[found[0]] for row in self.rows]

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return any(nfc(column) == nfc(name) for column in self.columns)

    def only(self, wanted: Callable[[str], bool]) -> "TextTable":
        """The table with some of its columns: those whose names are wanted."""
        kept = [at for at, name in enumerate(self.columns) if wanted(name)]
        rows = [[row[at] for at in kept] for row in self.rows]
        return replace(self, columns=tuple(self.columns[at] for at in kept), rows=rows)


def read_table(path: Path, strict: bool = True) -> TextTable:
    """Reads a CSV file (UTF-8, with or without a byte order mark) or the first sheet of an .xlsx.

    Cells lose the blanks around them; lines without any text are skipped, and so are columns
    without a name and without any text, as Excel leaves them.

    Args:
        path: file.
        strict: whether every column needs a name of its own; else only those that are asked for.

    Raises:
        DataError: the file is missing, larger than 200 MB, not UTF-8 or no table; a column has no
            name or a name that another one has; a row has too many or too few cells.
    """
    path = Path(path)
    return table_of(path, _read_bytes(path), strict)


def table_of(path: Path, content: bytes, strict: bool = True) -> TextTable:
    """The table that a file of this content is; see `read_table`."""
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: {len(content) / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}")
    rows = excel_rows(path, content) if path.suffix.lower() == ".xlsx" else _csv_rows(path, content)
    try:
        _, header = next(rows)
    except StopIteration:
        raise DataError(f"{path}: the table is empty") from None
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path}: {len(header)} columns, more than {MAX_COLUMNS}")
    table = TextTable(path, tuple(header), [], [], hashlib.sha256(content).hexdigest())
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path} line {line}: {len(row)} cells where the header names {len(header)} columns"
            )
        table.rows.append(row)
        table.lines.append(line)
    if not table.rows:
        raise DataError(f"{path}: the table has a header and no row")
    if not all(header):
        table = _without_empty_columns(table)
    if strict:
        _check_header(path, table.columns)
    return table


def _without_empty_columns(table):
    """The table without the columns that have neither a name nor any text."""
    used = [bool(name) for name in table.columns]
    for row in table.rows:
        used = [kept or bool(cell) for kept, cell in zip(used, row, strict=True)]
    rows = [list(compress(row, used)) for row in table.rows]
    return replace(table, columns=tuple(compress(table.columns, used)), rows=rows)


def _read_bytes(path):
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DataError(f"{path}: not a file")
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _check_header(path, header):
    names = [nfc(name) for name in header]
    for at, name in enumerate(names):
        if not name:
            raise DataError(f"{path} line 1: column {at + 1} has no name")
        if name in names[:at]:
            raise DataError(f"{path} line 1: two columns are named {name!r}")


def _csv_rows(path, content):
    """Yields (line, cells) of the rows of a CSV file, the header first."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path} line {line}: not UTF-8 text") from None
    if "\0" in text:
        raise DataError(f"{path} line {text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL byte")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1  # of the row that is read next: a quoted cell may span several lines
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} line {line}: {error}") from None
