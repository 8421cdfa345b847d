"""What a table of predictions was begun with, and what is left of it after a kill."""

import contextlib
import csv
import io
from dataclasses import replace

import pandas as pd

from fundus_diag.runs.contents import THRESHOLDS, WEIGHTS
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import partial_of, read_json, sha256, write_json


def record_of(out):
    """The file that says what OUT.partial was begun with."""
    return out.with_name(f"{out.name}.partial.json")


@contextlib.contextmanager
def noted(out, begun, partial):
    """Keeps what rows were begun with as long as there is something to go on with, `partial`."""
    write_json(record_of(out), begun)
    try:
        yield
    finally:
        if not partial.exists():
            record_of(out).unlink(missing_ok=True)


def of_run(run):
    """What of a run has to be the same for its rows to be gone on with."""
    names = {"weights": WEIGHTS, "thresholds": THRESHOLDS}
    return {name: sha256(run.run_dir / file) for name, file in names.items()}


def what_begins(run, manifest, split, precision, on_bad_image):
    """What has to be the same for rows of a table to be gone on with."""
    return {
        **of_run(run),
        "manifest": manifest.sha256,
        "split": split,
        "precision": precision,
        "on_bad_image": on_bad_image,
    }


def check_begun(out, begun, what):
    """Raises UsageError where what is to be gone on with was begun with something else."""
    before = read_json(record_of(out)) if record_of(out).is_file() else {}
    other = [name for name, value in begun.items() if before.get(name) != value]
    if other:
        raise UsageError(f"--resume: {what} was begun with other {', '.join(other)}")


def what_is_left(run, manifest, out, begun):
    """(the rows that are not in OUT.partial yet, (bytes, rows) of those that are).

    A last line that was not finished does not count.
    """
    partial = partial_of(out)
    check_begun(out, begun, partial)
    content = partial.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
    if not rows:
        return manifest, (0, 0)
    by = "patient" if run.config["unit"] == "patient" else "image"
    number = pd.factorize(manifest.table[by])[0]
    last = number[(manifest.table[by] == rows[-1][by]).to_numpy()]
    table = manifest.table[number > last.max()].reset_index(drop=True)
    return replace(manifest, table=table), (len(content), len(rows))
