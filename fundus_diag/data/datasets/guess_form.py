"""How a table lies in its file, as far as the file itself tells."""

import csv

from fundus_diag.data.excel import excel_rows, is_workbook, sheets
from fundus_diag.data.tables import MARKS, Form, read_bytes
from fundus_diag.utils.errors import DataError

ENCODINGS = ("utf-8", "gb18030", "latin-1")  # tried in this order; the last one takes anything
DELIMITERS = (",", ";", "\t", "|")
LINES = 200  # that are looked at
TOP = 10  # lines among which the header is looked for


def guess_form(path):
    """(`Form`, lines of why) of a table.

    Raises:
        DataError: it cannot be read.
    """
    content = read_bytes(path)
    if is_workbook(path, content):
        return _of_workbook(path, content)
    marked = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    encoding, text = "utf-8", None
    for encoding in ENCODINGS:
        try:
            text = content.decode(marked or encoding)
            break
        except UnicodeDecodeError:
            continue
    if text is None:
        raise DataError(f"{path}: in none of the encodings {', '.join(ENCODINGS)}")
    encoding = "utf-8" if marked else encoding
    why = [f"# ?? not UTF-8: read as {encoding}, look at the names"] if encoding != "utf-8" else []
    numbered = [(at, line) for at, line in enumerate(text.splitlines(), start=1) if line.strip()]
    numbers, lines = zip(*numbered[:LINES], strict=True) if numbered else ((), ())
    delimiter = _delimiter(lines)
    if delimiter == "blanks":
        rows = [line.split() for line in lines]
    else:
        rows = [next(csv.reader([line], delimiter=delimiter)) for line in lines]
    header = _header(list(zip(numbers, rows, strict=True)))
    if header == ():
        why.append("# the first line looks like data: columns are called 1, 2, 3 ..")
    return Form(delimiter, encoding, None, None if header == numbers[:1] else header), why


def _of_workbook(path, content):
    """The sheet with the most rows, and where its header stands."""
    names = sheets(path, content)
    rows = {name: excel_rows(path, content, name) for name in names}
    best = max(names, key=lambda name: len(rows[name]))
    why = []
    if len(names) > 1:
        why.append(f"# of the sheets {', '.join(names)} the one with the most rows")
    header = _header(rows[best])
    first = rows[best][0][0] if rows[best] else 1
    header = None if header == (first,) else header
    return Form(sheet=best if best != names[0] else None, header=header), why


def _delimiter(lines):
    """The one that parts all lines into the same number of cells, the more the better."""
    best, most = ",", 1
    for delimiter in DELIMITERS:
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        common = max(set(counts), key=counts.count) if counts else 1
        if common > most and counts.count(common) >= 0.9 * len(counts):
            best, most = delimiter, common
    counts = {len(line.split()) for line in lines}
    return "blanks" if most == 1 and len(counts) == 1 and max(counts) > 1 else best


def _header(rows):
    """Lines of the header among the first: of names, not numbers, and as wide as what follows.

    () where the first line is data already.
    """
    width = max((sum(map(bool, row)) for _, row in rows), default=0)
    for line, row in rows[:TOP]:
        filled = [cell for cell in row if cell]
        if len(filled) >= max(2, 0.6 * width) and not any(map(_is_number, filled)):
            following = dict(rows).get(line + 1, [])
            filled = [cell for cell in following if cell]
            # Names on two lines: the second one is of names too, and not as full.
            two = filled and len(filled) < 0.6 * width and not any(map(_is_number, filled))
            return (line, line + 1) if two else (line,)
        if any(map(_is_number, filled)) and len(filled) >= 0.6 * width:
            return ()
    return (rows[0][0],) if rows else None


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
