"""The page of answers: a card for each photograph, with bars and what the scores meant."""

import hashlib
import math
from itertools import chain
from pathlib import Path
from urllib.parse import quote

from fundus_diag.data.labels import label_text
from fundus_diag.explain.explain import explain
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import jpeg_url, resized
from fundus_diag.runs.answer_files import (
    answers_kept,
    full_fields,
    full_row,
    like,
    line_of,
    rows_of,
    writer,
)
from fundus_diag.runs.answers import answers, at_odds, units_of, validation_of
from fundus_diag.runs.cases import cases_of_answers
from fundus_diag.runs.familiarity import said
from fundus_diag.runs.going_on import check_begun, noted, of_run
from fundus_diag.utils.files import csv_text, growing, partial_of, write_text

PER_PAGE = 200  # photographs on a page; with their thumbnails about 2 MB
THUMBNAIL = 180  # px


class Pages:
    """Writes the pages of answers as they come: PAGE.html, PAGE_2.html ..

    Args:
        path: of the first page.
        run: an opened `Run`.
        total: number of answers to come.
        validation: of `answers.validation_of`.
        maps: function of an answer's number to the path of its maps, relative to the page, or None.
        done: number of answers, of whole pages, that an earlier start has written.
    """

    def __init__(self, path, run, total, validation, maps=lambda number: None, done=0):
        self.path, self.run, self.total = Path(path), run, total
        self.validation, self.maps = validation, maps
        self.cards, self.done, self.number = [], done, 1 + done // PER_PAGE

    def add(self, answer):
        """Takes the next answer; writes a page when it is full, or the last answer is there."""
        maps = self.maps(self.done) if answer.pictures else None  # of what no decoder takes: none
        card = card_of(self.run, answer, self.validation)
        pictures = [_thumbnail(x) for x in answer.pictures.values()]
        self.cards.append(card | {"pictures": pictures, "maps": maps})
        self.done += 1
        if len(self.cards) == PER_PAGE or self.done == self.total:
            self._write()

    def _write(self):
        pages = [self._path(k + 1).name for k in range(-(-self.total // PER_PAGE))]
        text = (
            environment()
            .get_template("answers.html.j2")
            .render(
                name=self.run.run_dir.resolve().name,
                cards=self.cards,
                first=self.done - len(self.cards) + 1,
                last=self.done,
                total=self.total,
                pages=pages,
                number=self.number,
                grade=self.run.config["task"] == "grade",
                validated=bool(self.validation),
                drawn=bool(self.run.config["data"].get("drawn")),
            )
        )
        write_text(self._path(self.number), text)
        self.cards, self.number = [], self.number + 1

    def _path(self, number):
        end = "" if number == 1 else f"_{number}"
        return self.path.with_name(f"{self.path.stem}{end}{self.path.suffix}")


def card_of(run, answer, validation):
    """An answer as pages show it: a dict of texts, numbers and lists of them.

    Args:
        run: an opened `Run`, or what is served.
        answer: `answers.Answer`.
        validation: of `answers.validation_of`, or None.
    """
    rows = []
    for k, label in enumerate(run.labels if answer.probabilities is not None else ()):
        probability, threshold = float(answer.probabilities[k]), float(run.thresholds[k])
        n, had, low, high = like(validation, label, probability)
        rows.append(
            {
                "label": label_text(label),
                "probability": probability,
                "threshold": None if math.isnan(threshold) else threshold,
                "called": bool(answer.called[k]) and answer.gradable,
                "n": n,
                "had": had,
                "low": low,
                "high": high,
            }
        )
    return {
        "names": list(answer.images.values()),
        "eyes": [eye for eye in answer.images if eye],
        "patient": answer.patient,
        "rows": rows,
        "called": [row["label"] for row in rows if row["called"]],
        "why": answer.why,
        "poor": answer.poor or "",
        "unlike": said(answer.distance),
        "at_odds": at_odds(run, answer),
    }


def _thumbnail(picture):
    """A picture (S, S, 3) as a small JPEG data URL; nothing of its file is in it but pixels."""
    return jpeg_url(resized(picture, (THUMBNAIL, THUMBNAIL)))


def write_answers(
    run, photographs, files, kind, precision, batch_size, maps=False, shown=0, resume=False
):
    """Answers about photographs: the file for people, the figures in full, the page, maps.

    Args:
        run: an opened `Run`.
        photographs: table of `gather.Gathered`.
        files: {"answers", "full": paths, "page": path or absent}.
        kind: of the answers, one of `answer_files.FORMATS`.
        precision, batch_size: see `answers.answers`.
        maps: whether maps are made, into a folder beside the page, once all is answered.
        shown: of how many answers lines are returned.
        resume: go on with what is in FULL.partial, where there is one: its answers stand, but for
            those of a page that was not full.

    Returns:
        (lines about the first answers, {"answers", "not_gradable"}: numbers).

    Raises:
        DataError: a file cannot be written.
        UsageError: what is to be gone on with was begun with something else.
    """
    units, full = units_of(run, photographs), files["full"]
    begun = {**of_run(run), "photographs": _fingerprint(photographs), "precision": precision,
             "page": "page" in files}  # fmt: skip
    kept = []
    if resume and partial_of(full).is_file():
        check_begun(full, begun, partial_of(full))
        kept = answers_kept(run, units, partial_of(full))
        if "page" in files:
            kept = kept[: len(kept) // PER_PAGE * PER_PAGE]
    cases = cases_of_answers(units)
    folder = files["page"].with_name(f"{files['page'].stem}_maps") if maps else None
    validation, readable, told = validation_of(run), [], []
    counts = {"answers": 0, "not_gradable": 0}

    def link(number):
        return quote(f"{folder.name}/{cases[number].name}.png") if folder else None

    pages = None
    if "page" in files:
        pages = Pages(files["page"], run, len(units), validation, link, done=len(kept))
    fields = full_fields(run)
    begin = csv_text([dict(zip(fields, fields, strict=True))], fields)
    begin += csv_text([full_row(run, answer) for answer in kept], fields)
    size = len(begin.encode("utf-8")) if kept else 0
    with (
        writer(files["answers"], kind) as write,
        noted(full, begun, partial_of(full)),
        growing(full, kept=(size, len(kept))) as grow,
    ):
        if not kept:
            grow(begin)
        left = answers(run, units[len(kept) :], batch_size, precision)
        for number, answer in enumerate(chain(kept, left)):
            write(rows_of(run, answer, validation))
            if number >= len(kept):
                if pages:
                    pages.add(answer)
                # Last: where the row is, the page that it filled is too.
                grow(csv_text([full_row(run, answer)], fields), 1)
            if answer.probabilities is not None:
                readable.append(number)
            if len(told) < shown:
                told.append(line_of(run, answer, validation))
            counts["answers"] += 1
            counts["not_gradable"] += not answer.gradable
    if folder:
        explain(run, folder, [cases[k] for k in readable], on_bad_image="skip")
    return told, counts


def _fingerprint(photographs):
    """Of which photographs are named, and what is known of them."""
    return hashlib.sha256(photographs.to_csv(index=False).encode("utf-8")).hexdigest()
