"""`predict`: a run applied to a table of photographs."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from fundus_diag.data.columns import META
from fundus_diag.data.inputs import load_table
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.metrics.calibration import apply_calibration
from fundus_diag.runs.freeze import fast_logits
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import write_csv
from fundus_diag.utils.progress import track


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


def predict_logits(model, pictures, rows, batch_size=16, precision="float32"):
    """Logits (N, L) of rows of decoded photographs.

    Args:
        model: classifier.
        pictures: `pictures.Pictures`.
        rows: `inputs.Rows`.
        batch_size: rows at a time.
        precision: "float32", exact, or "auto", the fast path of `freeze.fast_logits`.
    """
    batches = scoring_batches(pictures, rows.pictures, batch_size)
    step = tf.function(lambda x: model(x, training=False), autograph=False, reduce_retracing=True)
    if precision != "float32":
        step = fast_logits(model, precision)
    steps = -(-len(rows.pictures) // batch_size)
    return np.concatenate([np.asarray(step(x)) for x in track(batches, "predicting", steps)])


def prediction_table(rows, labels, run_labels, probabilities):
    """Table of `predictions_<split>.csv`: who, what is known (`y_`), what is predicted (`p_`).

    Args:
        rows: `inputs.Rows`.
        labels: labels of the manifest.
        run_labels: labels of the run; those that both know get a `y_` column.
        probabilities: (N, len(run_labels)).
    """
    keys = (*META, "image_left", "image_right")
    table = rows.table[[c for c in rows.table.columns if c in keys]].copy()
    known = {f"y_{x}": rows.y[:, labels.index(x)] for x in run_labels if x in labels}
    scored = {f"p_{x}": probabilities[:, k] for k, x in enumerate(run_labels)}
    table = pd.concat([table, pd.DataFrame({**known, **scored}, index=table.index)], axis=1)
    for column in known:
        table[column] = table[column].astype("Int64")  # 1, 0 and empty, not 1.0
    return table
