"""A run's calibration and thresholds, fitted anew to labelled photographs of another place."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.inputs import load_table
from fundus_diag.metrics import bootstrap, calibration, classification
from fundus_diag.metrics.thresholds import parse_criterion
from fundus_diag.runs import photographs
from fundus_diag.runs.contents import (
    CONFIG,
    FAMILIARITY,
    HISTORY,
    PHOTOGRAPHS,
    QUALITY,
    THRESHOLDS,
    WEIGHTS,
)
from fundus_diag.runs.lock import locked
from fundus_diag.runs.predict import predict_rows, prediction_table
from fundus_diag.runs.thresholds import save_operating_points
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import (
    atomic,
    check_writable,
    make_folder,
    sha256,
    write_csv,
    write_json,
)

LEAST = 30  # positives, and negatives, of a label that is fitted
SPLIT = "local"  # what the rows are called in the new run
RESAMPLES = 1000


def recalibrate(run, manifest, image_root, out, criterion=None, on_bad_image="fail", seed=0):
    """Writes a run of the same weights whose calibration and thresholds are of other photographs.

    The patients are halved. What is fitted on one half is compared with the run's own on the other;
    what is kept is fitted on both. The rows' predictions are kept as predictions_local.csv, which
    answers are compared with from then on.

    Args:
        run: an opened `Run` of labels, not of grades.
        manifest: path of a table with labels.
        image_root: folder of its photographs.
        out: folder of the new run; it may not hold anything.
        criterion: of the thresholds; None is the run's.
        on_bad_image: "fail" or "skip".
        seed: of the halves and the bootstrap.

    Returns:
        {"table": figures of both calibrations, a row a label; "notes": [line, ..]}.

    Raises:
        UsageError: the run learns grades, the criterion is wrong, or the folder is in use.
        DataError: the table or photographs are wrong, no label can be fitted, or nothing can be
            written.
    """
    out = Path(out)
    if run.config["task"] == "grade":
        raise UsageError(f"{run.run_dir}: grades are called by the likeliest: nothing to refit")
    criterion = criterion or run.points["criterion"]
    parse_criterion(criterion)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: is there already; name a new folder")
    check_writable(out)
    pictures, rows = load_table(manifest, image_root, run.config, None, on_bad_image, cache="ram")
    logits, _ = predict_rows(run.model, None, pictures, rows)
    y = np.full(logits.shape, np.nan)
    for k, label in enumerate(rows.labels):
        y[:, run.labels.index(label)] = rows.y[:, k]
    fitted = [k for k in range(len(run.labels)) if _enough(y[:, k])]
    if not fitted:
        raise DataError(f"{manifest}: no label has {LEAST} positives and as many negatives")
    patients = rows.table["patient"].to_numpy()
    notes = _notes(run, manifest, rows, y, fitted)
    names = np.unique(patients)
    half = np.isin(patients, np.random.default_rng(seed).permutation(names)[: len(names) // 2])
    trial = _points(run, y[half], logits[half], fitted, criterion)
    table = _compare(run, trial, y[~half], logits[~half], patients[~half], fitted, seed)
    points = _points(run, y, logits, fitted, criterion)
    _write(run, out, points, rows, logits, {
        "from": run.run_dir.resolve().name, "manifest": Path(manifest).name,
        "sha256": sha256(Path(manifest)), "rows": len(y), "patients": len(names),
        "labels": [run.labels[k] for k in fitted], "seed": seed,
    })  # fmt: skip
    return {"table": table, "notes": notes}


def _enough(truth):
    return min((truth == 1).sum(), (truth == 0).sum()) >= LEAST


def _notes(run, manifest, rows, y, fitted):
    notes = []
    for k, label in enumerate(run.labels):
        if k not in fitted:
            ill, well = int((y[:, k] == 1).sum()), int((y[:, k] == 0).sum())
            notes.append(
                f"label {label}: {ill} positives and {well} negatives, fewer than {LEAST} of one: "
                "left as it was"
            )
    seen = photographs.shared(run.run_dir, run.config, rows.table) or {}
    for split, count in seen.items():
        if count:
            notes.append(
                f"{count} of {len(y)} rows name photographs or patients of the run's own {split}: "
                "leave them out, or the fit is of what the network remembers"
            )
    return notes


def _points(run, y, logits, fitted, criterion):
    """The run's operating points with those labels fitted anew."""
    points = copy.deepcopy(run.points)
    found = calibration.fit_operating_points(y, logits, run.labels, criterion, split=SPLIT)
    for k in fitted:
        points["labels"][run.labels[k]] = found["labels"][run.labels[k]]
    if len(fitted) == len(run.labels):
        points["criterion"] = criterion
    else:
        for k in fitted:
            points["labels"][run.labels[k]]["criterion"] = criterion
    return points | {"split": SPLIT}


def _compare(run, trial, y, logits, patients, fitted, seed):
    """Figures of both calibrations on rows that neither has seen."""
    names = ["brier", "ece", "recall", "specificity"]
    table = []
    for k in fitted:
        label = run.labels[k]
        known = ~np.isnan(y[:, k])
        truth, who = y[known, k][:, None], patients[known]
        row, statistics = {"label": label, "positives": int(truth.sum()), "rows": len(truth)}, {}
        for name, points in (("before", run.points), ("after", trial)):
            p = calibration.apply_calibration(logits[known][:, [k]], points, [label])
            called = classification.call(p, calibration.thresholds_array(points, [label]))
            statistics[name] = classification.statistic(truth, p, called, figures=("recall",))
            found = statistics[name](np.ones((len(truth), 1)))
            row |= {f"{x} {name}": round(float(found[f"labels.{x}"][0, 0]), 3) for x in names}

        def gain(weights, statistics=statistics):
            before, after = (statistics[x](weights)["labels.brier"] for x in ("before", "after"))
            return {"gain": (before - after)[:, 0]}

        drawn = bootstrap.distribution(gain, who, RESAMPLES, seed)["gain"]
        ends, _ = bootstrap.interval(drawn)
        row["brier gain, 95 %"] = f"{ends[0]:+.3f} to {ends[1]:+.3f}" if ends else "undefined"
        table.append(row)
    return pd.DataFrame(table)


def _write(run, out, points, rows, logits, record):
    """The new run: the old one's network and history, the new operating points, the rows."""
    make_folder(out)
    with locked(out):
        for name in (WEIGHTS, HISTORY, PHOTOGRAPHS, QUALITY, FAMILIARITY):
            if (run.run_dir / name).is_file():
                with atomic(out / name) as partial:
                    shutil.copyfile(run.run_dir / name, partial)
        probabilities = calibration.apply_calibration(logits, points, run.labels)
        write_csv(
            out / f"predictions_{SPLIT}.csv", prediction_table(rows, run.labels, probabilities)
        )
        save_operating_points(out / THRESHOLDS, points)
        write_json(out / CONFIG, {**run.config, "recalibrated": record})  # last: it makes a run
