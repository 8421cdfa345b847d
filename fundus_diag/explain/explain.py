"""`explain`: a run's predictions on photographs, answered with maps: pictures, arrays, a table."""

import functools
from pathlib import Path

import numpy as np

from fundus_diag.data.labels import EYES
from fundus_diag.explain.explainer import explainer, layers_of, model_inputs
from fundus_diag.explain.filters import clean
from fundus_diag.explain.fusion import finest
from fundus_diag.explain.methods.registry import METHODS
from fundus_diag.explain.output import FIELDS, table_rows, write_case
from fundus_diag.explain.settings import Settings
from fundus_diag.imaging.inside import picture_field
from fundus_diag.runs.cases import NOTHING, load_batches, stack_pictures, usable_cases
from fundus_diag.runs.lock import locked
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import csv_text, growing
from fundus_diag.utils.over_ray import over_ray, share_of_cores
from fundus_diag.utils.progress import track

AT_ONCE = 4  # batches that a worker of Ray is given at a time


def explain(
    run,
    out,
    cases,
    settings=None,
    labels=None,
    on_bad_image="fail",
    pages=True,
    engine="local",
    workers=None,
    page=None,
):
    """Writes the explanations of photographs.

    Per case: NAME.png (a row per label), NAME.npz (arrays, see `output`), with several methods
    NAME_methods.png as well, and what `page` writes; for all together explanations.csv, whose
    column `file` is NAME. A case's row comes as soon as its files are there, at first into
    explanations.csv.partial, so that an error or a kill loses nothing of what is done and memory
    does not grow.

    Args:
        run: `run.Run`, of `load_run`.
        out: folder to write to.
        cases: list of `Case`, such as `cases_of_files` gives.
        settings: `Settings`.
        labels: names of labels; None is those above their thresholds, or else the likeliest one,
            which is then marked.
        on_bad_image: "fail", or "skip": what cannot be read is left out and named on stderr.
        pages: whether pictures and pages are written, or arrays and the table alone.
        engine: "local", or "ray": by so many `workers`, see `over_ray.over_ray`, for all of whom
            run, photographs and `out` have to lie at the same place.
        page: function (out, a case of `explain_batch`, level) that writes its page, such as
            `report.explained.case_pages` gives.

    Returns:
        {"cases", "maps", "zero"}: numbers of what was explained, and of maps that are zero.

    Raises:
        DataError: photographs cannot be read, all of them are named; or a file cannot be written.
        UsageError: a flag is wrong.
    """
    settings = settings or Settings()
    layers_of(run.model, settings)  # refuses, before hours of work, what the network has not
    wanted = None if labels is None else label_numbers(run, labels)
    cases = usable_cases(cases, on_bad_image)
    out = Path(out)
    counts = {"cases": 0, "maps": 0, "zero": 0}
    how = {"wanted": wanted, "on_bad_image": on_bad_image, "pages": pages, "page": page}
    with locked(out), growing(out / "explanations.csv", "photographs") as write:
        write(csv_text([dict(zip(FIELDS, FIELDS, strict=True))], FIELDS))
        if engine == "ray":
            found = _over_ray(run.run_dir, out, cases, settings, how, workers)
        else:
            found = track(_written(run, out, cases, settings, **how), "explaining", len(cases))
        for rows in found:
            write(csv_text(rows, FIELDS), 1)
            counts["cases"] += 1
            counts["maps"] += len(rows)
            counts["zero"] += sum(row["zero"] for row in rows)
        if not counts["cases"]:
            raise DataError(NOTHING)
    return counts


def _written(run, out, cases, settings, wanted, on_bad_image, pages, page):
    """Writes the files of each case and yields its rows of the table."""
    layers = layers_of(run.model, settings)
    for batch in load_batches(run, cases, settings.batch_size, on_bad_image):
        chosen = wanted and [wanted] * len(batch)
        for found in explain_batch(run, batch, layers, settings, chosen, together=bool(wanted)):
            write_case(out, found, settings.level, pages, page)
            yield table_rows(found)


def _over_ray(run_dir, out, cases, settings, how, workers):
    """As `_written`, by workers of Ray, in the same order."""
    size = AT_ONCE * settings.batch_size
    parts = [cases[k : k + size] for k in range(0, len(cases), size)]
    make = functools.partial(_worker, run_dir, out, settings, how)
    done, following = {}, 0
    for number, rows in over_ray(make, parts, workers, f"explaining, {size} at a time"):
        done[number] = rows
        while following in done:
            yield from done.pop(following)
            following += 1


def _worker(run_dir, out, settings, how, cores):
    """The function of cases that a worker runs; see `over_ray.over_ray`."""
    share_of_cores(cores)
    run = load_run(run_dir)

    def work(cases):
        try:
            return list(_written(run, out, cases, settings, **how))
        except DataError as error:
            # Where bad photographs are left out, nothing need be left of a part of them.
            if str(error) == NOTHING and how["on_bad_image"] == "skip":
                return []
            raise

    return work


def label_numbers(run, labels):
    """Positions of labels in the run's order.

    Raises:
        UsageError: the run has no such label.
    """
    unknown = [x for x in labels if x not in run.labels]
    if unknown or not labels:
        raise UsageError(
            f"--labels {', '.join(unknown) or '(none)'}: the run has {', '.join(run.labels)}"
        )
    return [run.labels.index(x) for x in labels]


def explain_batch(run, batch, layers, settings, chosen=None, together=False):
    """Maps of a batch of cases, one dict a case.

    Args:
        run: `run.Run`.
        batch: list of (case, {eye: `preprocess.Loaded`}), of `load_batches`.
        layers: {method: its layers}, of `layers_of`.
        settings: `Settings`.
        chosen: per case numbers of its labels; None is those above threshold, or the likeliest.
        together: whether all cases have the same labels, and their maps shall come from one graph
            for so many labels. It is compiled for seconds; one label at a time needs one graph,
            whatever their number.

    Yields:
        {"case", "loaded": as given, "labels": names, "probability",
        "threshold": (K,), "called": (K,) bool, "top": whether the only label is below its
        threshold, "layers": as given, "grids": {method: `geometry.Grid` of its maps}, "cells":
        {method: [(rows, columns) of each layer's own grid]},
        "inside": {eye: (S, S) bool, where the picture shows the field of view},
        "fused": {method: {eye: (K, h, w)}}, filtered, whatever lies outside of the field,
        "single": {method: {eye: (K, layers, h, w)}}}.
    """
    pictures = [{eye: seen.picture for eye, seen in loaded.items()} for _, loaded in batch]
    inside = [{eye: picture_field(seen) for eye, seen in loaded.items()} for _, loaded in batch]
    images, mask = stack_pictures(run, pictures)
    probability = run.predict(images, mask, batch_size=settings.batch_size)
    called = run.call(probability)
    given = chosen is not None
    if not given:
        chosen = [_chosen(p, c) for p, c in zip(probability, called, strict=True)]
    within = stack_fields(run, inside)
    made = {m: _maps(run.model, images, mask, within, m, layers[m], chosen, settings, together)
            for m in layers}  # fmt: skip
    each = {m: METHODS[m].grids(run.model, layers[m]) for m in layers}
    for k, (case, loaded) in enumerate(batch):
        eyes = EYES if mask is not None else tuple(loaded)
        fused, single = {}, {}
        for method in layers:
            per_eye = made[method][k] if mask is not None else [made[method][k]]
            pick = dict(zip(eyes, per_eye, strict=True))
            fused[method] = {e: clean(pick[e][0], **settings.filters) for e in loaded}
            single[method] = {e: pick[e][1] for e in loaded}
        yield {
            "case": case,
            "loaded": loaded,
            "labels": [run.labels[n] for n in chosen[k]],
            "probability": probability[k, chosen[k]],
            "threshold": run.thresholds[chosen[k]],
            "called": called[k, chosen[k]],
            "top": not given and not called[k].any(),
            "layers": layers,
            "grids": {m: finest(grids) for m, grids in each.items()},
            "cells": {m: [grid.shape for grid in grids] for m, grids in each.items()},
            "inside": inside[k],
            "fused": fused,
            "single": single,
        }


def stack_fields(run, rows):
    """Fields of view as `explainer` takes them, of rows {eye: (S, S) bool}, one a case."""
    if run.config["unit"] != "patient":
        return np.stack([next(iter(row.values())) for row in rows])
    nothing = np.zeros_like(next(iter(rows[0].values())))
    return np.stack([[row.get(eye, nothing) for eye in EYES] for row in rows])


def _chosen(probability, called):
    return np.flatnonzero(called).tolist() or [int(np.argmax(probability))]


def _maps(model, images, mask, inside, method, layers, chosen, settings, together):
    """Per case: (fused, single) of its labels, or one such pair an eye; see `explainer`."""
    make = explainer(model, method, layers, settings)

    def run(rows, labels):
        inputs = model_inputs(model, images[rows], None if mask is None else mask[rows])
        return [np.asarray(x) for x in make(inputs, np.asarray(labels, np.int32), inside[rows])]

    if together:
        fused, single = run(np.arange(len(images)), chosen)
    elif METHODS[method].all_labels:  # all labels of a picture cost it what one does
        each = [run([k], [labels]) for k, labels in enumerate(chosen)]
        fused, single = ([both[i][0] for both in each] for i in range(2))
    else:
        rows = np.repeat(np.arange(len(images)), [len(x) for x in chosen])
        flat = np.concatenate(chosen)[:, None]
        step = settings.batch_size
        parts = [run(rows[i : i + step], flat[i : i + step]) for i in range(0, len(rows), step)]
        fused, single = (np.concatenate([part[k] for part in parts]) for k in range(2))
        ends = np.cumsum([len(x) for x in chosen])[:-1]
        fused, single = (
            [x[:, 0] if mask is None else x[:, :, 0].swapaxes(0, 1) for x in np.split(maps, ends)]
            for maps in (fused, single)
        )
    if mask is None:
        return list(zip(fused, single, strict=True))
    return [list(zip(f, s, strict=True)) for f, s in zip(fused, single, strict=True)]
