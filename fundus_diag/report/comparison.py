"""Several runs on the same photographs: their figures side by side, and paired differences.

What is compared is a `Variant`: one network and training, with a run for each seed. Its figures are
means over its runs; their intervals cover other patients and other seeds, drawn together. The
differences and their p values are about other patients, with the runs as they are.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.labels import LABELS, is_healthy, label_text
from fundus_diag.metrics import bootstrap, comparison, curves, evaluate
from fundus_diag.metrics.calibration import thresholds_array
from fundus_diag.report import figures
from fundus_diag.report.environment import environment
from fundus_diag.report.parts import data_url
from fundus_diag.runs import run_files
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import make_folder, write_bytes

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
MOST_CURVES = 7  # in one panel: more could not be told apart


@dataclass(frozen=True)
class Variant:
    """What is compared.

    Attributes:
        name: of it.
        runs: finished run directories that differ by their seeds.
        facts: further columns of the table, such as {"parameters": 3413024}.
        note: a sentence that a reader has to know, or "".
        apart: whether it is scored on rows of its own, so that nothing can be paired.
    """

    name: str
    runs: tuple
    facts: dict = field(default_factory=dict)
    note: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Scored:
    """A variant's predictions of the rows that are compared.

    Attributes:
        variant: `Variant`.
        scores: (S, N, L) of its runs.
        thresholds: list of (L,) of its runs, or of None for grades.
        figures: {name: (S,)}.
        draws: {name: (S, R)} of the same resamples of patients for all variants.
    """

    variant: Variant
    scores: np.ndarray
    thresholds: list
    figures: dict
    draws: dict


def compare(variants, split, out, *, baseline=None, resamples=1000, title="Comparison"):
    """Scores variants and writes comparison.csv, differences.csv, comparison.json, PNGs, a page.

    Args:
        variants: list of `Variant`, whose runs have predictions of the split.
        split: name of it.
        out: folder to write into.
        baseline: name of the variant that the others are held against; None is the first.
        resamples: of the bootstrap over patients; at least 100.
        title: of the page.

    Returns:
        (path of the page, table of figures, table of differences).

    Raises:
        DataError: predictions are missing, or of other photographs, labels or patients than those
            of the first run.
        UsageError: one of the variants, or the baseline, is none.
    """
    paired = [x for x in variants if not x.apart] or variants[:1]
    names = [x.name for x in paired]
    baseline = baseline or names[0]
    if baseline not in names:
        raise UsageError(f"baseline {baseline}: no variant; there are {', '.join(names)}")
    rows, pairs = _score(paired, split, resamples)
    differences = _differences_table(pairs, pairs[names.index(baseline)], rows)
    alone = [_score([x], split, resamples)[1][0] for x in variants if x not in paired]
    scored = [*pairs, *alone]
    table = _figures_table(scored, rows)
    pictures = _pictures(scored, pairs, rows, table)
    page = (
        environment()
        .get_template("comparison.html.j2")
        .render(
            title=title,
            split=split,
            rows=len(rows.y),
            patients=len(set(rows.patients)),
            unit=rows.unit,
            baseline=baseline,
            names=rows.names,
            variants=_cells(scored, table, rows),
            differences=_difference_cells(differences, rows),
            resamples=resamples,
            pictures={name: (data_url(png), _width(png)) for name, png in pictures.items()},
            mixed=rows.mixed,
            labels=[label_text(x) for x in rows.labels],
        )
    )
    out = Path(out)
    make_folder(out)
    text = {"split": split, "baseline": baseline, "figures": table.to_dict("records"),
            "differences": differences.to_dict("records")}  # fmt: skip
    write_bytes(out / "comparison.json", (_json(text) + "\n").encode())
    write_bytes(out / "comparison.csv", table.to_csv(index=False).encode())
    write_bytes(out / "differences.csv", differences.to_csv(index=False).encode())
    for name, png in pictures.items():
        write_bytes(out / f"{name}.png", png)
    write_bytes(out / "comparison.html", page.encode())
    return out / "comparison.html", table, differences


def check_same(runs):
    """What can be said before anything is scored: that runs have labels, task and split alike.

    Args:
        runs: list of (path, config.json).

    Raises:
        DataError: they have not.
    """
    (first, config), *others = runs
    for path, other in others:
        if other["task"] != config["task"] or set(other["labels"]) != set(config["labels"]):
            raise DataError(f"{path}: has other labels than {first}")
        if config["task"] == "grade" and other["unit"] != config["unit"]:
            raise DataError(f"{path}: grades of eyes and of patients cannot be compared ({first})")


@dataclass(frozen=True)
class _Rows:
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


def _score(variants, split, resamples):
    """(`_Rows`, [`Scored`]) of variants."""
    opened = [
        [(Path(run), run_files.read_config(run)) for run in variant.runs] for variant in variants
    ]
    flat = [pair for runs in opened for pair in runs]
    check_same(flat)
    config = flat[0][1]
    labels, grade = config["labels"], config["task"] == "grade"
    unit = "patient" if any(c["unit"] == "patient" for _, c in flat) else "eye"
    # Truth is that of a run of this unit: of a patient more is known than of each eye.
    tables = {path: _read(path, c, labels, split) for path, c in flat}
    truth_of = next(path for path, c in flat if c["unit"] == unit)
    truth = tables[truth_of]
    keys = _keys(truth, unit)
    y = truth[[f"y_{x}" for x in labels]].to_numpy("float64")
    mixed = len({c["unit"] for _, c in flat}) > 1
    rows = _Rows(y, truth["patient"].to_numpy(), labels, unit, grade, mixed)
    scored = []
    for variant, runs in zip(variants, opened, strict=True):
        found = [_of_run(path, c, tables[path], rows, keys, truth_of, split) for path, c in runs]
        parts = [
            evaluate.distributions(
                *(y, scores, rows.patients, resamples, SEED),
                thresholds=thresholds,
                official="odir" in rows.names,
            )
            for scores, thresholds in found
        ]
        figure = {x: np.array([part[x][0] for part in parts]) for x in rows.names}
        draws = {x: np.stack([part[x][1] for part in parts]) for x in rows.names}
        scores, thresholds = zip(*found, strict=True)
        scored.append(Scored(variant, np.stack(scores), list(thresholds), figure, draws))
    return rows, scored


def _read(path, config, labels, split):
    return run_files.read_predictions(path / f"predictions_{split}.csv", labels, config["unit"])


def _keys(table, unit):
    if unit == "eye":
        return list(table["image"])
    return list(table["patient"])


def _of_run(path, config, table, rows, keys, first, split):
    """((N, L) scores, (L,) thresholds or None) of a run, in the order of the rows."""
    thresholds = None
    if not rows.grade:
        thresholds = thresholds_array(load_operating_points(path / "thresholds.json"), rows.labels)
    if config["unit"] != rows.unit:
        table = _of_patients(table, rows.labels)
    own = _keys(table, rows.unit)
    if len(own) != len(keys) or set(own) != set(keys):
        odd = sorted(set(own) ^ set(keys))
        what = "photographs" if rows.unit == "eye" else "patients"
        raise DataError(
            f"{path}: its {split} holds other {what} than that of {first} "
            f"({len(odd)} of them, such as {odd[0] if odd else own[0]})"
        )
    table = table.set_index(pd.Index(own)).loc[keys]
    if config["unit"] == rows.unit:
        truth = table[[f"y_{x}" for x in rows.labels]].to_numpy("float64")
        if not np.array_equal(truth, rows.y, equal_nan=True):
            raise DataError(f"{path}: its {split} has other labels in the table than {first}")
        if list(table["patient"]) != list(rows.patients):
            raise DataError(f"{path}: its {split} has other patients in the table than {first}")
    return table[[f"p_{x}" for x in rows.labels]].to_numpy("float64"), thresholds


def _of_patients(table, labels):
    """Scores of patients from those of their eyes: the higher one, of health the lower one."""
    by = table.groupby("patient")
    columns = {}
    for label in labels:
        of_eyes = by[f"p_{label}"]
        columns[f"p_{label}"] = of_eyes.min() if is_healthy(label) else of_eyes.max()
    return pd.DataFrame(columns).reset_index()


def _figures_table(scored, rows):
    """One row a variant and figure: mean over runs, their deviation, interval."""
    found = []
    for x in scored:
        for name in rows.names:
            drawn = comparison.over_runs(x.draws[name], SEED)
            ends, _ = bootstrap.interval(drawn)
            values = x.figures[name]
            found.append(
                {
                    "variant": x.variant.name,
                    "figure": name,
                    "mean": float(values.mean()),
                    "deviation": float(values.std(ddof=1)) if len(values) > 1 else np.nan,
                    "low": ends[0] if ends else np.nan,
                    "high": ends[1] if ends else np.nan,
                    "runs": len(values),
                    **x.variant.facts,
                }
            )
    return pd.DataFrame(found)


def _differences_table(scored, against, rows):
    """One row a figure and a variant other than the baseline: its difference from that."""
    columns = ["variant", "baseline", "figure", "difference", "low", "high", "p", "test"]
    found = []
    for x in scored:
        if x is against:
            continue
        for name in rows.names:
            if name == "roc_auc":
                test = "DeLong, by patient"
                values = comparison.auc_difference(rows.y, x.scores, against.scores, rows.patients)
            else:
                test = "bootstrap over patients"
                values = comparison.bootstrap_difference(
                    *(x.figures[name].mean(), against.figures[name].mean()),
                    *(x.draws[name].mean(axis=0), against.draws[name].mean(axis=0)),
                )
            found.append([x.variant.name, against.variant.name, name, *values.values(), test])
    return pd.DataFrame(found, columns=columns)


def _pictures(scored, pairs, rows, table):
    """{name: PNG}: the figures of all variants, and ROC curves of those on the same rows."""
    names = [x.variant.name for x in scored]
    panels = []
    for name, text in rows.names.items():
        part = table[table["figure"] == name]
        panels.append((text, part[["mean", "low", "high"]].to_numpy("float64")))
    pictures = {"comparison": figures.forest_png(names, panels)}
    if len(pairs) <= MOST_CURVES:
        grid = np.linspace(0, 1, 201)
        items = []
        for k, label in enumerate(rows.labels):
            known = ~np.isnan(rows.y[:, k])
            truth = rows.y[known, k] == 1
            drawable = pairs if 0 < truth.sum() < len(truth) else []
            lines = [
                (x.variant.name, np.mean([_roc(truth, s[known, k], grid) for s in x.scores], 0))
                for x in drawable
            ]
            items.append((label_text(label), grid, lines))
        pictures["roc"] = figures.overlay_png(items)
    return pictures


def _width(png):
    """Of a PNG as it is shown, CSS px: half of its own."""
    return int.from_bytes(png[16:20], "big") // 2


def _roc(truth, score, grid):
    """Sensitivity at the false-positive rates of a grid."""
    false, true = curves.roc_points(truth, score)
    return np.interp(grid, false, true)


def _cells(scored, table, rows):
    """The table of the page: [{name, runs, note, facts, figures: [..]}]."""
    found = []
    for x in scored:
        part = table[table["variant"] == x.variant.name].set_index("figure")
        found.append(
            {
                "name": x.variant.name,
                "runs": len(x.scores),
                "note": x.variant.note,
                "facts": x.variant.facts,
                "figures": [part.loc[name].to_dict() for name in rows.names],
            }
        )
    return found


def _difference_cells(differences, rows):
    found = {}
    for row in differences.to_dict("records"):
        found.setdefault(row["variant"], {})[row["figure"]] = row
    return [(name, [cells[x] for x in rows.names]) for name, cells in found.items()]


def _json(value):
    """JSON of tables; what is undefined is null."""

    def plain(x):
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, list):
            return [plain(v) for v in x]
        if isinstance(x, float) and np.isnan(x):
            return None
        return x.item() if isinstance(x, np.generic) else x

    return json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)
