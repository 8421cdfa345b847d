"""`predict --engine ray`: the parts of a table by workers of Ray, one model each."""

import contextlib
import csv
import functools
import io
import sys
from pathlib import Path

from fundus_diag.data.inputs import settle_bad, warn_of_several
from fundus_diag.runs.familiarity import asking
from fundus_diag.runs.going_on import check_begun, noted, what_begins
from fundus_diag.runs.predict import (
    AT_ONCE,
    held,
    load_part,
    part_numbers,
    rows_to_predict,
    scored,
)
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import PARTIAL, atomic, make_folder, write_text
from fundus_diag.utils.over_ray import over_ray, share_of_cores

PART = "[0-9]" * 6 + ".csv"


def predict_over_ray(
    run,
    manifest,
    image_root,
    out,
    split=None,
    precision="float32",
    batch_size=16,
    on_bad_image="fail",
    resume=False,
    workers=None,
):
    """As `predict.predict`, the same rows in the same order, by several workers.

    A table is cut into the parts that `predict` reads at a time. The rows of each that is done lie
    in the folder OUT.parts until all are there, so that a kill loses no more than what the
    workers had in hand. Run and photographs have to lie at the same place for all workers.

    Args:
        workers: see `over_ray.over_ray`; for the others see `predict.predict`.
    """
    out = Path(out)
    manifest = rows_to_predict(run, manifest, image_root, out, split, on_bad_image)
    part = part_numbers(run, manifest, AT_ONCE * batch_size)
    folder, numbers = (
        out.with_name(f"{out.name}.parts"),
        range(int(part.max()) + 1 if len(part) else 0),
    )
    begun = what_begins(run, manifest, split, precision, on_bad_image)
    begun |= {"engine": "ray", "batch_size": batch_size}
    with held(out):
        if resume and folder.is_dir():
            check_begun(out, begun, folder)
        else:
            _clear(folder)
        make_folder(folder)
        files = [folder / f"{number:06d}.csv" for number in numbers]
        left = [number for number in numbers if not files[number].is_file()]
        if len(left) < len(numbers):
            done = len(numbers) - len(left)
            print(f"going on after {done} of {len(numbers)} parts", file=sys.stderr)
        make = functools.partial(
            _worker, run.run_dir, manifest, image_root, part, precision, batch_size
        )
        bad, several, looked_at = [], [], 0
        with noted(out, begun, folder):
            title = f"predicting, {AT_ONCE * batch_size} rows at a time"
            for k, found in over_ray(make, left, workers, title):
                bad += found["bad"]
                several += found["several"]
                looked_at += found["looked_at"]
                if not found["bad"] or on_bad_image == "skip":
                    write_text(files[left[k]], found["text"])
            warn_of_several(several, looked_at)
            settle_bad(bad, on_bad_image)
            written = _joined(files, out)
            if not written:
                raise DataError(f"{manifest.path}: no row with a readable photograph")
            _clear(folder)
    return written


def _clear(folder):
    """Removes the parts of a folder, and it, if nothing of somebody else is in it.

    A part that was being written when a process was killed goes too.
    """
    for path in (x for start in ("", f"{PARTIAL}[0-9]*-") for x in folder.glob(start + PART)):
        path.unlink()
    with contextlib.suppress(OSError):  # not there, or not empty
        folder.rmdir()


def _worker(run_dir, manifest, image_root, part, precision, batch_size, cores):
    """The function of a part's number that a worker runs; see `over_ray.over_ray`."""
    share_of_cores(cores)
    run = load_run(run_dir)
    step = asking(run.model, run.familiar, precision)

    def work(number):
        inputs = load_part(run, manifest, image_root, part == number)
        text = ""
        if len(inputs.splits["all"].table):
            text = scored(run, step, inputs, batch_size, precision).to_csv(index=False)
        return {
            "text": text,
            "bad": inputs.bad,
            "several": inputs.pictures.several,
            "looked_at": len(inputs.pictures.paths),
        }

    return work


def _joined(files, out):
    """Writes the tables of all parts into one; returns the number of its rows."""
    rows = 0
    with atomic(out) as partial, partial.open("wb") as whole:
        for file in files:
            text = file.read_text("utf-8")
            _, _, body = text.partition("\n")  # no name of a label holds a line
            whole.write((body if rows else text).encode())
            rows += max(0, sum(1 for _ in csv.reader(io.StringIO(text))) - 1)
    return rows
