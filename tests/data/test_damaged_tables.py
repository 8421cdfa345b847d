"""Tables and mappings with faults of many kinds: each command ends in a result or in one line.

A part of the cases in every run; the rest is slow. Seeds are fixed.
"""

import csv
import io
import resource
import time
import zipfile

import numpy as np
import openpyxl
import pytest
from damage import changed

from fundus_diag.data import checks, gather, merge, sample, splits
from fundus_diag.data.datasets.build import build
from fundus_diag.data.datasets.guess import guess
from fundus_diag.runs.run_files import read_predictions
from fundus_diag.utils.errors import DataError, UsageError

LONGEST = 10  # seconds of computing for all commands over one file
MEMORY = 500e6  # bytes: no file here has 10 kB
ODD = [
    "", " ", "nan", "NaN", "NA", "-1", "2", "0.5", "1e999", "-inf", "1.0", "True", "yes", "1,0",
    "٣", "½", "9" * 400, "a" * 5000, "../../etc/passwd", "/etc/passwd", "C:\\x.jpg", "a\\b.jpg",
    "x\0y", "two\nlines", 'a "quote', "=1+1", "<script>", "é", "e\u0301", "\u202e", "患者", "😀",
    "left", "RIGHT", "both", "train", "Test", "065Y", "90+", "65,5", "patient", "image", "p_D",
    "grade_0", "mask_MA", "N", "healthy", "none", "scan.dcm#2", ".", "..", "\ufeff", "a" * 254,
]  # fmt: skip
MAPPING = """
reader = "csv"
label_choices = ["own", "odir"]
dataset = "clinic"
healthy = "N"
not_graded = ["H"]
[files]
folders = ["**"]
[table]
delimiter = ","
encoding = "utf-8"
[columns]
image = "image"
patient = { column = "patient", pattern = '^(.+)$' }
eye = "eye"
age = "age"
[values.eye]
left = "left"
[leave_out."of nobody"]
column = "patient"
values = ["unknown"]
[labels]
N = "N"
D = { column = ["D", "d"], positive = ["1", "yes"], negative = "0", not_graded = ["-1", "NA"] }
[odir]
D = "D"
"""


def cells(predicted=False):
    """Rows of a sound manifest, or of a run's predictions."""
    names = ["N", "D"] if not predicted else ["y_N", "y_D", "p_N", "p_D"]
    rows = [["image", "patient", "eye", "split", "age", "sex", *names]]
    for k in range(24):
        sick, part = int(k // 2 % 3 == 0), ("train", "train", "val", "test")[k // 2 % 4]
        about = [f"p/{k}.jpg", f"{k // 2:03d}", ("left", "right")[k % 2], part, str(40 + k), "f"]
        scores = [f"{0.9 - k / 50:.3f}", f"{k / 50:.3f}"] if predicted else []
        rows.append([*about, str(1 - sick), str(sick), *scores])
    return rows


def as_csv(rows, encoding="utf-8", delimiter=","):
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    return stream.getvalue().encode(encoding, "replace")


def as_xlsx(rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append([openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.sub("?", x) for x in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def with_odd_cells(rng):
    """A table in which somebody worked: cells, columns and rows that do not belong."""
    rows = [list(row) for row in cells(predicted=rng.random() < 0.2)]
    for _ in range(rng.integers(1, 4)):
        at, fault = int(rng.integers(len(rows))), int(rng.integers(0, 8))
        column = int(rng.integers(len(rows[0])))
        odd = ODD[int(rng.integers(len(ODD)))]
        if fault < 3 and column < len(rows[at]):
            rows[at][column] = odd
        elif fault == 3:
            rows.insert(at, rows[int(rng.integers(len(rows)))])
        elif fault == 4:
            rows[at] = rows[at][:column] if rng.random() < 0.5 else [*rows[at], odd]
        elif fault == 5:
            rows = [[*row[:column], odd if k else row[-1], *row[column:]]
                    for k, row in enumerate(rows)]  # fmt: skip
        elif fault == 6:
            rows = [row[:column] + row[column + 1 :] for row in rows]
        else:
            rows = [[*row[:column], odd, *row[column + 1 :]] if k else row
                    for k, row in enumerate(rows)]  # fmt: skip
    return rows


def repacked(content, rng):
    """A workbook whose parts are damaged inside a sound archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        names = old.namelist()
        chosen = names[int(rng.integers(len(names)))]
        for name in names:
            data = old.read(name)
            new.writestr(name, changed(data, rng, [b"<?xml"]) if name == chosen else data)
    return packed.getvalue()


SOUND = as_csv(cells())
BOOK = as_xlsx(cells())


def damaged(k, rng):
    """(name of a file, its content)."""
    kind = k % 8
    if kind == 0:
        return "t.xlsx", as_xlsx(with_odd_cells(rng))
    if kind == 1:
        return "t.xlsx", repacked(BOOK, rng)
    if kind == 2:
        return "t.xlsx", changed(BOOK, rng, [SOUND])
    if kind == 3:
        return "t.csv", changed(SOUND, rng, [BOOK, b"\xff\xfe", b"\xef\xbb\xbf"])
    if kind == 4:
        form = (
            str(rng.choice(["utf-16", "gbk", "latin-1", "utf-8-sig"])),
            str(rng.choice([*";\t|"])),
        )
        return "t.csv", as_csv(with_odd_cells(rng), *form)
    return "t.csv", as_csv(with_odd_cells(rng))


@pytest.fixture
def place(tmp_path):
    """A folder with the pictures of the table (which nothing here decodes), and a sound mapping."""
    for k in range(24):
        path = tmp_path / "root" / "p" / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "sound.csv").write_bytes(SOUND)
    other = SOUND.replace(b"p/", b"q/").replace(b".jpg,0", b".jpg,1")
    (tmp_path / "other.csv").write_bytes(other)  # of other people
    (tmp_path / "mapping.toml").write_text(MAPPING)
    return tmp_path


def commands(place, table):
    """Everything that reads a table, by name; `out` is what it writes."""
    root, out = place / "root", place / "out.csv"

    def built(mapping):
        return build("csv", root, out, mapping=mapping, table=table)

    def guessed():
        (place / "guessed.toml").write_text(guess(table, root), "utf-8")
        built(place / "guessed.toml")

    return {
        "check": lambda: checks.check(table),
        "split": lambda: splits.split(table, out),
        "split, one kept": lambda: splits.split(table, out, keep=("test",)),
        "merge": lambda: merge.merge([table, place / "other.csv"], out),
        "sample": lambda: sample.sample(table, out, per_label=2),
        "gather": lambda: gather.gather([table], image_root=root),
        "predictions": lambda: read_predictions(table, ["N", "D"], "eye"),
        "build": lambda: built(place / "mapping.toml"),
        "guess": guessed,
    }


def line_of(command, out):
    """What a command says of its fault, or None where it has none."""
    out.unlink(missing_ok=True)
    line = None
    try:
        command()
    except (DataError, UsageError) as error:
        line = str(error)
    if line is not None:
        assert not out.exists()
        assert "\n" not in line
        assert 3 < len(line) < 1500
    return line


def rounds(number, seed, place):
    """(commands that gave a result, the lines of the others) over `number` damaged tables."""
    rng, fine, said = np.random.default_rng(seed), 0, set()
    for k in range(number):
        name, content = damaged(k, rng)
        table = place / name
        table.write_bytes(content)
        start = time.process_time()
        for what, command in commands(place, table).items():
            try:
                line = line_of(command, place / "out.csv")
            except Exception as error:
                raise AssertionError(f"{what}, seed {seed}, case {k}: {error!r}") from error
            fine, said = fine + (line is None), said | {line}
        assert time.process_time() - start < LONGEST, (seed, k)
    return fine, said - {None}


@pytest.fixture
def bounded():
    """The process does not grow by much, the library that reads workbooks within it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY / 1024


def test_the_sound_table_suits_every_command(place):
    table = place / "t.csv"
    for name, command in commands(place, table).items():
        table.write_bytes(as_csv(cells(predicted=name == "predictions")))
        assert line_of(command, place / "out.csv") is None, name


def test_damaged_tables_end_in_a_result_or_a_line(place, bounded):
    fine, said = rounds(24, 0, place)
    assert fine > 20
    assert len(said) > 20


def test_damaged_mappings_end_in_a_result_or_a_line(place, bounded):
    fine, said = mappings(60, 0, place)
    assert 0 < fine < 60
    assert len(said) > 10


def damaged_mapping(k, rng):
    """The mapping with damaged bytes, or with another kind of value for one of its keys."""
    if k % 2:
        return changed(MAPPING.encode(), rng, [b"[[", b'"""'])
    lines = MAPPING.splitlines()
    at = int(rng.integers(len(lines)))
    odd = ["1", "[]", "{}", '"("', '"{0}"', "[[1]]", "nan", '""', "true", "1979-05-27",
           f"'{'(a+)+' * 8}$'"]  # fmt: skip
    value = odd[int(rng.integers(len(odd)))]
    return "\n".join(
        [*lines[:at], f"{lines[at].partition('=')[0]}= {value}", *lines[at + 1 :]]
    ).encode()


def mappings(number, seed, place):
    """As `rounds`, of `build` with damaged mappings of a sound table."""
    rng, fine, said = np.random.default_rng(seed), 0, set()
    mapping, table, out = (place / name for name in ("m.toml", "sound.csv", "out.csv"))

    def command():
        build("csv", place / "root", out, mapping=mapping, table=table)

    for k in range(number):
        mapping.write_bytes(damaged_mapping(k, rng))
        start = time.process_time()
        try:
            line = line_of(command, out)
        except Exception as error:
            raise AssertionError(f"seed {seed}, case {k}: {error!r}") from error
        assert time.process_time() - start < LONGEST, (seed, k)
        fine, said = fine + (line is None), said | {line}
    return fine, said - {None}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_hundreds_of_damaged_tables_end_in_a_result_or_a_line(seed, place, bounded):
    rounds(150, seed, place)
    mappings(150, seed, place)
