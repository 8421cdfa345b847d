"""Operating points after training: thresholds chosen anew on the stored validation predictions."""

import copy
import re
import shutil
from pathlib import Path

import numpy as np

from fundus_diag.metrics import calibration, grades, operating
from fundus_diag.metrics.thresholds import parse_criterion
from fundus_diag.runs.contents import THRESHOLDS
from fundus_diag.runs.lock import locked
from fundus_diag.runs.run_files import read_predictions
from fundus_diag.runs.thresholds import load_operating_points, save_operating_points
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import atomic

REFERABLE = "referable"  # what the one threshold of grades is called
CHOICES = ("f1", "sensitivity=0.8", "sensitivity=0.9", "specificity=0.9", "specificity=0.95")


def operate(
    run_dir, config, criterion=None, labels=(), prevalence=None, resamples=1000, seed=0, cut=None
):
    """Chooses thresholds anew, or shows what usual choices would reach.

    Calibration stays. thresholds.json is replaced; the earlier one is kept as thresholds_<n>.json.

    Args:
        run_dir: a finished run.
        config: its config.json.
        criterion: see `calibration.fit_operating_points`; None changes nothing and shows `CHOICES`.
        labels: those to change; all where none is named. Of grades there is one, `REFERABLE`.
        prevalence: {label: share of the ill} for predictive values; None for that of validation.
        resamples, seed: of the bootstrap over patients.
        cut: of grades, the first that is referred; None for the run's own.

    Returns:
        {"rows": one dict a label and choice: "label", "criterion", "threshold", "positives",
        "negatives", "now": whether it is the run's, and the figures of `operating.FIGURES` as
        (value, interval); "notes": [line, ..]; "kept": path of the earlier thresholds or None}.

    Raises:
        UsageError: the run has no such label or cut, or a flag is wrong.
        DataError: a file of the run is missing or wrong, or cannot be written.
    """
    run_dir, prevalence = Path(run_dir), prevalence or {}
    grade = config["task"] == "grade"
    known = [REFERABLE] if grade else config["labels"]
    if cut is not None and not grade:
        raise UsageError("--referable-cut: only for --task grade")
    if criterion is not None:
        parse_criterion(criterion)
    unknown = [x for x in (*labels, *prevalence) if x not in known]
    if unknown:
        raise UsageError(f"--label {unknown[0]}: the run has {', '.join(known)}")
    wrong = [x for x, share in prevalence.items() if not 0 < share < 1]
    if wrong:
        raise UsageError(f"--prevalence {wrong[0]}={prevalence[wrong[0]]:g}: between 0 and 1")
    points = load_operating_points(run_dir / THRESHOLDS)
    source = run_dir / f"predictions_{points['split']}.csv"
    table = read_predictions(source, config["labels"], config["unit"])
    chosen = list(labels) or known
    changed, rows, notes = copy.deepcopy(points), [], []
    if grade:
        changed[REFERABLE] = _point(changed, table, config["labels"], cut)
    for label in chosen:
        entry = changed[REFERABLE] if grade else changed["labels"][label]
        truth, scores = _rows(table, config["labels"], label, entry)
        graded = ~np.isnan(truth)
        used = entry.get("criterion", points["criterion"])
        for wanted in [None, *([criterion] if criterion else CHOICES)]:
            threshold = entry["threshold"]
            if wanted is not None:
                threshold = calibration.threshold_of(truth[graded] == 1, scores[graded], wanted)
            at = np.nan if threshold is None else threshold
            found = operating.reached(
                truth, scores, at, table["patient"], resamples, seed, prevalence.get(label)
            )
            own = {"label": label, "criterion": wanted or used, "threshold": threshold}
            own |= {"positives": int((truth == 1).sum()), "negatives": int((truth == 0).sum())}
            rows.append(own | {"now": wanted is None} | found)
        if criterion:
            entry |= {"threshold": threshold, "criterion": criterion}
        few = calibration.too_few(int((truth == 1).sum()), points["split"])
        if few:
            notes.append(f"label {label}: {few}")
    all_of_them = not grade and set(chosen) == set(known)
    kept = _replace(run_dir, changed, all_of_them) if criterion else None
    return {"rows": rows, "notes": notes, "kept": kept}


def _point(points, table, labels, cut):
    """The operating point of grades at a cut: the run's own, or as training would choose it."""
    own = points.get(REFERABLE)
    cut = own["cut"] if own and cut is None else grades.cut_of(len(labels), cut)
    if own and own["cut"] == cut:
        return own
    y, p = (table[[f"{kind}_{x}" for x in labels]].to_numpy("float64") for kind in "yp")
    criterion = own["criterion"] if own else "f1"
    return calibration.referable_point(y, p, criterion, cut, points["split"])


def _rows(table, labels, label, entry):
    """(N,) truth and probability of what has a threshold."""
    if label != REFERABLE or label in labels:
        return table[f"y_{label}"].to_numpy(), table[f"p_{label}"].to_numpy()
    y, p = (table[[f"{kind}_{x}" for x in labels]].to_numpy("float64") for kind in "yp")
    return grades.referable(y, p, entry["cut"])


def _replace(run_dir, points, all_of_them):
    """Writes thresholds.json; returns where the earlier one is kept."""
    if all_of_them:
        entries = points["labels"].values()
        points["criterion"] = next(iter(entries)).get("criterion", points["criterion"])
        for entry in entries:
            entry.pop("criterion", None)
    with locked(run_dir):
        earlier = [re.fullmatch(r"thresholds_(\d+)\.json", x.name) for x in run_dir.iterdir()]
        number = 1 + max((int(x[1]) for x in earlier if x), default=0)
        kept = run_dir / f"thresholds_{number}.json"
        try:
            with atomic(kept) as partial:
                shutil.copyfile(run_dir / THRESHOLDS, partial)
        except FileNotFoundError as error:
            raise DataError(f"{run_dir / THRESHOLDS}: not found") from error
        save_operating_points(run_dir / THRESHOLDS, points)
    return kept
