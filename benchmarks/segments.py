"""A segmenter over folds of patients: each photograph is scored by a network that never saw it.

    python benchmarks/segments.py --manifest lesions.csv --image-root IDRID --out reports/lesions \
        --folds 5 -- --image-size 1024 --phase2-epochs 60

For each fold a table with its own split (patients of the fold are test, an eighth of the others
val), a training by `fundus-diag segment train` with the flags behind --, and its report on test;
then all folds' photographs together, with intervals over patients: means over photographs, Dice
and area under precision-recall of all pixels pooled, as the challenges of lesions have it, and the
lesions found at some false ones a photograph. What is there already is used: the same command goes
on after a kill.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from common import machine

from fundus_diag.metrics.pooled import AT, FOUND, pooled_by_class
from fundus_diag.metrics.summary import summarise
from fundus_diag.report.segments import FIGURES

VAL = 8  # one patient in so many of those that are not test


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("flags", nargs="*", help="of `segment train`, behind --")
    args = parser.parse_args()
    table = pd.read_csv(args.manifest, dtype=str, keep_default_na=False)
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(table)} photographs, {args.folds} folds, {machine()}")
    found = []
    for k, split in enumerate(splits(table["patient"], args.folds, args.seed)):
        path, run = args.out / f"fold{k}.csv", args.out / f"fold{k}"
        text = table.assign(split=split).to_csv(index=False)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
        places = ["--manifest", path, "--image-root", args.image_root, "--run-dir", run]
        begun = ["--resume"] if (run / "config.json").is_file() else []
        command("segment", "train", *places, *args.flags, *begun)
        if not (run / "segments_test_counts.npz").is_file():
            command("segment", "report", run)
        found.append(pd.read_csv(run / "segments_test_images.csv").assign(fold=k))
    each = pd.concat(found, ignore_index=True)
    each.to_csv(args.out / "images.csv", index=False)
    means = summarise(each.astype({"patient": str}), ["class", "by"], list(FIGURES))
    means.to_csv(args.out / "means.csv", index=False)
    for row in means.to_dict("records"):
        said = [
            f"{name} {row[name]:.3f} ({row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f})"
            for name in ("dice", "iou", "average_precision", "sensitivity", "precision")
        ]
        print(f"{row['class']}, {row['by']}, {row['n']} photographs: {', '.join(said)}")
    parts = [np.load(args.out / f"fold{k}" / "segments_test_counts.npz") for k in range(args.folds)]
    counts = {key: np.concatenate([part[key] for part in parts]) for key in parts[0].files}
    people = dict(zip(table["image"], table["patient"], strict=True))
    together = pd.DataFrame(pooled_by_class(counts, people))
    together.to_csv(args.out / "pooled.csv", index=False)
    names = ["pooled_dice", "pooled_average_precision", *(f"{FOUND}{n}" for n in AT)]
    for row in together.to_dict("records"):
        said = [f"{x} {row[x]:.3f} ({row[f'{x}_low']:.3f} to {row[f'{x}_high']:.3f})"
                for x in names]  # fmt: skip
        print(f"{row['class']}, all together, {row['lesions']} lesions: {', '.join(said)}")


def splits(patients, folds, seed):
    """Of each fold the split of every row: its own patients test, an eighth of the others val."""
    names = np.random.default_rng([seed, folds]).permutation(sorted(set(patients)))
    for k in range(folds):
        others = np.concatenate([names[j::folds] for j in range(folds) if j != k])
        where = dict.fromkeys(names[k::folds], "test") | dict.fromkeys(others, "train")
        where |= dict.fromkeys(others[::VAL], "val")
        yield patients.map(where)


def command(*words):
    subprocess.run([sys.executable, "-m", "fundus_diag", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
