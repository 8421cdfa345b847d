"""What a run's JSON files may hold: one schema each, for who writes them and for who reads them.

Keys that are not named here are let through: other versions write more, or less.
"""

import dataclasses
import json
import typing
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field

from fundus_diag.data.labels import is_label
from fundus_diag.metrics.thresholds import parse_criterion
from fundus_diag.utils.errors import DataError, UsageError

# JSON knows no other numbers; a 1 is a float too, "1" and true are none.
STRICT = pydantic.ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


def _label(name):
    if not is_label(name):
        raise ValueError("not the name of a label")
    return name


def _criterion(text):
    try:
        return text if text == "argmax" else parse_criterion(text) and text
    except UsageError as error:
        raise ValueError(str(error)) from error


def _unlike(names):
    if len(set(names)) < len(names):
        raise ValueError("a label stands twice")
    return names


Count = Annotated[int, Field(ge=0, lt=2**53)]
Label = Annotated[str, AfterValidator(_label)]
Labels = Annotated[list[Label], Field(min_length=1), AfterValidator(_unlike)]
Counts = dict[str, Count]
Threshold = Annotated[float, Field(ge=0, le=1)] | None


class Point(pydantic.BaseModel):
    """Of one label in thresholds.json."""

    model_config = STRICT
    threshold: Threshold
    slope: Annotated[float, Field(gt=0, le=1e6)]
    intercept: Annotated[float, Field(ge=-1e6, le=1e6)]
    positives: Count
    negatives: Count


class Referable(pydantic.BaseModel):
    """Of grades in thresholds.json: from which one on, and which probability, one is referred."""

    model_config = STRICT
    cut: Annotated[int, Field(ge=1, lt=100)]
    criterion: Annotated[str, AfterValidator(_criterion)]
    threshold: Threshold
    positives: Count
    negatives: Count


class Points(pydantic.BaseModel):
    """thresholds.json: calibration and operating points."""

    model_config = STRICT
    split: str
    criterion: Annotated[str, AfterValidator(_criterion)]
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    labels: Annotated[dict[Label, Point], Field(min_length=1)]
    referable: Referable | None = None


Bounds = Annotated[list[float | None], Field(min_length=2, max_length=2)]


class Limits(pydantic.BaseModel):
    """Of each measure of `gradability`: lowest and highest value."""

    model_config = STRICT
    field: Bounds
    exposure: Bounds
    clipped: Bounds
    contrast: Bounds
    sharpness: Bounds


class Quality(pydantic.BaseModel):
    """quality.json: the limits that photographs like those of train keep."""

    model_config = STRICT
    photographs: Count
    share: Annotated[float, Field(ge=0, le=1)]
    limits: Limits


class Split(pydantic.BaseModel):
    """Of one split in config.json."""

    model_config = STRICT
    positives: Counts
    negatives: Counts
    ungraded: Counts
    rows: Count
    patients: Count


class Times(pydantic.BaseModel):
    """Of one split in scored.json."""

    model_config = STRICT
    times: Count
    first: str


class Scored(pydantic.RootModel[dict[str, Times]]):
    """scored.json: how often a split has been scored."""


class Splits(pydantic.BaseModel):
    model_config = STRICT
    __pydantic_extra__: dict[str, Split]
    train: Split


class Data(pydantic.BaseModel):
    model_config = STRICT
    splits: Splits


class Pretraining(pydantic.BaseModel):
    """config.json of a pretraining."""

    model_config = STRICT
    encoder: str
    flags: dict[str, Any]
    data: dict[str, Any]


class Segmenter(Pretraining):
    """config.json of a segmenter."""

    kind: Literal["segmenter"]
    network: str
    image_size: Annotated[int, Field(gt=0, le=8192)]
    patch_size: Annotated[int, Field(gt=0, le=2048)]
    overlap: Annotated[float, Field(ge=0, le=0.9)]
    soft_masks: bool
    crop: Literal["fundus", "none"]
    classes: Labels
    pretrained: bool
    weights: str


class Classifier(Pretraining):
    """config.json of a classifier."""

    image_size: Annotated[int, Field(gt=0, le=4096)]
    unit: Literal["eye", "patient"]
    task: Literal["multi_label", "grade", "findings"]
    labels: Labels
    phrases: dict[Label, Annotated[list[str], Field(min_length=1)]] = {}
    pretrained: bool
    weights: str
    versions: dict[str, Any]
    data: Data


def check(path, schema, content):
    """Raises DataError, one line, unless the content of a file is what its schema says."""
    try:
        schema.model_validate(content)
    except pydantic.ValidationError as error:
        raise DataError(f"{path}: {_first(error)}") from error


def values_of(path, kind, values):
    """{field: value} of a dataclass from a JSON object; a field that it lacks is not there.

    Args:
        path: file that the object stands in.
        kind: dataclass; its annotations are the schema. Lists become tuples, texts paths.
        values: of its fields, and of others, which are left out.

    Raises:
        DataError: a value is not what its field holds; one line that names the first.
    """
    hints, found = typing.get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.name in values:
            adapter = pydantic.TypeAdapter(hints[field.name])
            try:
                text = json.dumps(values[field.name])
                found[field.name] = adapter.validate_json(text, strict=True)
            except pydantic.ValidationError as error:
                raise DataError(f"{path}: flag {_first(error, field.name)}") from error
    return found


def _first(error, *within):
    """The first of the faults in one line: where it is, what it is."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(x)[:40] for x in (*within, *fault["loc"]) if x != "[key]")
    what = fault["msg"].removeprefix("Value error, ")
    return f"{where or 'the file'}: {what[:1].lower()}{what[1:]}".replace("\n", " ")
