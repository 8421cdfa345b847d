"""Which photographs a run's limits turn away: of each label, and of those that people have graded.

    python benchmarks/quality.py --manifest odir_split.csv --image-root ODIR \
        [--graded quality.csv --graded-root EYEPACS] [--image-size 224]

Limits are fitted on the rows of train, as a training does, and looked at on the others. `--graded`:
a table of quality grades, grade_0 good, grade_1 usable, grade_2 reject.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fundus_diag.data.manifest import read_manifest
from fundus_diag.imaging.gradability import MEASURES, fit_limits, measured, said
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.metrics.classification import macro_auc


def values_of(table, root, size):
    """(N, 5) measures of the photographs of a table."""
    with ThreadPoolExecutor() as pool:
        pictures = pool.map(lambda x: load_picture(root / x, size).astype(np.uint8), table["image"])
        return measured(np.stack(list(pictures)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--graded", type=Path)
    parser.add_argument("--graded-root", type=Path)
    parser.add_argument("--image-size", type=int, default=224)
    args = parser.parse_args()
    manifest = read_manifest(args.manifest, need_split=True)
    table, labels = manifest.table, list(manifest.labels)
    values = values_of(table, args.image_root, args.image_size)
    train = (table["split"] == "train").to_numpy()
    limits = fit_limits(values[train])
    poor = said(values, limits).numpy() != b""
    y = table[labels].to_numpy() == 1
    print(f"limits of {train.sum()} photographs of train: {limits}")
    print(f"others: {poor[~train].mean():.3f} of {(~train).sum()} poor")
    for k, label in enumerate(labels):
        mine = y[:, k] & ~train
        print(f"  {label}: {poor[mine].mean():.3f} of {mine.sum()}")
    if args.graded is None:
        return
    graded = read_manifest(args.graded).table
    found = values_of(graded, args.graded_root, args.image_size)
    poor = said(found, limits).numpy() != b""
    for k, name in enumerate(("good", "usable", "reject")):
        mine = (graded[f"grade_{k}"] == 1).to_numpy()
        print(f"  {name}: {poor[mine].mean():.3f} of {mine.sum()} poor")
    reject = (graded["grade_2"] == 1).to_numpy()
    for k, name in enumerate(MEASURES):
        score = 1 - found[:, [k]] / max(1.0, found[:, k].max())  # low is poor, in [0, 1]
        area = macro_auc(reject[:, None], score)
        print(f"  {name}: ROC AUC {max(area, 1 - area):.3f} of reject against the others")


if __name__ == "__main__":
    main()
