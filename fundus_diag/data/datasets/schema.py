"""What a description of a data set may say: the keys of `data_manifests/<name>.toml`."""

import codecs
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field

from fundus_diag.utils.errors import DataError

LISTED = 5  # faults that an error names; the rest are counted
ONLY = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)


def _word(value):
    """A value of a table as text: TOML's 1 and true are meant as they are written there."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a text or a number is meant")
    return str(value)


def _several(value):
    return value if isinstance(value, list) else [value]


def _rule(value):
    return {"column": value} if isinstance(value, str | list) else value


def _from(value):
    return {"any": value} if isinstance(value, str | list) else value


def _pattern(text):
    grouped = re.compile(_expression(text), re.IGNORECASE).groups
    return text if grouped else _refuse("has no group: put the part in brackets")


def _expression(text):
    try:
        re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return text


def _encoding(name):
    try:
        known = codecs.lookup(name)
    except LookupError:
        known = None
    text = known is not None and getattr(known, "_is_text_encoding", True)
    return name if text else _refuse("no encoding of text")


def _delimiter(text):
    fine = text == "blanks" or (len(text) == 1 and text not in '"\r\n')
    return text if fine else _refuse('one character, "\\t" for a tab, or "blanks"')


def _refuse(what):
    raise ValueError(what)


Word = Annotated[str, BeforeValidator(_word)]
Several = Annotated[list[Word], BeforeValidator(_several)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Expression = Annotated[str, AfterValidator(_expression)]  # needs no group


class Rule(pydantic.BaseModel):
    """Cells of a column, the first that is not empty of several, or what a pattern finds there."""

    model_config = ONLY
    column: Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]
    pattern: Pattern | None = None
    text: str | None = None  # {} stands for what was found, {cell} for the whole cell


class LabelRule(Rule):
    positive: Several = ["1"]
    negative: Several = ["0"]
    not_graded: Several = []
    optional: bool = False


class GradeRule(Rule):
    values: Annotated[list[Several], Field(min_length=2)]
    not_graded: Several = []


class LeaveOutRule(Rule):
    """Rows to leave out: those whose cell is one of the values, or holds anything where none is."""

    values: Several = []


class MaskRule(pydantic.BaseModel):
    model_config = ONLY
    files: Annotated[list[str], Field(min_length=1)]  # {stem} is that of the picture's name
    missing: Literal["none", "unknown"] = "unknown"  # what it means that there is no such file


class OdirRule(pydantic.BaseModel):
    """A label of ODIR out of what the data set grades."""

    model_config = ONLY
    any: Annotated[list[str], BeforeValidator(_several)] = []  # labels of its own
    unknown: Annotated[list[str], BeforeValidator(_several)] = []  # .. that may go with it or not
    grade: int | None = None  # grades from this one on


class TableForm(pydantic.BaseModel):
    model_config = ONLY
    delimiter: Annotated[str, AfterValidator(_delimiter)] = ","
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    sheet: str | None = None
    header: Annotated[list[int], BeforeValidator(_several)] | None = None


class Files(pydantic.BaseModel):
    """Where things lie below the root. Of several tables or archives the first that is there."""

    model_config = ONLY
    tables: list[str] = []
    archives: list[str] = []
    folders: list[str] = ["."]
    extensions: list[str] = [".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"]
    name: Pattern | None = None  # of a picture without its ending
    path: Pattern | None = None  # of a picture, below the root
    beside: Expression | None = None  # .. of what lies beside them and is no photograph


Column = Annotated[Rule, BeforeValidator(_rule)]
Names = Literal["image", "patient", "eye", "split", "age", "sex", "row", "id", "left", "right"]


class Part(pydantic.BaseModel):
    """What may differ from one part of a data set to the next."""

    model_config = ONLY
    reader: str | None = None
    only: list[str] = []  # --labels for which the part counts; all where it is empty
    without: str = ""  # what it means that the part is not there
    split: str = ""
    files: Files = Files()
    table: TableForm = TableForm()
    columns: dict[Names, Column] = {}
    values: dict[Literal["patient", "eye", "split", "sex"], dict[str, str]] = {}
    leave_out: dict[str, LeaveOutRule] = {}  # by the reason to give
    labels: dict[str, Annotated[LabelRule, BeforeValidator(_rule)]] = {}
    grades: int | GradeRule | None = None
    classes: dict[str, Annotated[list[str], BeforeValidator(_several)]] = {}
    splits: dict[str, str] = {}
    masks: dict[str, MaskRule] = {}


class Description(Part):
    """A data set. What a user's own mapping need not say has a default."""

    path: Path
    label_choices: Annotated[list[str], Field(min_length=1)]
    title: str = ""
    origin: str = ""
    licence: str = "not stated"
    citation: str = ""
    access: str = ""
    about: str = ""
    notes: str = ""
    verified: bool = True
    dataset: str = ""
    patient_prefix: str = ""
    healthy: str = ""
    not_graded: list[str] = []
    parts: list[Part] = []
    odir: dict[str, Annotated[OdirRule, BeforeValidator(_from)]] = {}
    eye_labels: list[str] = []
    keywords: dict = {}


def checked(path, content: dict) -> Description:
    """The description that a TOML file holds.

    Raises:
        DataError: it does not fit; one line that names the keys that do not.
    """
    try:
        return Description.model_validate({"title": path.stem} | content | {"path": path})
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        # Of what may be one of two things the fault that lies deepest is the one that was meant.
        deepest = {}
        for fault in sorted(faults, key=lambda x: -len(x["loc"])):
            deepest.setdefault(fault["loc"][:2], _said(fault))
        said = list(deepest.values())
        more = f"; and {len(said) - LISTED} more" if len(said) > LISTED else ""
        raise DataError(f"{path}: {'; '.join(said[:LISTED])}{more}") from error


def _said(fault):
    kinds = ("function-", "GradeRule", "int")
    where = ".".join(str(x)[:40] for x in fault["loc"] if not str(x).startswith(kinds))
    what = "there is no such key" if fault["type"] == "extra_forbidden" else fault["msg"]
    what = what.removeprefix("Value error, ").replace("\n", " ")
    return f"{where}: {what[:1].lower()}{what[1:]}"
