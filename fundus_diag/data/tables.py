"""Tables from outside, read as text: CSV files and Excel sheets that may hold anything.

Nothing is guessed from a cell: every value arrives as the text that stands in the file, with the
number of its line, and the caller turns it into a number or refuses it by name. "007" stays "007".
"""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from fundus_diag.data.excel import excel_rows
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
            DataError: there is no such column.
        """
        if name not in self.columns:
            raise DataError(
                f"{self.path}: no column {name!r} (it has {', '.join(self.columns[:20])})"
            )
        at = self.columns.index(name)
        return [row[at] for row in self.rows]


def read_table(path: Path) -> TextTable:
    """Reads a CSV file (UTF-8, with or without a byte order mark) or the first sheet of an .xlsx.

    Cells lose the blanks around them; lines without any text are skipped.

    Raises:
        DataError: the file is missing, larger than 200 MB, not UTF-8 or no table; a column has no
            name or a name that another one has; a row has too many or too few cells.
    """
    path = Path(path)
    content = _read_bytes(path)
    rows = excel_rows(path, content) if path.suffix.lower() == ".xlsx" else _csv_rows(path, content)
    try:
        _, header = next(rows)
    except StopIteration:
        raise DataError(f"{path}: the table is empty") from None
    _check_header(path, header)
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
    return table


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
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path}: {len(header)} columns, more than {MAX_COLUMNS}")
    for at, name in enumerate(header):
        if not name:
            raise DataError(f"{path} line 1: column {at + 1} has no name")
        if name in header[:at]:
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
