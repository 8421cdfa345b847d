"""The runs below a folder: what each is, how far it is, and how good."""

import contextlib
import math
import os
from pathlib import Path

from fundus_diag.data.tables import read_table
from fundus_diag.runs.contents import (
    CONFIG,
    ENCODER_WEIGHTS,
    FILES,
    HISTORY,
    WEIGHTS,
)
from fundus_diag.runs.lock import holder
from fundus_diag.runs.run_files import CLASSIFIER, PRETRAINING, SEGMENTER, check_config
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import read_json

# {kind: (what is shown of it, its column in history.csv)}; loss is the one that should be low.
FIGURES = {
    "classifier": ("macro ROC AUC", "val_macro_roc_auc"),
    "findings": ("macro ROC AUC", "val_macro_roc_auc"),
    "grades": ("kappa", "val_kappa"),
    "segmenter": ("Dice", "val_dice"),
    "pretraining": ("loss", "val_loss"),
}
TASKS = {"multi_label": "classifier", "grade": "grades", "findings": "findings"}
DAMAGED, RUNNING, FINISHED, INTERRUPTED = "damaged", "running", "finished", "interrupted"
FIELDS = (
    "run", "kind", "encoder", "image_size", "data", "drawn", "epochs", "of", "figure", "val",
    "test", "state", "scored_on_test", "started", "seconds", "problem",
)  # fmt: skip


def runs_below(folder):
    """A dict of `FIELDS` for each run below a folder, itself among them, sorted by place.

    A run that is broken has the state `damaged` and says in `problem` why. What is not known is
    None.

    Raises:
        DataError: there is no such folder, or no run in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder of runs")
    found = []
    for place, inner, files in os.walk(folder):
        known = set(FILES) if CONFIG in files else set()
        inner[:] = sorted(x for x in inner if x not in known and not x.startswith("."))
        if CONFIG in files and _is_run(Path(place)):
            found.append(describe(Path(place), folder))
    if not found:
        raise DataError(f"{folder}: no run in it or below it; a run has a {CONFIG}")
    return sorted(found, key=lambda x: x["run"])


def describe(run, folder):
    """A dict of `FIELDS` of one run; `folder`: that its place is told from."""
    row = dict.fromkeys(FIELDS) | {"run": run.relative_to(folder).as_posix()}
    try:
        config = read_json(run / CONFIG)
        check_config(run / CONFIG, config)
        row |= _settings(config)
        row |= _figures(run, config, row)
    except (DataError, OSError, LookupError, TypeError, ValueError) as error:
        text = f"{run / CONFIG}: not what a run writes: {error!r}"
        text = str(error) if isinstance(error, DataError) else text
        return row | {"state": DAMAGED, "problem": text}
    return row


def _is_run(place):
    """Whether a config.json is a run's: one that is not finished, or has more than that file.

    What `export` writes has a copy of it.
    """
    if any((place / x).exists() for x in (HISTORY, WEIGHTS, ENCODER_WEIGHTS, "checkpoint")):
        return True
    try:
        config = read_json(place / CONFIG)
    except DataError:
        return False
    return "flags" in config and not config.get("finished")


def _settings(config):
    flags, data = config["flags"], config["data"]
    kind = config.get("kind", CLASSIFIER)
    planned = [flags.get(x) for x in ("phase1_epochs", "phase2_epochs", "epochs")]
    return {
        "kind": TASKS[config["task"]] if kind == CLASSIFIER else kind,
        "encoder": config["encoder"],
        "image_size": config.get("image_size"),
        "data": Path(data.get("manifest") or flags.get("manifest") or "").stem or None,
        "drawn": bool(data.get("drawn")),
        "of": sum(x for x in planned if x is not None) or None,
        "started": config.get("started"),
        "seconds": config.get("seconds"),
    }


def _figures(run, config, row):
    name, column = FIGURES[row["kind"]]
    history = _history(run)
    finished = bool(config.get("finished"))
    state = FINISHED if finished else RUNNING if holder(run) else INTERRUPTED
    weights = ENCODER_WEIGHTS if row["kind"] == PRETRAINING else WEIGHTS
    if finished and not (run / weights).is_file():
        raise DataError(f"{run / weights}: is missing, though the run is finished")
    test = _scored(run, row["kind"], "test")
    val = _scored(run, row["kind"], "val")
    return {
        "epochs": len(history),
        "figure": name,
        "val": _of_history(history, column, config.get("best_epoch")) if val is None else val,
        "test": test,
        "state": state,
        "scored_on_test": test is not None,
    }


def _history(run):
    if not (run / HISTORY).is_file():
        return []
    table = read_table(run / HISTORY)
    if not table.has("epoch"):
        raise DataError(f"{run / HISTORY}: no column epoch")
    return [dict(zip(table.columns, cells, strict=True)) for cells in table.rows]


def _of_history(history, column, best_epoch):
    """The figure of the epoch that was kept; of a run that goes on the best so far."""
    values = {}
    for row in history:
        text = row.get(column) or (row.get("loss") if column == "val_loss" else None)
        with contextlib.suppress(TypeError, ValueError):
            values[row["epoch"]] = float(text)
    values = {k: x for k, x in values.items() if math.isfinite(x)}
    if not values:
        return None
    if column == "val_loss":
        return list(values.values())[-1]
    return values.get(str(best_epoch), max(values.values()))


def _scored(run, kind, split):
    """The figure that `report` wrote of a split, or None where it has not scored it."""
    if kind == PRETRAINING:
        return None
    path = run / (f"segments_{split}.json" if kind == SEGMENTER else f"metrics_{split}.json")
    if not path.is_file():
        return None
    facts = read_json(path)
    if kind == SEGMENTER:
        dice = [x["dice"] for x in facts["figures"] if x["by"] == "network"]
        dice = [x for x in dice if x is not None]
        return sum(dice) / len(dice) if dice else math.nan
    value = facts["grade"]["kappa"] if kind == "grades" else facts["macro"]["roc_auc"]
    return math.nan if value is None else value
