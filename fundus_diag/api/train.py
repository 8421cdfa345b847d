"""Tables and trainings from Python."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fundus_diag.api.run import Run, load_run
from fundus_diag.data import manifest as manifests
from fundus_diag.data.manifest import Manifest
from fundus_diag.runs.schema import values_of
from fundus_diag.training.config import TrainConfig
from fundus_diag.utils.errors import UsageError


def train(config: TrainConfig | Mapping[str, Any]) -> Run:
    """Trains a run as `fundus-diag train` does, with its report on val, and opens it.

    Args:
        config: `TrainConfig`, or its fields by name: `manifest`, `image_root`, `run_dir` and what
            else `fundus-diag train --help` lists, with _ for -.

    Raises:
        DataError: the table or photographs are not fit for training.
        UsageError: a flag is unknown, of another type or out of its range, or the folder holds a
            run and neither `resume` nor `overwrite` is set.
    """
    from fundus_diag.report.report import report_run
    from fundus_diag.training.train import train as train_run

    if not isinstance(config, TrainConfig):
        missing = {"manifest", "image_root", "run_dir"} - set(config)
        if missing:
            raise UsageError(f"train needs {', '.join(sorted(missing))}")
        unknown = set(config) - set(TrainConfig.__dataclass_fields__)
        if unknown:
            raise UsageError(f"{', '.join(sorted(unknown))}: no flag of train")
        flags = {name: _plain(value) for name, value in config.items()}
        config = TrainConfig(**values_of("train", TrainConfig, flags))
    folder = train_run(config)
    report_run(folder, split="val")
    return load_run(folder)


def _plain(value: Any) -> Any:
    """A flag as a configuration file would hold it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, tuple) else value


def read_manifest(path: str | os.PathLike, *, need_labels: bool | None = True) -> Manifest:
    """Reads and checks a table of photographs.

    Args:
        path: a CSV file with image, patient, eye, and a column of 1, 0 and nothing (not graded) a
            label.
        need_labels: False takes a table without labels too.

    Returns:
        `Manifest`: `table`, a DataFrame with float32 columns of 1, 0 and NaN, and `labels`.

    Raises:
        DataError: the first mistake, with its line and column, and how many more there are.
    """
    return manifests.read_manifest(Path(path), need_labels=need_labels)
