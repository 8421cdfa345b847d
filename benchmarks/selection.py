"""Which score on val chooses the better epoch, and which BatchNorm statistics suit averages?

    python benchmarks/selection.py --manifest odir_split.csv --image-root ODIR \
        --out reports/selection [--seeds 0 1 2] [-- --phase2-epochs 8 ..]

One training a seed, without stopping early, answers both: after every epoch the averaged weights
predict val and test twice, with the statistics of the weights as they are and with those
re-estimated for the averages, and the logits are kept in OUT/logits. Training goes on from the same
weights either way, and no score changes its course. Each score of --select then chooses an epoch on
val, where thresholds and calibration are fitted too. Figures are macro means on test, means over
the seeds; differences are paired, with 95 % intervals over patients, the same resamples for all.
What is finished is not done again. ODIR takes half an hour on two cores.
"""

import argparse
import contextlib
from pathlib import Path
from unittest import mock

import numpy as np
import tyro

from fundus_diag.data.inputs import load_table
from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.pipeline import scoring_batches
from fundus_diag.metrics import bootstrap, classification
from fundus_diag.metrics.calibration import (
    apply_calibration,
    fit_operating_points,
    thresholds_array,
)
from fundus_diag.runs.freeze import inference
from fundus_diag.training import phases, validation
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.train import train
from fundus_diag.utils.files import atomic

FLAGS = ["--encoder", "se_xception_small", "--weights", "none", "--image-size", "96"]
FLAGS += ["--phase2-epochs", "8", "--cache", "disk"]
# Phase 2 would start from the epoch of phase 1 that a score chose.
FIXED = ["--phase1-epochs", "0", "--patience", "0", "--resume"]
FIGURES = ("average_precision", "roc_auc", "f1")
KINDS = ("raw", "own")  # statistics: of the weights as they are, of the averages
BASE = "composite"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("flags", nargs="*", help="of train_two_phase.py, after --")
    args = parser.parse_args()
    seeds, rows, labels = [], None, list(read_manifest(args.manifest).labels)
    for seed in args.seeds:
        run = args.out / f"seed_{seed}"
        words = ["--manifest", args.manifest, "--image-root", args.image_root, "--run-dir", run]
        words += ["--seed", seed, *FLAGS, *args.flags, *FIXED]
        config = tyro.cli(TrainConfig, args=[str(x) for x in words]).resolved()
        if not config.ema:
            parser.error("--ema 0: there are no averages to compare")
        rows = rows or held_out(config, labels)
        folder = args.out / "logits" / f"seed_{seed}"
        train_and_keep(config, rows, folder)
        epochs = [read(file) for file in sorted(folder.glob("*.npz"))]
        if len(epochs) != config.phase2_epochs:
            parser.error(f"{folder}: not of this training; remove it with {run}")
        seeds.append(figures(epochs, rows, labels, args.resamples))
    show(seeds)


def held_out(config, labels):
    """{split: (pictures, rows)} of val and test."""
    known = {"labels": labels, "image_size": config.image_size}
    known |= {"crop": config.crop, "unit": config.unit}
    return {
        split: load_table(config.manifest, config.image_root, known, split, cache="ram")
        for split in ("val", "test")
    }


def train_and_keep(config, rows, folder):
    """Trains a run, and writes to a folder what each epoch's averages predict: `read` reads it."""
    averaged, networks = phases.averaged, {}
    inputs = {x: scoring_batches(p, r.pictures, config.batch_size) for x, (p, r) in rows.items()}

    @contextlib.contextmanager
    def predicting(model, batches):
        logits = networks.setdefault(id(model), inference(model))
        found = {}

        def predict(kind):
            for split in inputs:
                values = [logits(x).numpy() for x in inputs[split]]
                found[f"{split}_{kind}"] = np.concatenate(values)

        with mock.patch.object(phases, "calibrate_batch_norm"), averaged(model, batches):
            predict("raw")
        with averaged(model, batches):
            predict("own")
            folder.mkdir(parents=True, exist_ok=True)
            steps = int(model.optimizer.iterations)
            with atomic(folder / f"{steps:07d}.npz") as partial:
                np.savez(partial, **found)
            yield

    with mock.patch.object(phases, "averaged", predicting):
        train(config)


def read(path):
    """{split_kind: (N, L) logits} after an epoch."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def figures(epochs, rows, labels, resamples):
    """What one training gives.

    Returns:
        {"val": {kind: {score: (E,) values}}, "chosen": {(kind, score): epoch from 1},
        "test": {(kind, score): {figure: (1 + resamples,) macro means}}}, the first of all rows.
    """
    y = rows["val"][1].y
    val = {}
    for kind in KINDS:
        each = [validation.epoch_scores(y, x[f"val_{kind}"], labels) for x in epochs]
        val[kind] = {s: np.array([e[c] for e in each]) for s, c in validation.JUDGES.items()}
    chosen = {(k, s): int(np.nanargmax(v)) for k in KINDS for s, v in val[k].items()}
    scored = {
        (kind, epoch): score(epochs[epoch], kind, rows, labels, resamples)
        for kind, epoch in {(kind, epoch) for (kind, _), epoch in chosen.items()}
    }
    test = {(kind, s): scored[kind, epoch] for (kind, s), epoch in chosen.items()}
    return {"val": val, "chosen": {x: 1 + e for x, e in chosen.items()}, "test": test}


def score(logits, kind, rows, labels, resamples):
    """{figure: (1 + resamples,) macro means on test} of one epoch; the first of all rows."""
    points = fit_operating_points(rows["val"][1].y, logits[f"val_{kind}"], labels)
    p = apply_calibration(logits[f"test_{kind}"], points, labels)
    called = classification.call(p, thresholds_array(points, labels))
    test = rows["test"][1]
    statistic = classification.statistic(test.y, p, called, FIGURES)
    every = statistic(np.ones((len(test.y), 1), "int32"))
    patients = test.table["patient"].to_numpy()
    drawn = bootstrap.distribution(statistic, patients, resamples, 0, width=len(labels))
    means = {}
    for figure in FIGURES:
        name = f"labels.{figure}"
        values = np.concatenate([every[name], drawn[name]])
        means[figure] = classification.mean_of_defined(values, ~np.isnan(every[name][0]))
    return means


def show(seeds):
    print("val, averages with own statistics minus raw ones, mean over epochs of each seed:")
    for name in validation.JUDGES:
        apart = [x["val"]["own"][name] - x["val"]["raw"][name] for x in seeds]
        better = np.mean(np.concatenate(apart) > 0)
        each = " ".join(f"{np.mean(a):+.4f}" for a in apart)
        print(f"  {name}: {each}; own better in {better:.0%} of epochs")
    for name in validation.JUDGES:
        for kind in KINDS:
            chosen = ", ".join(str(x["chosen"][kind, name]) for x in seeds)
            means = [np.mean([x["test"][kind, name][f][0] for x in seeds]) for f in FIGURES]
            text = ", ".join(f"{f} {v:.4f}" for f, v in zip(FIGURES, means, strict=True))
            print(f"test, {kind} statistics, epoch by {name} ({chosen}): {text}")
    for name in validation.JUDGES:
        compare(
            f"own statistics minus raw ones, epoch by {name}", seeds, ("own", name), ("raw", name)
        )
    for kind in KINDS:
        for name in validation.JUDGES:
            if name != BASE:
                text = f"epoch by {name} minus by {BASE}, {kind} statistics"
                compare(text, seeds, (kind, name), (kind, BASE))


def compare(text, seeds, a, b):
    print(f"test, {text}:")
    for figure in FIGURES:
        apart = np.array([x["test"][a][figure] - x["test"][b][figure] for x in seeds])
        pair, _ = bootstrap.interval(apart.mean(axis=0)[1:])
        low, high = pair or (np.nan, np.nan)
        each = " ".join(f"{v:+.4f}" for v in apart[:, 0])
        print(f"  {figure}: {apart[:, 0].mean():+.4f} ({low:+.4f} to {high:+.4f}); seeds {each}")


if __name__ == "__main__":
    main()
