"""The folder of a run: whether it may be used, and what `config.json` says of the run."""

import dataclasses
import datetime
import os
import platform
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fundus_diag.data.manifest import summary
from fundus_diag.models.weights.load import weights_record
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.flags import flag
from fundus_diag.utils.mixed_precision import has_gpu
from fundus_diag.utils.version import __version__

# May differ between an interrupted run and the command that goes on with it.
FREE_FLAGS = {"resume", "overwrite", "cache", "cache_dir"}


def claim(config, sha256, read):
    """Checks that a run may be written to its folder. Changes nothing: see `make_room`.

    Args:
        config: of the run, with `run_dir`, `resume`, `overwrite`, `manifest`.
        sha256: of the manifest.
        read: function of a folder to the `config.json` of a run of this kind, finished or not.

    Returns:
        The `config.json` of the run to go on with, or None for a new run.

    Raises:
        UsageError: the folder is in use, or the run in it was started with other flags.
        DataError: the run in it was started on another table.
    """
    folder = config.run_dir
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not folder.is_dir():
        raise UsageError(f"--run-dir {folder}: not a folder")
    if config.overwrite:
        if not (folder / "config.json").exists():
            raise UsageError(
                f"--run-dir {folder}: holds something else than a run, not overwritten"
            )
        read(folder)
        return None
    if not config.resume:
        raise UsageError(f"--run-dir {folder}: not empty; use --resume or --overwrite")
    if not (folder / "config.json").exists():
        return None  # killed before it wrote anything that matters
    before = read(folder)
    for name, value in flags(config).items():
        if name not in FREE_FLAGS and before["flags"].get(name) != value:
            raise UsageError(
                f"{flag(name)}: the run in {folder} was started with "
                f"{before['flags'].get(name)}, not {value}"
            )
    if before["data"]["sha256"] != sha256:
        raise DataError(f"{config.manifest}: has changed since the run in {folder} was started")
    return before


def flags(config):
    """Every flag of a configuration as a JSON value; files by their absolute path."""
    return {name: _plain(value) for name, value in dataclasses.asdict(config).items()}


def _plain(value):
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value


def describe(config, manifest, inputs, test, model, pretrained, plan):
    """`config.json` of a run that starts: what it is made of and where it runs.

    `test` is the table of the test rows: they are counted, nothing more.
    """
    factors, repeats, weights = plan
    labels = list(manifest.labels)
    tables = {name: rows.table for name, rows in inputs.splits.items()}
    if len(test):
        tables["test"] = test
    return {
        "version": __version__,
        "encoder": config.encoder,
        "image_size": config.image_size,
        "unit": config.unit,
        "task": config.task,
        "labels": labels,
        "crop": config.crop,
        "pretrained": pretrained,
        "weights": config.weights,
        "weights_record": weights_record(config.weights),
        "seed": config.seed,
        "parameters": model.count_params(),
        "flags": flags(config),
        "data": {
            "manifest": str(config.manifest.resolve()),
            "sha256": manifest.sha256,
            "image_root": str(config.image_root.resolve()),
            "bad_images": inputs.bad,
            "splits": {
                name: summary(table.assign(split=name), labels)[name]
                for name, table in tables.items()
            },
            "rows_per_epoch": round(float(factors.sum()), 1),
            "repeat_factors": dict(zip(labels, repeats.round(4).tolist(), strict=True)),
            "pos_weight": dict(zip(labels, weights.round(4).tolist(), strict=True)),
        },
        **circumstances(),
    }


def circumstances():
    """What `config.json` of any run says of where and when it began."""
    return {
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        "device": _device(),
        "started": now(),
        "finished": None,
    }


def now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _device():
    if not has_gpu():
        return f"CPU, {len(os.sched_getaffinity(0))} cores"
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"{len(gpus)} x {details.get('device_name', 'GPU')}"


def make_room(config):
    """Makes the run's folder; with --overwrite the run in it goes, once the new one can begin."""
    if config.overwrite and config.run_dir.exists():
        for entry in config.run_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    config.run_dir.mkdir(parents=True, exist_ok=True)
