"""Makes the demo several times from nothing and says in which range its macro ROC AUC on test lies.

    python benchmarks/demo.py --out reports/demos --runs 3

Run it once on quiet cores and once beside other work: the batches are the same bit by bit, but sums
in another order of threads are not. A demo that is there already is not made again.
"""

import argparse
import json
from pathlib import Path

from common import fundus_diag


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    figures = []
    for i in range(args.runs):
        run = args.out / f"run_{i}"
        if not (run / "metrics_test.json").exists():
            fundus_diag("demo", "--out", run)
        test = json.loads((run / "metrics_test.json").read_text())["macro"]
        low, high = test["roc_auc_ci"]
        print(f"{run}: macro ROC AUC {test['roc_auc']:.4f} ({low:.3f} to {high:.3f})", flush=True)
        figures.append(test["roc_auc"])
    print(f"{args.runs} runs: {min(figures):.4f} to {max(figures):.4f}")


if __name__ == "__main__":
    main()
