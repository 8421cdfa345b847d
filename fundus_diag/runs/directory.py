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

from fundus_diag.runs.run_files import FIRST_FLAGS, all_flags, read_config
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import write_json
from fundus_diag.utils.flags import flag
from fundus_diag.utils.mixed_precision import has_gpu
from fundus_diag.utils.version import __version__

# May differ between an interrupted run and the command that goes on with it.
FREE_FLAGS = {"resume", "overwrite", "cache", "cache_dir"}


def claim(config, sha256, kind):
    """Checks that a run may be written to its folder. Changes nothing: see `begin`.

    Args:
        config: of the run, with `run_dir`, `resume`, `overwrite`, `manifest`.
        sha256: of the manifest.
        kind: of the run, see `run_files.read_config`.

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
        read_config(folder, kind, finished=False)
        return None
    if not config.resume:
        raise UsageError(f"--run-dir {folder}: not empty; use --resume or --overwrite")
    if not (folder / "config.json").exists():
        return None  # killed before it wrote anything that matters
    before = read_config(folder, kind, finished=False)
    for name, value in flags(config).items():
        then = all_flags(before).get(name, value)  # a flag of later than the run: see `going_on`
        if name not in FREE_FLAGS and then != value:
            raise UsageError(
                f"{flag(name)}: the run in {folder} was started with {then}, not {value}"
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


def describe(config, manifest, splits, bad, model):
    """`config.json` of a run that starts: what it is made of and where it runs.

    Args:
        config: of the run.
        manifest: its table.
        splits: {name: counts of its rows}.
        bad: [photograph, reason] of those left out.
        model: the network.
    """
    given = flags(config)
    return {
        "version": __version__,
        **{name: given.pop(name) for name in FIRST_FLAGS if name in given},
        "parameters": model.count_params(),
        "flags": given,
        "data": {
            "manifest": str(config.manifest.resolve()),
            "sha256": manifest.sha256,
            "image_root": str(config.image_root.resolve()),
            "bad_images": bad,
            "splits": splits,
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


def begin(config, facts):
    """Makes the run's folder and writes what is known of the run so far.

    With --overwrite the run in it goes, now that the new one can begin.
    """
    if config.overwrite and config.run_dir.exists():
        for entry in config.run_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    config.run_dir.mkdir(parents=True, exist_ok=True)
    write_json(config.run_dir / "config.json", facts)


def finish(config, facts):
    """Writes all that is known of the run, and that it is finished."""
    write_json(config.run_dir / "config.json", {**facts, "finished": now()})
