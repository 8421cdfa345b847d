"""`predict`: a run applied to a table of photographs, part by part."""

import contextlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.cache_files import megabytes
from fundus_diag.data.inputs import load_inputs, settle_bad, warn_of_several
from fundus_diag.data.manifest import for_run, pair_eyes, resolve_images
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.runs.contents import CONFIG
from fundus_diag.runs.familiarity import asking
from fundus_diag.runs.going_on import noted, what_begins, what_is_left
from fundus_diag.runs.lock import locked
from fundus_diag.runs.quality import FINE, POOR, why_poor_rows
from fundus_diag.runs.run_files import ABOUT
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import check_writable, growing, partial_of
from fundus_diag.utils.mixed_precision import precision as arithmetic
from fundus_diag.utils.processes import free_memory
from fundus_diag.utils.progress import track

AT_ONCE = 16  # batches of a part: what is in memory at once, while as much again is being read


def predict(
    run,
    manifest,
    image_root,
    out,
    split=None,
    precision="float32",
    batch_size=16,
    on_bad_image="fail",
    resume=False,
):
    """Writes calibrated probabilities of every row of a table, as they come.

    They go to OUT.partial, which becomes OUT with the last row: what a kill leaves behind is never
    taken for the whole. Beside it lies OUT.partial.json, which says what it was begun with. Memory
    does not grow with the rows.

    Args:
        run: an opened `Run`.
        manifest: `Manifest` of photographs; labels that the run knows too are carried along.
        image_root: folder that the image paths start from.
        out: CSV to write.
        split: rows of this split only; None is every row.
        precision: "float32", or "auto" for the fast path.
        batch_size: rows at a time.
        on_bad_image: "fail" or "skip". Where a photograph cannot be read, "fail" predicts no
            further, but reads the others too, so that all bad ones are named at once.
        resume: go on with what is in OUT.partial, where there is one.

    Returns:
        Number of rows written.

    Raises:
        DataError: photographs cannot be read, or the file cannot be written; this is tried first.
        UsageError: the table has no such split, the file is a folder, batches are too large for
            the memory that is free, or what is to be gone on with was begun with something else.
    """
    out = Path(out)
    manifest = rows_to_predict(run, manifest, image_root, out, split, on_bad_image)
    _check_memory(run, len(manifest.table), batch_size)
    begun = what_begins(run, manifest, split, precision, on_bad_image)
    kept = (0, 0)
    if resume and partial_of(out).is_file():
        manifest, kept = what_is_left(run, manifest, out, begun)
    step = asking(run.model, run.familiar, precision)
    bad, several, looked_at, written = [], [], 0, kept[1]
    with held(out), noted(out, begun, partial_of(out)), growing(out, kept=kept) as write:
        for inputs in _parts(run, manifest, image_root, AT_ONCE * batch_size):
            bad += inputs.bad
            several += inputs.pictures.several
            looked_at += len(inputs.pictures.paths)
            rows = inputs.splits["all"]
            if not len(rows.table) or (bad and on_bad_image == "fail"):
                continue
            table = scored(run, step, inputs, batch_size, precision)
            write(table.to_csv(header=not written, index=False), len(table))
            written += len(table)
        warn_of_several(several, looked_at)
        settle_bad(bad, on_bad_image)
        if not written:
            raise DataError(f"{manifest.path}: no row with a readable photograph")
    return written


def rows_to_predict(run, manifest, image_root, out, split, on_bad_image):
    """The part of a table that is predicted; raises what `predict` does, before the work."""
    check_out(out)
    unknown = [x for x in manifest.labels if x not in run.labels]
    if unknown:
        print(f"note: labels not of this run, left out: {', '.join(unknown)}", file=sys.stderr)
    manifest = for_run(manifest, run.labels, split)
    resolve_images(manifest, image_root, missing_ok=on_bad_image == "skip")
    if run.config["unit"] == "patient":
        pair_eyes(manifest)  # refuses, before hours of work, what cannot be paired
    return manifest


def scored(run, step, inputs, batch_size, precision):
    """`prediction_table` of the rows of `Inputs`.

    Args:
        step: of `familiarity.asking`.
    """
    rows = inputs.splits["all"]
    with _arithmetic(precision):
        batches = _batches(inputs.pictures.array, rows.pictures, batch_size)
        logits, distance = _joined(map(step, batches))
    probabilities = apply_calibration(logits, run.points, run.labels)
    poor = run.limits and why_poor_rows(inputs.pictures, rows.pictures, run.limits)
    return prediction_table(rows, run.labels, probabilities, poor, distance)


def check_out(out):
    """Refuses a file to write that cannot be written, before the work.

    Raises:
        UsageError: it is a folder.
        DataError: its folder is not there, or takes no file.
    """
    if out.is_dir() or not out.name:
        raise UsageError(f"--out {out}: a folder; name a CSV file to write")
    check_writable(out)


def _arithmetic(name):
    """Exact float32 where that is asked for; the fast path sets its own."""
    return arithmetic(name) if name == "float32" else contextlib.nullcontext()


def held(out):
    """The lock of the run that a file lies in, if it lies in one."""
    folder = out.absolute().parent
    return locked(folder) if (folder / CONFIG).is_file() else contextlib.nullcontext()


def _check_memory(run, rows, batch_size):
    """Raises UsageError where two parts of decoded photographs find no room."""
    eyes = 2 if run.config["unit"] == "patient" else 1
    count = min(rows, 2 * AT_ONCE * batch_size * eyes)
    needed, free = count * 3 * run.config["image_size"] ** 2, free_memory()
    if free is not None and needed > free:
        raise UsageError(
            f"--batch-size {batch_size}: {2 * AT_ONCE} batches at a time need "
            f"{megabytes(needed)}, {megabytes(free)} are free"
        )


def part_numbers(run, manifest, size):
    """Which part each row of a table is of: so many rows, or patients, are one."""
    by = "patient" if run.config["unit"] == "patient" else "image"
    return pd.factorize(manifest.table[by])[0] // size


def load_part(run, manifest, image_root, chosen):
    """`Inputs` of rows of a table, by a mask."""
    return load_inputs(
        replace(manifest, table=manifest.table[chosen].reset_index(drop=True)),
        image_root,
        image_size=run.config["image_size"],
        crop=run.config["crop"],
        unit=run.config["unit"],
        cache="ram",
        title=None,
    )


def _parts(run, manifest, image_root, size):
    """`Inputs` of `size` rows, or patients, at a time; the next ones are read meanwhile."""
    part = part_numbers(run, manifest, size)
    numbers = range(int(part.max()) + 1 if len(part) else 0)

    def load(number):
        return load_part(run, manifest, image_root, part == number)

    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(load, number) for number in numbers[:1]]
        for number in track(numbers, f"predicting, {size} rows at a time", len(numbers)):
            waiting += [reader.submit(load, x) for x in numbers[number + 1 : number + 2]]
            yield waiting.pop(0).result()


def _batches(array, rows, batch_size):
    """Inputs of the model, a batch at a time; the place of a missing eye is black and masked."""
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        if chosen.ndim == 1:
            yield array[chosen].astype(np.float32)
            continue
        here = chosen >= 0
        images = np.where(here[..., None, None, None], array[chosen], 0).astype(np.float32)
        yield {"images": images, "mask": here.astype(np.float32)}


def predict_rows(model, fitted, pictures, rows, batch_size=16):
    """Logits (N, L) of rows of decoded photographs, exact, and distances (N,) or None.

    Args:
        model: classifier, in float32.
        fitted: of `familiarity.read_familiarity`, or None.
        pictures: `pictures.Pictures`.
        rows: `inputs.Rows`.
        batch_size: rows at a time.
    """
    batches = scoring_batches(pictures, rows.pictures, batch_size)
    step = asking(model, fitted)
    steps = -(-len(rows.pictures) // batch_size)
    with arithmetic("float32"):
        return _joined(map(step, track(batches, "predicting", steps)))


def _joined(parts):
    """(logits, distances or None) of batches of them."""
    logits, distances = zip(*parts, strict=True)
    return np.concatenate(logits), None if distances[0] is None else np.concatenate(distances)


def prediction_table(rows, labels, probabilities, poor=None, distance=None):
    """Table of `predictions_<split>.csv`: who, what is known (`y_`), what is predicted (`p_`).

    Args:
        rows: `inputs.Rows`; their labels get a `y_` column.
        labels: L names, of the run.
        probabilities: (N, L).
        poor: (N,) why photographs are poor, "" where they are not; None of a run without limits.
        distance: (N,), of `familiarity.asking`; None of a run that has none.
    """
    table = rows.table[[c for c in rows.table.columns if c in ABOUT]].copy()
    known = {f"y_{x}": rows.y[:, k] for k, x in enumerate(rows.labels)}
    scored = {f"p_{x}": probabilities[:, k] for k, x in enumerate(labels)}
    table = pd.concat([table, pd.DataFrame({**known, **scored}, index=table.index)], axis=1)
    for column in known:
        table[column] = table[column].astype("Int64")  # 1, 0 and empty, not 1.0
    if poor is not None:
        table["quality"] = [POOR if why else FINE for why in poor]
        table["quality_reason"] = poor
    if distance is not None:
        table["unfamiliar"] = (distance > 1).astype(int)
        table["distance"] = distance.round(3)
    return table
