"""`predict`: a run applied to a table of photographs."""

import sys
from pathlib import Path

from fundus_diag.data.inputs import load_table
from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.runs import load_run, predict_logits, prediction_table
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import write_csv


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
    if Path(out).parent != Path() and not Path(out).parent.is_dir():
        raise DataError(f"{out}: there is no folder {Path(out).parent}")
    labels, pictures, rows = load_table(
        manifest, image_root, run.config, split, on_bad_image, cache="ram"
    )
    unknown = [x for x in labels if x not in run.labels]
    if unknown:
        print(f"note: labels not of this run, left out: {', '.join(unknown)}", file=sys.stderr)
    logits = predict_logits(run.model, pictures, rows, batch_size, precision)
    probabilities = apply_calibration(logits, run.points, run.labels)
    table = prediction_table(rows, labels, run.labels, probabilities)
    write_csv(out, table)
    return table
