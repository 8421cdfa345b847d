"""Phase 1 on features that are computed once, against phase 1 that runs the encoder in every step.

    python benchmarks/phase1.py --manifest odir_split.csv --image-root ODIR

Both train the same head with the same seed in processes of their own, in turn; their seconds, those
of one pass forward of the encoder over the training rows, and what both reach on val.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import fundus_diag, machine, ratio

WAYS = {"computed once": 1, "in every step": 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = {name: [] for name in WAYS}
        scores = {name: [] for name in WAYS}
        for k in range(args.repeats):
            for name, views in WAYS.items():
                run = Path(folder) / f"{views}-{k}"
                train(args, run, views, Path(folder) / "pictures")
                times[name].append(json.loads((run / "config.json").read_text())["seconds"])
                history = pd.read_csv(run / "history.csv")
                scores[name].append(history["val_macro_roc_auc"].max())
        forward = np.array([one_pass(args, Path(folder) / "pictures") for _ in range(2)]).min()
    print(f"{args.encoder}, {args.image_size} px, {args.epochs} epochs, {machine()}")
    times = {name: np.array(x) for name, x in times.items()}
    for name, seconds in times.items():
        said = ", ".join(f"{x:.1f}" for x in seconds)
        aucs = ", ".join(f"{x:.3f}" for x in scores[name])
        passes = ", ".join(f"{x / forward:.2f}" for x in seconds)
        print(f"{name}: {said} s, {passes} passes forward; macro ROC AUC on val {aucs}")
    print(f"one pass forward over train: {forward:.1f} s")
    print(f"once / every step: {ratio(*times.values())}")


def train(args, run, views, cache):
    flags = ["--encoder", args.encoder, "--image-size", args.image_size, "--patience", 0]
    flags += ["--phase1-epochs", args.epochs, "--phase2-epochs", 0, "--phase1-views", views]
    flags += ["--cache", "disk", "--cache-dir", cache, "--seed", 0]
    words = ["--manifest", args.manifest, "--image-root", args.image_root, "--run-dir", run]
    for path in cache.glob("features-*"):
        path.unlink()  # of the run before
    fundus_diag("train", *words, *flags)


def one_pass(args, cache):
    """Seconds of the encoder over the training rows, in batches of 32, from the cache."""
    from fundus_diag.data.inputs import load_inputs
    from fundus_diag.data.manifest import read_manifest
    from fundus_diag.data.pipeline import scoring_batches
    from fundus_diag.models import build_encoder
    from fundus_diag.runs.freeze import inference

    manifest = read_manifest(args.manifest, need_split=True)
    reading = {"image_size": args.image_size, "crop": "fundus", "unit": "eye"}
    inputs = load_inputs(
        *(manifest, args.image_root),
        splits=("train", "val"),
        **reading,
        cache="disk",
        cache_dir=cache,
    )
    ask = inference(build_encoder(args.encoder, args.image_size))
    batches = scoring_batches(inputs.pictures, inputs.splits["train"].pictures, 32)
    for batch in batches.take(2):
        ask(batch)
    started = time.perf_counter()
    for batch in batches:
        np.asarray(ask(batch))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
