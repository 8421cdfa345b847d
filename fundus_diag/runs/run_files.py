"""Reads the files of a run directory; everything in them is checked."""

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.columns import META
from fundus_diag.data.manifest import read_manifest, read_photographs
from fundus_diag.data.tables import read_table
from fundus_diag.runs import schema
from fundus_diag.runs.contents import CONFIG, ENCODER_WEIGHTS
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import read_json

ABOUT = (*META, "image_left", "image_right")  # columns of predictions beside y_ and p_
# What stands, or would stand, under `kind`.
CLASSIFIER, PRETRAINING, SEGMENTER = "classifier", "pretraining", "segmenter"
# Flags that stand by themselves in config.json, before the others.
FIRST_FLAGS = ("encoder", "image_size", "unit", "task", "crop", "weights", "seed")
SCHEMAS = {
    CLASSIFIER: schema.Classifier,
    PRETRAINING: schema.Pretraining,
    SEGMENTER: schema.Segmenter,
}


def read_config(run_dir, kind=CLASSIFIER, finished=True):
    """config.json of a run, as a dict.

    Args:
        run_dir: folder.
        kind: of the run, a key of `SCHEMAS`.
        finished: whether the run has to be complete.

    Raises:
        DataError: there is none, it is not one of this kind, or the run is not finished.
    """
    path = Path(run_dir) / CONFIG
    config = read_json(path)
    if config.get("kind", CLASSIFIER) != kind:
        if config.get("kind") == PRETRAINING:
            raise DataError(
                f"{path}: of a pretraining; `train --weights` takes its {ENCODER_WEIGHTS}"
            )
        other = config.get("kind", CLASSIFIER)
        raise DataError(f"{path}: of a {other}, not of a {kind}")
    check_config(path, config)
    if finished and not config.get("finished"):
        raise DataError(f"{path}: the run is not finished; go on with it by --resume")
    return config


def check_config(path, config):
    """Raises DataError unless `config` is what a run's config.json may hold."""
    schema.check(path, SCHEMAS[config.get("kind", CLASSIFIER)], config)


def all_flags(config):
    """{name: value} of every flag that a run was started with."""
    first = {name: config[name] for name in FIRST_FLAGS if name in config}
    return {**first, **config["flags"]}


def leaks(record):
    """What a reader must know of the photographs that weights have seen: a list of lines.

    Args:
        record: `weights_record` of a run's config.json. `held_out` in it is
            {split: [photographs of it that were seen, of how many]}, or None where that could not
            be told; records of older runs lack it.
    """
    if not isinstance(record, dict):
        return []
    seen = record.get("pretrained_on")
    splits = seen.get("splits") if isinstance(seen, dict) else None
    counts = record.get("held_out")
    if isinstance(counts, dict):
        pairs = ((x, counts.get(x)) for x in ("val", "test"))
        return [
            f"the encoder was pretrained on {pair[0]} of the {pair[1]} photographs of {split}: "
            "scores there mislead"
            for split, pair in pairs
            if isinstance(pair, list) and len(pair) == 2 and all(map(_count, pair)) and pair[0]
        ]
    splits = splits if isinstance(splits, list) else []
    held_out = [x for x in ("val", "test") if x in splits or "all" in splits]
    if held_out and "held_out" not in record:
        where = " and ".join(held_out)
        return [f"the encoder was pretrained on rows of {where}: scores there mislead"]
    if "held_out" in record:
        return [
            "which photographs its weights have seen is not recorded: whether those of val and "
            "test are among them is not known"
        ]
    return []


def read_history(path):
    """history.csv as a table of floats, one row per epoch; an empty cell is NaN.

    A figure that is no finite number is named on stderr and left out: the curves do without it.

    Raises:
        DataError: there is no `epoch` or `phase`, or one of them is no number.
    """
    table = read_table(Path(path))
    if "epoch" not in table.columns or "phase" not in table.columns:
        raise DataError(f"{path}: no column 'epoch' or no column 'phase'")
    columns = {}
    for name in table.columns:
        values = columns[name] = []
        for numbered in enumerate(table.column(name)):
            try:
                values.append(_float(path, table.lines, name, numbered))
            except DataError as error:
                if name in ("epoch", "phase"):
                    raise
                print(f"warning: {error}: left out", file=sys.stderr)
                values.append(math.nan)
    return pd.DataFrame(columns)


def read_predictions(path, labels, unit):
    """A table of predictions: texts as they stand, `y_*`, `p_*` and `age` as floats.

    Args:
        path: CSV file.
        labels: the run's labels; each needs `p_<label>` in [0, 1]. A label without a column
            `y_<label>` (1, 0 or empty) is graded in no row.
        unit: "eye" (column `image`) or "patient" (columns `image_left`, `image_right`).

    Raises:
        DataError: a column is missing or a value is wrong; names the file, line and column.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: not found; `fundus-diag predict` writes it")
    table = read_table(path)
    pictures = ["image"] if unit == "eye" else ["image_left", "image_right"]
    wanted = ["patient", *pictures, *(f"p_{label}" for label in labels)]
    missing = [column for column in wanted if column not in table.columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing[:5])}; is it of this run?")
    kept = {*ABOUT, "quality_reason", "unfamiliar"} - {"age"}
    columns = {c: table.column(c) for c in table.columns if c in kept}
    if "" in columns["patient"]:
        line = table.lines[columns["patient"].index("")]
        raise DataError(f"{path} line {line}: empty patient")
    if "age" in table.columns:
        columns["age"] = [
            _float(path, table.lines, "age", t) for t in enumerate(table.column("age"))
        ]
    for label in labels:
        for kind in "yp":
            name = f"{kind}_{label}"
            if name not in table.columns:
                columns[name] = [math.nan] * len(table.rows)
                continue
            values = [_float(path, table.lines, name, t) for t in enumerate(table.column(name))]
            columns[name] = values
            wrong = np.flatnonzero([not _fits(kind, v) for v in values])
            if len(wrong):
                what = "1, 0 or empty" if kind == "y" else "a probability"
                line = table.lines[wrong[0]]
                raise DataError(f"{path} line {line}: {name} is {values[wrong[0]]}, not {what}")
    frame = pd.DataFrame(columns)
    if frame[[f"y_{label}" for label in labels]].isna().all(axis=None):
        raise DataError(f"{path}: no row is graded for any label, there is nothing to score")
    return frame


def _float(path, lines, column, numbered):
    row, text = numbered
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise DataError(f"{path} line {lines[row]}: {column} is {text[:40]!r}, not a number")
    return value


def _fits(kind, value):
    if kind == "y":
        return math.isnan(value) or value in (0, 1)
    return 0 <= value <= 1


def _count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def own_table(config):
    """(`Manifest`, folder of its photographs, "") of a run, or (None, None, why it is not here).

    Labels are read where the run knows any.
    """
    data = config["data"]
    manifest, root = Path(data.get("manifest") or ""), own_photographs(config)
    if not manifest.is_file():
        return None, None, "its table is not here"
    if root is None:
        return None, None, "the folder of its photographs is not here"
    table = (read_manifest if "labels" in config else read_photographs)(manifest)
    if table.sha256 != data.get("sha256"):
        return None, None, "its table has changed since"
    return table, root, ""


def is_drawn(config):
    """Whether a run learned from drawn photographs, which are nobody's: the folder says so."""
    from fundus_diag.data.synthetic.dataset import DRAWING  # draws, and so imports much

    root = own_photographs(config)
    return bool(config["data"].get("drawn")) or (root is not None and (root / DRAWING).is_file())


def own_photographs(config):
    """The folder of a run's photographs, or None where it is not on this machine."""
    root = config["data"].get("image_root")
    return Path(root) if root and Path(root).is_dir() else None
