"""Repeats a training with several seeds and tabulates what each scored: mean and spread.

    python benchmarks/seeds.py --out reports/retinamnist --seeds 0 1 2 -- \
        --manifest RETINAMNIST.csv --image-root IMAGES --task grade ..

Every run goes to OUT/seed_<n> with the flags after `--`, and is gone on with where it stopped.
Choices belong on `val`; `test` is scored once all seeds are done.
"""

import argparse
from pathlib import Path

import numpy as np
from common import fundus_diag, scored

FIGURES = {
    "grade": ("accuracy", "roc_auc", "precision", "recall", "f1", "kappa"),
    "macro": ("roc_auc", "average_precision", "f1"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    parser.add_argument("flags", nargs="+", help="of train_two_phase.py, after --")
    args = parser.parse_args()
    runs = {seed: args.out / f"seed_{seed}" for seed in args.seeds}
    for seed, run in runs.items():
        fundus_diag("train", "--run-dir", run, "--seed", seed, "--resume", *args.flags)
    for split in args.splits:
        show(split, [scored(run, split) for run in runs.values()])


def show(split, metrics):
    part = "grade" if "grade" in metrics[0] else "macro"
    for figure in FIGURES[part]:
        values = np.array([m[part].get(figure, np.nan) for m in metrics], float)
        each = " ".join(f"{v:.3f}" for v in values)
        spread = values.std(ddof=1) if len(values) > 1 else np.nan
        print(f"{split} {figure}: {values.mean():.3f} +- {spread:.3f} ({each})")


if __name__ == "__main__":
    main()
