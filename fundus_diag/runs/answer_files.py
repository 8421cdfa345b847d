"""Answers as people read them: a row for each photograph and disease, as CSV, JSON or Excel.

Beside it a table with every figure in full, as `predict` writes of a table: a row a photograph.
"""

import contextlib
import csv
import io
import json
import math
from dataclasses import replace

import numpy as np

from fundus_diag.data.labels import EYES, label_text
from fundus_diag.metrics.meaning import scored_alike
from fundus_diag.runs.answers import at_odds
from fundus_diag.runs.quality import FINE, POOR
from fundus_diag.utils.files import csv_text, growing, write_bytes

FORMATS = ("csv", "json", "xlsx")
FIELDS = (
    "image", "patient", "eye", "disease", "probability", "threshold", "called", "scored_alike",
    "had_it", "gradable", "why", "quality", "quality_reason", "unfamiliar",
)  # fmt: skip


def rows_of(run, answer, validation):
    """Rows (dicts by `FIELDS`) of one answer: one a label, or one where there is no answer.

    `why`: what keeps it from being graded, or that what is called contradicts itself.
    `scored_alike`: how many photographs of validation were scored like this one, `had_it`: how many
    of them had the disease; see `meaning.scored_alike`.
    """
    about = {
        "image": " | ".join(answer.images.values()),
        "patient": answer.patient,
        "eye": " | ".join(answer.images),
    }
    why = answer.why or at_odds(run, answer)
    last = {"gradable": "yes" if answer.gradable else "no", "why": why, **quality_of(answer)}
    if answer.probabilities is None:
        return [about | dict.fromkeys(FIELDS[3:9], "") | last]
    rows = []
    for k, label in enumerate(run.labels):
        probability, threshold = float(answer.probabilities[k]), float(run.thresholds[k])
        n, had, *_ = like(validation, label, probability)
        rows.append(
            about
            | {
                "disease": label_text(label),
                "probability": round(probability, 3),
                "threshold": "" if math.isnan(threshold) else round(threshold, 3),
                # What shows nothing has a score, and nothing is called by it.
                "called": ("yes" if answer.called[k] else "no") if answer.gradable else "",
                "scored_alike": n if n else "",
                "had_it": had if n else "",
            }
            | last
        )
    return rows


def quality_of(answer):
    """The columns about how a photograph is and looks; empty where nobody knows."""
    word = "" if answer.poor is None else POOR if answer.poor else FINE
    unlike = {None: "", True: "yes", False: "no"}[answer.unfamiliar]
    return {"quality": word, "quality_reason": answer.poor or "", "unfamiliar": unlike}


def like(validation, label, probability):
    """`meaning.scored_alike` of a label; n is 0 where there is no validation."""
    if not validation:
        return 0, 0, math.nan, math.nan
    return scored_alike(*validation[label], probability)


def full_fields(run):
    """Columns of the table of figures in full."""
    pair = run.config["unit"] == "patient"
    images = ["image_left", "image_right"] if pair else ["image"]
    scored = [f"p_{x}" for x in run.labels]
    last = ["gradable", "why", "quality", "quality_reason", "unfamiliar", "distance"]
    return ["patient", "eye", *images, *scored, *last]


def full_row(run, answer):
    """Row of `full_fields`; probabilities are empty where there is no answer."""
    if run.config["unit"] == "patient":
        row = {f"image_{eye}": answer.images.get(eye, "") for eye in EYES}
        if "" in answer.images:  # nobody knows which eye it is
            row["image_left"] = answer.images[""]
    else:
        (row,) = ({"image": image} for image in answer.images.values())
    row |= {"patient": answer.patient, "eye": " | ".join(answer.images)}
    for k, label in enumerate(run.labels):
        none = answer.probabilities is None
        row[f"p_{label}"] = "" if none else repr(float(answer.probabilities[k]))
    row |= {"gradable": int(answer.gradable), "why": answer.why, **quality_of(answer)}
    return row | {"distance": "" if answer.distance is None else repr(answer.distance)}


def answers_kept(run, units, path):
    """The first answers about these units, from the table of figures that a kill left behind.

    A row that was cut off does not count, nor what comes after it.

    Args:
        run: an opened `Run`.
        units: of `answers.units_of`, in the order in which they are answered.
        path: of the table, with rows of `full_row`.
    """
    fields, kept = full_fields(run), []
    content = path.read_bytes().decode("utf-8", "replace")
    done = csv_text([dict(zip(fields, fields, strict=True))], fields)
    if not content.startswith(done):
        return []
    at = len(done)
    for unit, row in zip(units, csv.DictReader(io.StringIO(content, newline="")), strict=False):
        try:
            answer = _answer_of(run, unit, row)
        except (TypeError, ValueError):  # cut off
            break
        line = csv_text([full_row(run, answer)], fields)
        if not content.startswith(line, at):
            break
        kept.append(answer)
        at += len(line)
    return kept


def _answer_of(run, unit, row):
    """The answer of which `full_row` made a row; without its pictures."""
    scores = [row[f"p_{label}"] for label in run.labels]
    probabilities = np.array(scores, float) if all(scores) else None
    return replace(
        unit,
        probabilities=probabilities,
        called=None if probabilities is None else run.call(probabilities[None])[0],
        why=row["why"],
        poor=None if row["quality"] == "" else row["quality_reason"],
        distance=float(row["distance"]) if row["distance"] else None,
    )


def line_of(run, answer, validation):
    """An answer in a line: what is called, with what such scores meant; or why nothing is."""
    name = " and ".join(answer.images.values())
    if not answer.gradable:
        return f"{name}: not gradable: {answer.why}"
    chosen = [k for k in range(len(run.labels)) if answer.called[k]]
    said = [_said(run, answer, k, validation) for k in chosen]
    if not chosen:
        highest = int(answer.probabilities.argmax())
        said = [f"nothing called; highest {_said(run, answer, highest, validation)}"]
    return f"{name}: {'; '.join([*said, *filter(None, [at_odds(run, answer)])])}"


def _said(run, answer, k, validation):
    label, probability = run.labels[k], float(answer.probabilities[k])
    n, had, *_ = like(validation, label, probability)
    meant = f", {had} of {n} scored so had it" if n else ""
    return f"{label_text(label)} {probability:.3f}{meant}"


@contextlib.contextmanager
def writer(path, kind):
    """Yields `write(rows)` for a file of rows that grows; `path` is there when the block ends.

    Args:
        path: file.
        kind: one of `FORMATS`. Excel's files are written at the end.

    Raises:
        DataError: it cannot be written.
    """
    if kind == "xlsx":
        with _excel(path) as write:
            yield write
        return
    with growing(path, "rows") as grow:
        count = 0
        if kind == "csv":
            grow(csv_text([dict(zip(FIELDS, FIELDS, strict=True))], FIELDS))

        def write(rows):
            nonlocal count
            if kind == "csv":
                grow(csv_text(rows, FIELDS), len(rows))
            for row in rows if kind == "json" else ():
                content = {name: None if row[name] == "" else row[name] for name in FIELDS}
                text = json.dumps(content, ensure_ascii=False, allow_nan=False)
                grow(f"{',' if count else '['}\n{text}", 1)
                count += 1

        yield write
        if kind == "json":
            grow("\n]\n" if count else "[]\n", 0)


@contextlib.contextmanager
def _excel(path):
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("answers")
    sheet.append(FIELDS)

    def write(rows):
        for row in rows:
            sheet.append([_cell(row[name]) for name in FIELDS])

    try:
        yield write
    finally:
        sheet.close()  # else its writer complains when it is dropped
    # Not into the file: nor does a zip that cannot be finished end without a word.
    content = io.BytesIO()
    book.save(content)
    write_bytes(path, content.getvalue())


def _cell(value):
    """A text that Excel takes as it is, and not for a formula."""
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if not isinstance(value, str):
        return value
    text = ILLEGAL_CHARACTERS_RE.sub("?", value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
