"""Blinded cases for readers, and what their ratings come to.

A page shows each photograph with the maps of several methods, in an order drawn anew for each case;
readers say from 1 to 5 how far each map can be used, and save their answers as a file. The key,
which says what was where, stays with who made the page.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.labels import is_healthy, label_text
from fundus_diag.data.tables import read_table
from fundus_diag.explain.explain import explain_batch
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.laying import over_photograph
from fundus_diag.explain.output import shrunk
from fundus_diag.explain.overlay import blend
from fundus_diag.metrics.agreement import agreement
from fundus_diag.metrics.summary import summarise
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import jpeg_url
from fundus_diag.runs.cases import load_batches, stack_pictures, usable_cases
from fundus_diag.runs.going_on import of_run
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import make_folder, write_bytes, write_csv

SCALE = (1, 2, 3, 4, 5)  # strongly disagree .. strongly agree
QUESTIONS = {
    "fits": "The map lies on what speaks for the disease.",
    "helps": "It would help me to check the answer.",
    "plausible": "It looks as an ophthalmologist would look.",
    "trust": "With it I would trust the answer more.",
}
LETTERS = "ABCDEFGH"
PAGE, KEY = "rating.html", "key.csv"
FIELDS = ("page", "case", "map", *QUESTIONS)


def write_rating(run, cases, out, settings, seed=0):
    """Writes rating.html for readers, and key.csv, which they must not see.

    Args:
        run: `run.Run`.
        cases: `cases.Case`s.
        out: folder.
        settings: `Settings`; all of its methods are shown, of the likeliest disease of each case.
        seed: of the order of maps and of cases.

    Returns:
        (path of the page, path of the key).

    Raises:
        DataError: no photograph can be read, or nothing can be written.
        UsageError: there are fewer than two methods, or more than letters; or the folder holds the
            key of another page, which its readers' files need.
    """
    layers = layers_of(run.model, settings)
    if not 2 <= len(layers) <= len(LETTERS):
        raise UsageError(f"--rating: compares 2 to {len(LETTERS)} --methods, not {len(layers)}")
    page = _page(run, cases, layers, settings, seed)
    _check_key(out / KEY, page)
    rng, shown, key = np.random.default_rng(seed), [], []
    for batch in load_batches(run, usable_cases(cases, "skip"), settings.batch_size, "skip"):
        chosen = _likeliest(run, batch)
        for made in explain_batch(run, batch, layers, settings, chosen):
            for eye, loaded in made["loaded"].items():
                case, (label,) = made["case"], made["labels"]
                who = {"label": label, "image": case.images[eye]}
                who["patient"] = case.patient or case.images[eye]
                shown.append((who, *_pictures(made, eye, loaded)))
    cards = []
    for number, at in enumerate(rng.permutation(len(shown)), start=1):
        who, photograph, maps = shown[at]
        order = rng.permutation(list(maps))
        for letter, method in zip(LETTERS, order, strict=False):
            key.append({"page": page, "case": number, "map": letter, "method": method, **who})
        pictures = list(zip(LETTERS, (maps[x] for x in order), strict=False))
        cards.append((number, label_text(who["label"]), photograph, pictures))
    make_folder(out)
    text = (
        environment()
        .get_template("rating.html.j2")
        .render(page=page, cases=cards, questions=QUESTIONS, scale=SCALE, fields=FIELDS)
    )
    write_csv(out / KEY, pd.DataFrame(key))
    write_bytes(out / PAGE, text.encode())
    return out / PAGE, out / KEY


def _page(run, cases, layers, settings, seed):
    """Which page it is, since two may lie in one browser: the same whenever it is made again."""
    named = [sorted(case.images.items()) for case in cases]
    how = [settings.filters, settings.options, settings.level]
    what = [of_run(run), named, sorted((k, list(x)) for k, x in layers.items()), how, seed]
    # A letter first: else a spreadsheet may take it for a number.
    return "p" + hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]


def _check_key(path, page):
    """Raises UsageError where another page's key lies: without it what its readers said is lost."""
    if path.is_file() and page not in _columns(path, ("page",))["page"]:
        raise UsageError(f"--rating: {path} is the key of another page; name another folder")


def rating_summary(key, files, out=None, resamples=1000):
    """What the files of readers come to.

    Args:
        key: key.csv of the page.
        files: of the readers, as the page saves them: case, map, and a column a question.
        out: file to write the tables to, or None.
        resamples: of the bootstrap over patients.

    Returns:
        (means: a row for each method and question, with an interval over patients; agreements: a
        row for each question, see `agreement.agreement`).

    Raises:
        DataError: a file is no table, lacks a column, names a map that the key does not, rates one
            twice, or says something that is not on the scale; the line is named.
    """
    known = pd.DataFrame(_columns(key, ("page", "case", "map", "method", "patient")))
    places = {pair: i for i, pair in enumerate(zip(known["case"], known["map"], strict=True))}
    said = np.full((len(known), len(files), len(QUESTIONS)), np.nan)
    for r, path in enumerate(files):
        rows, seen = read_table(Path(path)), set()
        columns = _columns(path, FIELDS)
        for i, line in enumerate(rows.lines):
            pair = columns["case"][i], columns["map"][i]
            if columns["page"][i] != known["page"][0]:
                raise DataError(f"{path} line {line}: of another page than the key {key}")
            what = f"map {pair[1]} of case {pair[0]}"
            if pair not in places:
                raise DataError(f"{path} line {line}: the key has no {what}")
            if pair in seen:
                raise DataError(f"{path} line {line}: {what} is rated twice")
            seen.add(pair)
            for q, name in enumerate(QUESTIONS):
                said[places[pair], r, q] = _number(path, line, name, columns[name][i])
    rows, agreements = [], []
    for q, name in enumerate(QUESTIONS):
        for i in range(len(known)):
            for value in said[i, :, q]:
                who = {"method": known["method"][i], "patient": known["patient"][i]}
                rows.append({**who, "question": name, "rating": value})
        agreements.append(
            {"question": name, **agreement(said[..., q], SCALE, known["patient"], resamples)}
        )
    means = summarise(pd.DataFrame(rows), ["question", "method"], ["rating"], resamples)
    agreements = pd.DataFrame(agreements)
    if out is not None:
        text = io.StringIO()
        means.to_csv(text, index=False)
        text.write("\n")
        agreements.to_csv(text, index=False)
        write_bytes(Path(out), text.getvalue().encode())
    return means, agreements


def _likeliest(run, batch):
    """Of each case [the label of the highest score for its threshold]; never that there is none."""
    pictures = [{eye: seen.picture for eye, seen in loaded.items()} for _, loaded in batch]
    scores = run.predict(*stack_pictures(run, pictures)) / np.nan_to_num(run.thresholds, nan=1.0)
    for k, label in enumerate(run.labels):
        if is_healthy(label) or label == "grade_0":
            scores[:, k] = -1
    return [[int(k)] for k in scores.argmax(axis=1)]


def _pictures(made, eye, loaded):
    """(photograph, {method: it under the map}) as data URLs."""
    photo, box, inside = shrunk(loaded)
    maps = {}
    for method, fused in made["fused"].items():
        laid = over_photograph(fused[eye][0], made["grids"][method], box, inside)
        maps[method] = jpeg_url(blend(photo, laid))
    return jpeg_url(photo), maps


def _columns(path, names):
    table = read_table(Path(path))
    missing = [x for x in names if not table.has(x)]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}")
    return {name: table.column(name) for name in names}


def _number(path, line, name, text):
    if not text:
        return np.nan
    if text not in map(str, SCALE):
        raise DataError(f"{path} line {line}: {name} is {text[:20]!r}, not 1 to 5 or nothing")
    return float(text)
