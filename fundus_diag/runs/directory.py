"""The folder of a run: whether it may be used, and what `config.json` says of the run."""

import contextlib
import datetime
import platform
import shlex
import sys

import keras
import numpy as np
import tensorflow as tf

from fundus_diag.data.synthetic.dataset import DRAWING
from fundus_diag.runs import contents
from fundus_diag.runs.contents import CONFIG
from fundus_diag.runs.lock import locked
from fundus_diag.runs.run_files import (
    CLASSIFIER,
    FIRST_FLAGS,
    PRETRAINING,
    SEGMENTER,
    check_config,
    read_config,
)
from fundus_diag.runs.same_flags import check_same, flags
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import write_json
from fundus_diag.utils.mixed_precision import has_gpu, on_jax
from fundus_diag.utils.processes import cores
from fundus_diag.utils.version import __version__

# That train a run of each kind.
COMMANDS = {CLASSIFIER: "train", PRETRAINING: "pretrain", SEGMENTER: "segment train"}
# In config.json while an earlier run is being removed: what lies there is not of this one.
REPLACING = "replacing"


@contextlib.contextmanager
def claimed(config, sha256, kind, images=()):
    """Holds a run's folder while the block trains in it. Nothing is changed there: see `begin`.

    Args:
        config: of the run, with `run_dir`, `resume`, `overwrite`, `manifest`, `image_root`.
        sha256: of the manifest.
        kind: of the run, see `run_files.read_config`.
        images: paths of the photographs below the image root.

    Yields:
        The `config.json` of the run to go on with, or None for a new run.

    Raises:
        UsageError: the folder is in use, or holds something else than a run, or what the run
            reads; or the run in it was started with other flags, which are all named.
        DataError: the run in it was started on another table, or nothing can be written.
    """
    _check_claim(config, sha256, kind, images)  # before anything is made there
    with locked(config.run_dir):
        try:
            yield _check_claim(config, sha256, kind, images)
        except KeyboardInterrupt:
            if not (config.run_dir / CONFIG).is_file():
                raise KeyboardInterrupt("interrupted; nothing was begun in the folder") from None
            again = f"{COMMANDS[kind]} --run-dir {shlex.quote(str(config.run_dir))} --resume"
            raise KeyboardInterrupt(f"interrupted; go on with: fundus-diag {again}") from None


@contextlib.contextmanager
def check_only(config, sha256, kind, images=()):
    """What `claimed` yields, with its errors; nothing is held or made."""
    yield _check_claim(config, sha256, kind, images)


def _check_claim(config, sha256, kind, images=()):
    folder = config.run_dir
    exists = folder.exists()
    if exists and not folder.is_dir():
        raise UsageError(f"--run-dir {folder}: not a folder")
    begun = (folder / CONFIG).exists()
    if not (begun and config.resume):  # a run that was begun there goes on, and removes nothing
        contents.check_place(folder, config.manifest, config.image_root, images)
    others = contents.foreign(folder) if exists else []
    if not begun and not others and not contents.own_files(folder):
        return None  # new, empty, or killed before it wrote anything that matters
    if not begun and (config.overwrite or config.resume):
        what = ", ".join(others[:3] or ["parts of a run"])
        do = "not overwritten" if config.overwrite else "so there is no run to go on with"
        raise UsageError(f"--run-dir {folder}: holds something else than a run ({what}), {do}")
    if config.overwrite:
        read_config(folder, kind, finished=False)
        contents.check_all_free(folder)
        return None
    if not begun:
        raise UsageError(f"--run-dir {folder}: not empty; name a new folder")
    if not config.resume:
        raise UsageError(f"--run-dir {folder}: holds a run; use --resume or --overwrite")
    before = read_config(folder, kind, finished=False)
    check_same(config, before)
    if before["data"].get("sha256") != sha256:
        raise DataError(f"{config.manifest}: has changed since the run in {folder} was started")
    return before


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
            "drawn": (config.image_root / DRAWING).is_file(),
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
            **_of_jax(),
        },
        "device": device(),
        "started": now(),
        "finished": None,
    }


def _of_jax():
    """The version of JAX where that is what computes."""
    if not on_jax():
        return {}
    import jax

    return {"jax": jax.__version__}


def now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def device():
    """What a training computes on, in words."""
    if not has_gpu():
        return f"CPU, {cores()} cores"
    if on_jax():
        import jax

        gpus = jax.devices()
        return f"{len(gpus)} x {gpus[0].device_kind}"
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"{len(gpus)} x {details.get('device_name', 'GPU')}"


def begin(config, facts, before=None):
    """Writes what is known of the run so far.

    With --overwrite what the run in the folder had written goes, now that the new one can begin.

    Args:
        config: of the run, whose folder is held.
        facts: `config.json`.
        before: of the run to go on with, or None.

    Returns:
        `facts`, with what the sessions before this one were.
    """
    folder = config.run_dir
    if before:
        sessions = before.get("sessions") or [before.get("started")]
        facts = facts | {"started": sessions[0], "sessions": [*sessions, facts["started"]]}
    check_config(folder / CONFIG, facts)  # what could not be read again is not begun
    if config.overwrite or (before or {}).get(REPLACING):
        contents.check_all_free(folder)
        # Killed in between, the folder is known not to hold a state of the new run.
        write_json(folder / CONFIG, facts | {REPLACING: True})
        others = contents.clear(folder)
        if others:
            listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" * (len(others) > 5))
            print(f"note: {folder}: of no run, left as they are: {listed}", file=sys.stderr)
    contents.sweep(folder)
    write_json(folder / CONFIG, facts)
    return facts


def finish(config, facts):
    """Writes all that is known of the run, and that it is finished."""
    write_json(config.run_dir / CONFIG, {**facts, "finished": now()})
