"""Repeats a training with several seeds and tabulates what each scored: mean and spread.

    python benchmarks/seeds.py --out reports/retinamnist --seeds 0 1 2 -- \
        --manifest RETINAMNIST.csv --image-root IMAGES --task grade ..

Every run goes to OUT/seed_<n> with the flags after `--`, and is gone on with where it stopped.
Choices belong on `val`; `test` is scored once all seeds are done.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

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
        words = ["--run-dir", str(run), "--seed", str(seed), "--resume", *args.flags]
        fundus_diag("train", *words)
    for split in args.splits:
        for run in runs.values():
            if not (run / f"metrics_{split}.json").exists():
                fundus_diag("report", str(run), "--split", split, "--no-explain")
        show(split, [json.loads((x / f"metrics_{split}.json").read_text()) for x in runs.values()])


def fundus_diag(*words):
    code = "import sys; from fundus_diag.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=sys.stderr)


def show(split, metrics):
    part = "grade" if "grade" in metrics[0] else "macro"
    for figure in FIGURES[part]:
        values = np.array([m[part].get(figure, np.nan) for m in metrics], float)
        each = " ".join(f"{v:.3f}" for v in values)
        spread = values.std(ddof=1) if len(values) > 1 else np.nan
        print(f"{split} {figure}: {values.mean():.3f} +- {spread:.3f} ({each})")


if __name__ == "__main__":
    main()
