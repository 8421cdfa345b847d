"""Photographs a second of `predict`, local and by workers of Ray, and what Ray costs beforehand.

    python benchmarks/predict_ray.py --run RUN --manifest TABLE --image-root DIR [--repeats 2]

Whole commands, one after the other, of all rows and of the first sixteen: their difference is the
time of the rows alone.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from common import machine

FEW = 16  # rows


def seconds(args, table, folder, *engine):
    out = folder / "out.csv"
    words = ["predict", args.run, "--manifest", table, "--image-root", args.image_root]
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "fundus_diag", *words, "--out", out, *engine],
        check=True,
        capture_output=True,
    )
    return time.monotonic() - started, pd.read_csv(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--image-root", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    table = pd.read_csv(args.manifest, dtype=str, keep_default_na=False)
    engines = {
        "local": (),
        "ray, 1 worker": ("--engine", "ray", "--workers", "1"),
        "ray, 2 workers": ("--engine", "ray", "--workers", "2"),
    }
    print(f"{len(table)} photographs, {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        few = folder / "few.csv"
        table.head(FEW).to_csv(few, index=False)
        for _ in range(args.repeats):
            base = None
            for name, engine in engines.items():
                whole, rows = seconds(args, args.manifest, folder, *engine)
                start, _ = seconds(args, few, folder, *engine)
                rate = (len(rows) - FEW) / (whole - start)
                base = base or rate
                print(
                    f"{name}: {rate:.1f} a second ({rate / base:.2f} of local), "
                    f"{start:.0f} s for the first {FEW}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
