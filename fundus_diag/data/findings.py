"""What ophthalmologists wrote of an eye: phrases, and the vocabulary that says what each means.

The vocabulary is data: `data_manifests/findings.toml`.
"""

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import pydantic
from pydantic import AfterValidator, Field

from fundus_diag.data.datasets.descriptions import VOCABULARY, describe, descriptions_dir
from fundus_diag.data.datasets.schema import LISTED
from fundus_diag.data.labels import EYES, LABELS, eye_of, nfc
from fundus_diag.data.tables import read_table
from fundus_diag.utils.errors import DataError

PLACES = ("disc", "macula", "vessels", "anywhere")
SEGMENTS = ("MA", "HE", "EX", "SE", "disc", "cup", "vessels", "macula")  # names of masks
_COMMAS = re.compile("[,、]")  # what `plain` leaves of commas of any width


def plain(text: str) -> str:
    """The text in the form in which phrases are compared: width, case and blanks do not count."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def phrases_of(text: str) -> tuple[str, ...]:
    """The plain phrases of an eye, each once, in their order, of a text that commas of any width,
    or ideographic ones, part.
    """
    words = (plain(word) for word in _COMMAS.split(plain(text)))
    return tuple(dict.fromkeys(filter(None, words)))


def _one_phrase(text):
    if len(phrases_of(text)) != 1 or _COMMAS.search(plain(text)):
        raise ValueError("one phrase is meant, without a comma")
    return text


Phrase = Annotated[str, AfterValidator(_one_phrase)]


@dataclass(frozen=True)
class Finding:
    """What a phrase means.

    Attributes:
        phrase: in English, as tables write it.
        synonyms: in English, other spellings among them.
        zh: terms in Chinese, the standard one first.
        label: the label of ODIR that it speaks for; "" of a remark on the picture.
        where: of `PLACES`, where it may lie; empty where nothing is to be seen.
        segment: of `SEGMENTS`, the outlined things that show it.
    """

    __pydantic_config__ = {"extra": "forbid"}

    phrase: Phrase
    synonyms: tuple[Phrase, ...]
    zh: Annotated[tuple[Phrase, ...], Field(min_length=1)]
    label: Literal[*LABELS, ""]
    where: tuple[Literal[*PLACES], ...]
    segment: tuple[Literal[*SEGMENTS], ...]

    def texts(self) -> list[str]:
        """All that it may be called, in the form in which phrases are compared."""
        return [plain(text) for text in (self.phrase, *self.synonyms, *self.zh)]


class Vocabulary(pydantic.BaseModel):
    """All findings by their phrases, and phrases that are known and belong to none."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    tables: str  # the data set whose table is read where no columns are named
    unmapped: tuple[Phrase, ...] = ()
    finding: dict[str, Finding]

    @pydantic.field_validator("finding", mode="before")
    @classmethod
    def _named(cls, given):
        """A table of the file does not say its phrase again, which is its name."""
        if not isinstance(given, dict):
            return given
        return {k: {"phrase": k} | x if isinstance(x, dict) else x for k, x in given.items()}

    @pydantic.field_validator("finding")
    @classmethod
    def _each_once(cls, given, info):
        texts = [text for x in given.values() for text in x.texts()]
        texts += map(plain, info.data.get("unmapped", ()))
        if len(set(texts)) < len(texts):
            twice = next(text for text in texts if texts.count(text) > 1)
            raise ValueError(f"{twice!r} stands twice")
        return given

    @cached_property
    def by_text(self) -> dict[str, Finding]:
        """Every plain phrase, synonym and Chinese term, and the finding that it means."""
        return {text: x for x in self.finding.values() for text in x.texts()}


def read_vocabulary(path: Path | None = None) -> Vocabulary:
    """The vocabulary of the package, or of another file of its form.

    Raises:
        DataError: the file is missing, no TOML or no vocabulary; one line that says where.
    """
    path = Path(path or descriptions_dir() / f"{VOCABULARY}.toml")
    try:
        return Vocabulary.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except pydantic.ValidationError as error:
        raise DataError(f"{path}: {_said(error.errors())}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a TOML file: {error}".replace("\n", " ")) from error


def _said(faults):
    said = [f"{'.'.join(str(k)[:40] for k in x['loc'])}: {x['msg']}" for x in faults[:LISTED]]
    said += [f"and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
    return " ".join("; ".join(said).replace("Value error, ", "").split())


def find(vocabulary: Vocabulary, phrase: str) -> Finding | None:
    """The finding of a phrase, a synonym or a Chinese term, None where there is none."""
    return vocabulary.by_text.get(plain(phrase))


def texts_of(labels: Sequence[str]) -> dict[str, list[str]]:
    """All that each label may be called, itself first: of a finding its synonyms and terms too."""
    vocabulary, texts = read_vocabulary(), {}
    for label in labels:
        known = find(vocabulary, label)
        texts[label] = list(dict.fromkeys([plain(label), *(known.texts() if known else ())]))
    return texts


def unknown_of(labels: Sequence[str]) -> list[str]:
    """Labels that the vocabulary does not know: nothing is known of them but their letters."""
    vocabulary = read_vocabulary()
    return [x for x in labels if not find(vocabulary, x)]


def read_findings(
    path: Path, vocabulary: Vocabulary, columns: dict[str, str] | None = None
) -> tuple[pd.DataFrame, dict[str, tuple[int, str]]]:
    """What a table says of each eye, in the words of the vocabulary.

    Args:
        path: delimited text or a workbook.
        vocabulary: of `read_vocabulary`.
        columns: what the table calls its columns `image`, `text` (the phrases), and, where it has
            them, `patient` and `eye`; a row is an eye. Without it the table is ODIR's, as the
            challenge (a row per patient) or Kaggle (a row per eye) publishes it.

    Returns:
        (a row per eye: `image` as the table names it, `patient` as in a manifest, `eye`, the tuples
        `phrases`, of findings, and `unmapped`, of phrases without one; {phrase that the vocabulary
        does not know at all: (number of eyes, image of the first)}).

    Raises:
        DataError: the file is no table, a column is missing, or a cell names no eye.
    """
    text = read_table(path, strict=False)
    eyes = _by_columns(text, columns) if columns else _odir_eyes(text, describe(vocabulary.tables))
    listed = set(map(plain, vocabulary.unmapped))
    rows, unknown = [], {}
    for image, patient, eye, words in eyes:
        found = {phrase: find(vocabulary, phrase) for phrase in phrases_of(words)}
        known = tuple(dict.fromkeys(x.phrase for x in found.values() if x))
        unmapped = tuple(phrase for phrase, x in found.items() if not x)
        for phrase in (x for x in unmapped if x not in listed):
            count, first = unknown.get(phrase, (0, image))
            unknown[phrase] = (count + 1, first)
        rows.append((image, patient, eye, known, unmapped))
    return pd.DataFrame(rows, columns=["image", "patient", "eye", "phrases", "unmapped"]), unknown


def _by_columns(text, columns):
    """(image, patient, eye, phrases) of each row of a table whose columns are named."""
    image, words = text.column(columns["image"]), text.column(columns["text"])
    patient = text.column(columns["patient"]) if "patient" in columns else image
    eye = text.column(columns["eye"]) if "eye" in columns else [""] * len(image)
    for line, word in zip(text.lines, eye, strict=True):
        if eye_of(word) is None:
            raise DataError(f"{text.path} line {line}: {word!r} is no word for an eye")
    called = (nfc(x or name) for x, name in zip(patient, image, strict=True))
    return zip(image, called, map(eye_of, eye), words, strict=True)


def _odir_eyes(text, description):
    """The same of ODIR's table: of a row per patient both eyes, of a row per eye the one named."""
    rules = {name: rule.column for name, rule in description.columns.items()}
    ids = text.column(*rules["id"])
    sides = {eye: list(zip(*map(text.column, rules[eye]), strict=True)) for eye in EYES}
    own = text.column(*rules["row"]) if text.has(*rules["row"]) else None
    for i, line in enumerate(text.lines):
        eyes = [eye for eye in EYES if own is None or sides[eye][i][0] == own[i]]
        if own and len(eyes) != 1:
            raise DataError(f"{text.path} line {line}: {own[i]!r} is neither eye of its row")
        for eye in eyes:
            image, words = sides[eye][i]
            yield image, description.patient_prefix + ids[i], eye, words
