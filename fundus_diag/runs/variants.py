"""Runs that are compared: their predictions of the same rows, and figures of them.

A `Variant` is one network and training, with a run for each seed.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.labels import LABELS, is_healthy
from fundus_diag.metrics.calibration import threshold_of, thresholds_array
from fundus_diag.metrics.distributions import distributions
from fundus_diag.runs import photographs, run_files
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.utils.errors import DataError

# Figures that are compared, in the order of the tables: {name: what it is called}.
MULTI_LABEL = {
    "roc_auc": "macro ROC AUC",
    "average_precision": "macro average precision",
    "f1": "macro F1",
    "recall": "macro recall",
    "accuracy": "accuracy",
    "odir": "ODIR score",
}
GRADES = {
    "accuracy": "accuracy",
    "kappa": "quadratic kappa",
    "f1": "macro F1",
    "precision": "macro precision",
    "recall": "macro recall",
    "roc_auc": "macro ROC AUC",
}
SEED = 0  # of the bootstrap


@dataclass(frozen=True)
class Variant:
    """What is compared.

    Attributes:
        name: of it.
        runs: finished run directories that differ by their seeds.
        facts: further columns of the table, such as {"parameters": 3413024}.
        note: a sentence that a reader has to know, or "".
        apart: whether its runs are scored on rows of their own, so that nothing can be paired.
        seeds: of the runs, in their order, where they are known.
        against: name of the variant that it is held against, in place of the comparison's.
        together: whether its runs are one model, an ensemble: the mean of their calibrated
            probabilities, with thresholds that are chosen for it on val.
    """

    name: str
    runs: tuple
    facts: dict = field(default_factory=dict)
    note: str = ""
    apart: bool = False
    seeds: tuple = ()
    against: str = ""
    together: bool = False


@dataclass(frozen=True)
class Scored:
    """A variant's predictions of the rows that are compared.

    Attributes:
        variant: `Variant`.
        scores: list of (N, L), one a run.
        figures: {name: (S,)}.
        draws: {name: (S, R)} of the same resamples of patients for all that are on the same rows.
    """

    variant: Variant
    scores: list
    figures: dict
    draws: dict


def check_same(runs, split=None):
    """What can be said before anything is scored: that runs have labels, task and rows alike.

    Args:
        runs: list of (path, config.json).
        split: that they are compared on; of runs of one unit its photographs, or patients, have to
            be the same.

    Raises:
        DataError: they have not.
    """
    (first, config), *others = runs
    for path, other in others:
        if other["task"] != config["task"] or set(other["labels"]) != set(config["labels"]):
            raise DataError(f"{path}: has other labels than {first}")
        if config["task"] == "grade" and other["unit"] != config["unit"]:
            raise DataError(f"{path}: grades of eyes and of patients cannot be compared ({first})")
        own, theirs = _rows_of(path, split, other["unit"]), _rows_of(first, split, config["unit"])
        if own and theirs and own != theirs and other["unit"] == config["unit"]:
            (odd, *_) = sorted(own ^ theirs)
            raise DataError(_other_rows(path, split, other["unit"], first, odd))


def _rows_of(run, split, unit):
    """Names of a split's photographs, or of its patients, as far as a run says."""
    name = "image" if unit == "eye" else "patient"
    return {x[name] for x in photographs.read(run) or () if x["split"] == split}


def _other_rows(path, split, unit, first, odd):
    what = "photographs" if unit == "eye" else "patients"
    return f"{path}: its {split} holds other {what} than that of {first}, such as {odd}"


@dataclass(frozen=True)
class Rows:
    """What is compared on."""

    y: np.ndarray
    patients: np.ndarray
    labels: list
    unit: str
    grade: bool
    mixed: bool  # whether some runs are of single eyes, and others of both

    @property
    def names(self):
        """{figure: what it is called}."""
        if self.grade:
            return GRADES
        official = set(self.labels) == set(LABELS)
        return {k: x for k, x in MULTI_LABEL.items() if k != "odir" or official}


def score(variants, split, resamples):
    """(`Rows`, [`Scored`]) of variants, all on the rows of the first run that they are units of.

    Args:
        variants: list of `Variant`, whose runs have predictions of the split.
        split: name of it.
        resamples: of the bootstrap over patients.

    Raises:
        DataError: predictions are missing, or of other photographs, labels or patients.
    """
    opened = [
        [(Path(run), run_files.read_config(run)) for run in variant.runs] for variant in variants
    ]
    aligned = _aligned([pair for runs in opened for pair in runs], split)
    rows = aligned.rows
    scored = []
    for variant, runs in zip(variants, opened, strict=True):
        found = [(aligned.scores(path, c), _thresholds(path, rows)) for path, c in runs]
        if variant.together:
            mean = np.mean([scores for scores, _ in found], axis=0)
            found = [(mean, _thresholds_together(runs, rows))]
        parts = [
            distributions(
                *(rows.y, scores, rows.patients, resamples, SEED),
                thresholds=thresholds,
                official="odir" in rows.names,
            )
            for scores, thresholds in found
        ]
        figures = {x: np.array([part[x][0] for part in parts]) for x in rows.names}
        draws = {x: np.stack([part[x][1] for part in parts]) for x in rows.names}
        scored.append(Scored(variant, [scores for scores, _ in found], figures, draws))
    return rows, scored


def score_apart(variant, split, resamples):
    """The `Scored` of a variant, each of its runs on rows of its own; arguments as of `score`."""
    parts = [score([replace(variant, runs=(run,))], split, resamples)[1][0] for run in variant.runs]
    return Scored(
        variant,
        [scores for part in parts for scores in part.scores],
        {x: np.concatenate([part.figures[x] for part in parts]) for x in parts[0].figures},
        {x: np.concatenate([part.draws[x] for part in parts]) for x in parts[0].draws},
    )


def _read(path, config, labels, split):
    return run_files.read_predictions(path / f"predictions_{split}.csv", labels, config["unit"])


def _keys(table, unit):
    """[(photograph or patient, how often it stood before)], by which rows are the same."""
    names = table["image" if unit == "eye" else "patient"]
    return list(zip(names, names.groupby(names).cumcount(), strict=True))


@dataclass(frozen=True)
class _Aligned:
    """Predictions of several runs and the rows that they are compared on; see `_aligned`."""

    rows: Rows
    tables: dict  # {path: predictions}
    first: Path  # whose rows they are
    split: str

    def scores(self, path, config):
        """(N, L) of a run, in the order of the rows."""
        rows, first, split = self.rows, self.first, self.split
        table, keys = self.tables[path], _keys(self.tables[first], rows.unit)
        if config["unit"] != rows.unit:
            table = _of_patients(table, rows.labels)
        own = _keys(table, rows.unit)
        odd = sorted(set(own) ^ set(keys))
        if odd:
            raise DataError(_other_rows(path, split, rows.unit, first, odd[0][0]))
        places = {key: place for place, key in enumerate(own)}
        table = table.iloc[[places[key] for key in keys]]
        if config["unit"] == rows.unit:
            truth = table[[f"y_{x}" for x in rows.labels]].to_numpy("float64")
            if not np.array_equal(truth, rows.y, equal_nan=True):
                raise DataError(f"{path}: its {split} has other labels in the table than {first}")
            if list(table["patient"]) != list(rows.patients):
                raise DataError(f"{path}: its {split} has other patients in the table than {first}")
        return table[[f"p_{x}" for x in rows.labels]].to_numpy("float64")


def _aligned(runs, split):
    """`_Aligned` of a list of (path, config.json)."""
    check_same(runs)
    config = runs[0][1]
    labels, grade = config["labels"], config["task"] == "grade"
    units = {c["unit"] for _, c in runs}
    unit = "patient" if "patient" in units else "eye"
    # Truth is that of a run of this unit: of a patient more is known than of each eye.
    tables = {path: _read(path, c, labels, split) for path, c in runs}
    first = next(path for path, c in runs if c["unit"] == unit)
    truth = tables[first]
    y = truth[[f"y_{x}" for x in labels]].to_numpy("float64")
    rows = Rows(y, truth["patient"].to_numpy(), labels, unit, grade, len(units) > 1)
    return _Aligned(rows, tables, first, split)


def _thresholds(path, rows):
    """(L,) thresholds of a run, in the order of the rows' labels; None of grades."""
    if rows.grade:
        return None
    return thresholds_array(load_operating_points(path / "thresholds.json"), rows.labels)


def _thresholds_together(runs, rows):
    """(L,) thresholds of the mean of several runs, chosen on val as the first run's were."""
    if rows.grade:
        return None
    val = _aligned(runs, "val")
    mean = np.mean([val.scores(path, config) for path, config in runs], axis=0)
    criterion = load_operating_points(runs[0][0] / "thresholds.json")["criterion"]
    found = []
    for label in rows.labels:
        column = val.rows.labels.index(label)
        truth = val.rows.y[:, column]
        known = ~np.isnan(truth)
        found.append(threshold_of(truth[known] == 1, mean[known, column], criterion))
    return np.array([np.nan if x is None else x for x in found])


def _of_patients(table, labels):
    """Scores of patients from those of their eyes: the higher one, of health the lower one."""
    by = table.groupby("patient")
    columns = {}
    for label in labels:
        of_eyes = by[f"p_{label}"]
        columns[f"p_{label}"] = of_eyes.min() if is_healthy(label) else of_eyes.max()
    return pd.DataFrame(columns).reset_index()
