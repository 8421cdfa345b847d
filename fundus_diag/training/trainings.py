"""Runs the trainings of a plan, one after the other, each in a process of its own.

A run's folder is named after all that decides it, so that one that is there is used again, one that
was killed goes on, and one whose flags or table changed is another. One that fails does not lose
the rest.
"""

import dataclasses
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fundus_diag.data.labels import SPLITS
from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.splits import split_manifest
from fundus_diag.data.write import write_manifest
from fundus_diag.runs import photographs, same_flags
from fundus_diag.runs.contents import CONFIG, ENCODER_WEIGHTS, HISTORY
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.plan import PRETRAINED
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.watch import shown
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import make_folder, read_json, sha256
from fundus_diag.utils.flags import words_of
from fundus_diag.utils.version import __version__

LOOK_EVERY = 1.0  # s between looks at a run's history
COMMAND = (sys.executable, "-m", "fundus_diag")


@dataclass
class Training:
    """A run of a plan, and how far it is.

    Attributes:
        name: of its variant.
        config: `TrainConfig` or `PretrainConfig`, with the flags as given.
        epochs: of all of it.
        first: of these, the epochs of phase 1.
        state: waiting, running, scoring, done, reused, ended early or failed.
        done: epochs that are finished.
        seconds: spent on it here.
        head: of these, the seconds until phase 1 was over.
        reason: why it failed.
        table: function that writes the table it learns from, where that is its own.
    """

    name: str
    config: object
    epochs: int
    state: str = "waiting"
    done: int = 0
    seconds: float = 0.0
    reason: str = ""
    started: float | None = field(default=None, repr=False)
    done_before: int = 0
    first: int = 0
    head: float = 0.0
    table: Callable = field(default=lambda: None, repr=False)

    @property
    def run_dir(self):
        return self.config.run_dir

    @property
    def log(self):
        return self.run_dir.parent / f"{self.run_dir.name}.log"

    @property
    def over(self):
        return self.state in ("done", "reused", "ended early", "failed")


def trainings(plan, out):
    """[`Training`] of a plan: its pretraining if it has one, then seed by seed all variants.

    Args:
        plan: `plan.Plan`.
        out: folder of the comparison.

    Raises:
        DataError: the table of the plan is not fit to train on, or weights are missing.
    """
    manifest = read_manifest(plan.manifest, need_split=True)
    found, pretrained = [], None
    if plan.pretrain is not None:
        config = PretrainConfig(plan.manifest, plan.image_root, Path(), **plan.pretrain)
        pretrained = placed(config, out, {"table": manifest.sha256}, "pretrain")
        found.append(Training("pretrain", pretrained, pretrained.epochs))
    for seed in dict.fromkeys(seed for variant in plan.variants for seed in variant.seeds):
        for variant in plan.variants:
            if seed in variant.seeds:
                found.append(_training(plan, variant, seed, out, manifest, pretrained))
    return found


def run_all(found, split):
    """Runs what is not done, behind a live table; each has predictions of `split` afterwards.

    Args:
        found: list of `Training`; they are changed.
        split: of the run's own table.
    """
    for one in found:
        look(one)
    with shown(found) as show:
        lost = None
        for one in found:
            if one.state == "reused" and _scored(one, split):
                show(one)
                continue
            if lost and getattr(one.config, "weights", None) == lost:
                one.state, one.reason = "failed", "its pretraining failed"
                show(one)
                continue
            _run(one, split, show)
            if one.state == "failed" and isinstance(one.config, PretrainConfig):
                lost = str(one.run_dir / ENCODER_WEIGHTS)


def _training(plan, variant, seed, out, manifest, pretrained):
    flags, facts = dict(variant.flags), {}
    if flags.get("weights") == PRETRAINED:
        flags["weights"] = str(pretrained.run_dir / ENCODER_WEIGHTS)
        facts["weights"] = pretrained.run_dir.name  # which says all of it
    else:
        flags, facts = with_weights(flags, plan.path.parent, f"variant {variant.name}")
    table, facts["table"], write = _table(plan, variant, seed, out, manifest)
    config = TrainConfig(table, plan.image_root, Path(), seed=seed, **flags)
    config = placed(config, out, facts, config.encoder)
    full = config.resolved()
    epochs = full.phase1_epochs + full.phase2_epochs
    return Training(variant.name, config, epochs, first=full.phase1_epochs, table=write)


def with_weights(flags, folder, where):
    """(flags with the absolute path of a weights file, {"weights": its sha256}).

    Args:
        flags: {field of `TrainConfig`: value}.
        folder: that a path starts from.
        where: what is said of a file that is missing.

    Raises:
        DataError: the file is missing.
    """
    name = flags.get("weights", "none")
    if name in ("none", "imagenet"):
        return flags, {}
    path = (folder / name).resolve()
    if not path.is_file():
        raise DataError(f"{path}: no such weights file ({where})")
    return {**flags, "weights": str(path)}, {"weights": sha256(path)}


def placed(config, out, facts, name):
    """The configuration with its folder, named after what decides the run.

    Args:
        config: without its folder.
        out: that the folder `runs` is in.
        facts: what else decides it: the sha256 of the table, of weights.
        name: that the folder's begins with.
    """
    known = same_flags.flags(config.resolved())
    known = {k: v for k, v in known.items() if k not in same_flags.FREE_FLAGS}
    text = json.dumps([__version__, {**known, **facts}], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    run_dir = out / "runs" / f"{name}-s{config.seed}-{digest}"
    return dataclasses.replace(config, run_dir=run_dir, resume=True)


def _table(plan, variant, seed, out, manifest):
    """The table that a run of a variant is trained on: (path, what decides it, writes it)."""
    if variant.train_share == 1 and not variant.split_eyes:
        return plan.manifest, manifest.sha256, lambda: None
    share = f"{variant.train_share:g}-s{seed}" if variant.train_share < 1 else ""
    parts = [manifest.sha256[:12], "eyes" if variant.split_eyes else "", share]
    name = "-".join(x for x in parts if x)
    path = out / "tables" / f"{name}.csv"

    def write():
        table = manifest.table
        if variant.split_eyes:
            rows = table["split"].value_counts()
            ratios = [rows.get(x, 0) / rows.sum() for x in SPLITS]
            alone = table.assign(patient=table["image"])
            table = split_manifest(dataclasses.replace(manifest, table=alone), ratios)
        if variant.train_share < 1:
            train = table["split"] == "train"
            patients = np.sort(table.loc[train, "patient"].unique())
            count = max(1, round(variant.train_share * len(patients)))
            kept = np.random.default_rng(seed).choice(patients, count, replace=False)
            table = table[~train | table["patient"].isin(kept)]
        if not path.exists():
            write_manifest(table, path)

    return path, f"{manifest.sha256} {name}", write


def look(one):
    """Reads how far a run is from its folder."""
    history = one.run_dir / HISTORY
    if history.is_file():
        lines = history.read_bytes().count(b"\n")
        one.done = max(0, lines - 1)
    if one.state == "waiting" and is_finished(one.run_dir):
        photographs.check_place(one.run_dir, one.config.image_root)
        one.state = "reused"


def is_finished(run_dir):
    """Whether a finished run is in a folder; of a damaged one, what goes on with it says so."""
    try:
        return bool(read_json(run_dir / CONFIG).get("finished"))
    except (OSError, DataError):
        return False


def _scored(one, split):
    return isinstance(one.config, PretrainConfig) or (
        (one.run_dir / f"predictions_{split}.csv").is_file()
    )


def _run(one, split, show):
    """Trains and scores a run, unless that is done."""
    make_folder(one.log.parent)
    one.table()
    one.started, one.done_before = time.monotonic(), one.done
    pretraining = isinstance(one.config, PretrainConfig)
    with one.log.open("ab") as log:
        status = 0
        if one.state != "reused":
            one.state = "running"
            words = ["pretrain" if pretraining else "train", *words_of(one.config)]
            status = waited(one, words, log, show)
        if status == 0 and not _scored(one, split):
            one.state = "scoring"
            words = ["report", str(one.run_dir), "--split", split, "--no-explain"]
            status = waited(one, words, log, show)
    one.seconds = time.monotonic() - one.started
    look(one)
    one.state = "failed" if status else "done"
    if status:
        one.reason = last_line(one.log) or f"status {status}"
    show(one)


def waited(one, words, log, show, enough=lambda one: False):
    """Runs `fundus-diag` with these words and watches it; returns its exit status.

    Args:
        one: `Training` that it works on.
        words: of the command line.
        log: file, open for bytes, that takes what it says.
        show: is called with `one` after each look.
        enough: the same; where it is true the process is ended, and None returned.
    """
    process = subprocess.Popen([*COMMAND, *words], stdout=log, stderr=log)
    try:
        while True:
            try:
                return process.wait(LOOK_EVERY)
            except subprocess.TimeoutExpired:
                one.seconds = time.monotonic() - one.started
                look(one)
                if one.done < one.first:
                    one.head = one.seconds
                show(one)
                if enough(one):
                    process.terminate()
                    process.wait()
                    return None
    except BaseException:  # interrupted: what it has finished is kept by itself
        process.terminate()
        process.wait()
        raise


def last_line(path):
    """The last line of a log that says something."""
    lines = path.read_text("utf-8", "replace").split("\n")
    said = [x.strip() for x in lines if x.strip()]
    return said[-1].removeprefix("fundus-diag: ")[:300] if said else ""
