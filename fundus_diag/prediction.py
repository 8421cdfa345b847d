"""`predict`: a run applied to a table of photographs."""

import sys
from pathlib import Path

from fundus_diag import manifest as manifests
from fundus_diag.errors import DataError, UsageError
from fundus_diag.files import write_csv
from fundus_diag.inputs import describe_bad, load_inputs
from fundus_diag.runs import load_run, predict_logits, prediction_table
from fundus_diag.scoring.calibration import apply_calibration


def predict(
    run_dir,
    manifest,
    image_root,
    out,
    split=None,
    precision="float32",
    batch_size=16,
    on_bad_image="fail",
):
    """Writes calibrated probabilities of every row of a table.

    Args:
        run_dir: a finished run.
        manifest: table with image, patient, eye; labels that the run knows too are carried along.
        image_root: folder that the image paths start from.
        out: CSV to write.
        split: rows of this split only; None is every row.
        precision: "float32", or "auto" for the fast path.
        batch_size: rows at a time.
        on_bad_image: "fail" or "skip".

    Returns:
        The table written.

    Raises:
        DataError: the run, the table or photographs cannot be read.
        UsageError: the table has no such split.
    """
    run = load_run(run_dir)
    known = manifests.read_manifest(Path(manifest), need_labels=False)
    if split is not None and split not in set(known.table.get("split", ())):
        raise UsageError(f"--split {split}: {manifest} has no row in it")
    if Path(out).parent != Path() and not Path(out).parent.is_dir():
        raise DataError(f"{out}: there is no folder {Path(out).parent}")
    unknown = [x for x in known.labels if x not in run.labels]
    if unknown:
        print(f"note: labels not of this run, left out: {', '.join(unknown)}", file=sys.stderr)
    inputs = load_inputs(
        known,
        image_root,
        image_size=run.config["image_size"],
        crop=run.config["crop"],
        unit=run.config["unit"],
        splits=None if split is None else (split,),
        cache="ram",
        on_bad_image=on_bad_image,
    )
    if inputs.bad:
        print(f"warning: left out: {describe_bad(inputs.bad)}", file=sys.stderr)
    rows = inputs.splits[split or "all"]
    if not len(rows.table):
        raise DataError(f"{manifest}: no row with a readable photograph")
    logits = predict_logits(run.model, inputs.pictures, rows, batch_size, precision)
    probabilities = apply_calibration(logits, run.points, run.labels)
    table = prediction_table(rows, list(known.labels), run.labels, probabilities)
    write_csv(out, table)
    return table
