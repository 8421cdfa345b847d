"""What masked pretraining on one's own photographs is worth: the same network with and without it.

    python benchmarks/pretraining.py --manifest odir.csv --image-root IMAGES --out reports/mae

Pretrains once on the photographs of `train` (no labels), then trains with a share of the training
patients' labels, from random weights and from the pretrained ones: with the same patients, seed and
flags, but for the layer decay of .75 that spares what was pretrained. Paired differences with a
95 % t interval over seeds. Everything is gone on with where it stopped.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from common import fundus_diag, scored
from scipy import stats

EPOCHS = {0.1: 80, 1.0: 12}  # of phase 2, by the share of labels
ARMS = ("scratch", "pretrained")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", default="mae_vit_tiny")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--pretrain-epochs", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--shares", type=float, nargs="+", default=list(EPOCHS), choices=list(EPOCHS)
    )
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    common = ["--image-root", args.image_root, "--encoder", args.encoder]
    common += ["--image-size", args.image_size]
    own = args.out / "pretrained"
    words = ["--manifest", args.manifest, "--run-dir", own, "--epochs", args.pretrain_epochs]
    words += ["--rate", args.rate, "--val-loss"]
    fundus_diag("pretrain", *words, *common, "--resume")
    weights = {"scratch": "none", "pretrained": own / "encoder.weights.h5"}
    runs = {}
    for share in args.shares:
        for seed in args.seeds:
            table = args.out / f"labels_{share:g}_{seed}.csv"
            keep_share(args.manifest, table, share, seed)
            for arm in ARMS:
                run = runs[share, arm, seed] = args.out / f"{arm}_{share:g}_{seed}"
                words = ["--manifest", table, "--run-dir", run, "--weights", weights[arm]]
                words += ["--recipe", "scratch", "--seed", seed, "--resume", *common]
                words += ["--phase2-epochs", EPOCHS[share], "--patience", 0]
                words += ["--layer-decay", 0.75] if arm == "pretrained" else []
                fundus_diag("train", *words)
    for split in args.splits:
        for share in args.shares:
            show(split, share, args.seeds, runs)


def keep_share(manifest, out, share, seed):
    """Writes the table with the training rows of a share of the training patients only."""
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    train = table["split"] == "train"
    patients = np.sort(table.loc[train, "patient"].unique())
    rng = np.random.default_rng(seed)
    kept = rng.choice(patients, max(1, round(share * len(patients))), replace=False)
    table[~train | table["patient"].isin(kept)].to_csv(out, index=False)


def show(split, share, seeds, runs):
    for figure in ("roc_auc", "average_precision", "f1"):
        scores = {
            arm: np.array(
                [scored(runs[share, arm, seed], split)["macro"][figure] for seed in seeds]
            )
            for arm in ARMS
        }
        gain = scores["pretrained"] - scores["scratch"]
        half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain)
        means = ", ".join(
            f"{arm} {x.mean():.3f} +- {x.std(ddof=1):.3f}" for arm, x in scores.items()
        )
        print(
            f"{split}, {share:.0%} of the labels, {figure}: {means}; "
            f"gain {gain.mean():+.3f} ({gain.mean() - half:+.3f} to {gain.mean() + half:+.3f})"
        )


if __name__ == "__main__":
    main()
