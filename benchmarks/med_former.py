"""Med-Former's ablation of six rows: one or two windows, and what is done with the previous stage.

    python benchmarks/med_former.py --manifest odir_split.csv --image-root ODIR --out reports/rows

Each row is trained with every seed, at a size that its merges divide and with few channels, for a
few epochs: it compares the rows with each other, not with others' figures. Means with the standard
deviation over seeds; everything is gone on with where it stopped. Chosen on `val` were the rate,
with one seed of the first row, and each run's epoch.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from common import fundus_diag, scored

ROWS = list(itertools.product(("window", "local_global"), ("none", "concat", "saf")))
FIGURES = ("roc_auc", "average_precision", "f1")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=3e-4)  # with 1e-3 they hardly learn
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    args = parser.parse_args()
    flags = ["--manifest", args.manifest, "--image-root", args.image_root, "--weights", "none"]
    flags += ["--encoder", "med_former", "--image-size", args.image_size, "--recipe", "scratch"]
    flags += ["--phase2-epochs", args.epochs, "--phase2-rate", args.rate]
    flags += ["--patience", 0, "--resume"]
    runs = {
        (row, seed): args.out / f"{'_'.join(row)}_{seed}"
        for seed in args.seeds  # outermost: one whole table after the other
        for row in ROWS
    }
    for ((attention, fusion), seed), run in runs.items():
        options = [f"width={args.width}", f"attention={attention}", f"fusion={fusion}"]
        words = ["--encoder-options", *options, "--seed", seed, "--run-dir", run]
        fundus_diag("train", *flags, *words)
    for split in args.splits:
        print(f"| {split}: attention | fusion | {' | '.join(FIGURES)} |")
        print(f"|---|---|{'---|' * len(FIGURES)}")
        for row in ROWS:
            macros = [scored(runs[row, seed], split)["macro"] for seed in args.seeds]
            values = np.array([[m[x] for x in FIGURES] for m in macros])
            means, deviations = values.mean(axis=0), values.std(axis=0, ddof=1)
            cells = [f"{m:.3f} +- {d:.3f}" for m, d in zip(means, deviations, strict=True)]
            print(f"| {' | '.join((*row, *cells))} |")


if __name__ == "__main__":
    main()
