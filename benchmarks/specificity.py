"""How far the maps of several phrases differ on the same photograph: words beside class activation.

    python benchmarks/specificity.py --words RUN --manifest words.csv --image-root ODIR

Of each photograph the maps of the phrases that are commonest in train, and of every pair of them
Spearman's rank correlation over the cells of the method's own grid: 1 where all phrases have one
map, which says nothing of any. The mean over photographs, with its interval over patients.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from common import machine
from scipy.stats import rankdata

from fundus_diag.explain.explainer import maps
from fundus_diag.explain.methods.layers import usable
from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.metrics.summary import summarise
from fundus_diag.models.encoders import CAM_LAYERS
from fundus_diag.runs.run import load_run

PHRASES = 8
METHODS = ("words", "grad_cam", "layer_cam")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--words", "--manifest", "--image-root"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--photographs", type=int, default=100)
    args = parser.parse_args()
    run, rows = load_run(args.words), []
    table = pd.read_csv(args.manifest, dtype=str, keep_default_na=False)
    train = table[table["split"] == "train"]
    common = sorted(run.labels, key=lambda x: -(train[x] == "1").sum())[:PHRASES]
    numbers = [run.labels.index(x) for x in common]
    seen = set(usable(run.model))
    names = [x.name for x in run.model.layers]
    layers = [x for x in CAM_LAYERS[run.config["encoder"]](names) if x in seen]
    print(f"{machine()}; {', '.join(common)}")
    chosen = table[table["split"] == args.split].head(args.photographs)
    for row in chosen.itertuples():
        picture = load_picture(
            args.image_root / row.image, run.config["image_size"], run.config["crop"]
        )
        own = {"words": None, "grad_cam": layers[-1:], "layer_cam": layers}
        for method in METHODS:
            made = maps(run.model, picture[None], method, numbers, own[method])[0]
            rows.append({"patient": row.patient, "method": method, "correlation": alike(made)})
    for row in summarise(pd.DataFrame(rows), "method", ["correlation"]).to_dict("records"):
        ends = [row[f"correlation_{x}"] for x in ("low", "high")]
        said = f"{row['correlation']:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
        empty = f", {row['correlation_undefined']} without two maps" * bool(
            row["correlation_undefined"]
        )
        print(f"{row['method']}: {said}, {row['n']} photographs{empty}")


def alike(made):
    """Mean rank correlation of all pairs of maps (K, h, w); those of zeros are left out."""
    flat = [rankdata(x) for x in np.asarray(made).reshape(len(made), -1) if np.ptp(x) > 0]
    found = [np.corrcoef(a, b)[0, 1] for a, b in combinations(flat, 2)]
    return float(np.mean(found)) if found else float("nan")


if __name__ == "__main__":
    main()
