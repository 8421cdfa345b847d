"""Whole commands of two checkouts in turn: seconds, seconds of the processor, and memory.

    git worktree add ../before COMMIT
    python benchmarks/commands.py --before ../before --run reports/demo \
        --root reports/demo_photographs [--only predict ..] [--repeats 3]

Each command runs in a process of its own, on a copy of the run and on the photographs of a few
patients of its test split. Both checkouts use this environment. Ratios are after / before, median
with lowest and highest.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import machine, ratio

HERE = Path(__file__).resolve().parents[1]
CODE = """
import sys, fundus_diag
from fundus_diag.cli import main
if not fundus_diag.__file__.startswith(sys.argv.pop(1)):
    sys.exit(9)
sys.exit(main())
"""


def commands(run, root, table, work):
    """{name: words}; `run` is a copy that may be written to."""
    photographs = ["--manifest", table, "--image-root", root]
    images = [root / row["image"] for row in csv.DictReader(table.open())]
    scored = ["--masks", root / "masks", "--steps", "10", "--randomised", "4"]
    network = ["--encoder", "se_xception_small", "--weights", "none", "--image-size", "64"]
    epochs = ["--phase1-epochs", "1", "--phase2-epochs", "1", "--precision", "float32"]
    return {
        "a mistyped path": ["predict", run, "--manifest", "gone.csv", *photographs[2:],
                            "--out", work / "gone.csv"],
        "predict": ["predict", run, "--manifest", root / "manifest.csv", *photographs[2:],
                    "--out", work / "predictions.csv"],
        "report": ["report", run],
        "explain": ["explain", run, "--images", *images, "--out", work / "cams"],
        "explain-eval": ["explain-eval", run, *scored, *photographs, "--out", work / "faith"],
        "manifest check": ["manifest", "check", root / "manifest.csv", "--image-root", root],
        "train": ["train", "--manifest", root / "manifest.csv", *photographs[2:],
                  "--run-dir", work / "trained", *network, *epochs],
    }  # fmt: skip


def measured(checkout, words):
    """(status, (seconds, seconds of the processor, peak of memory in MiB)) of one process."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(checkout), *map(str, words)],
        cwd=checkout,  # else the package of the working directory comes first
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    return process.returncode, (seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def once(checkout, name, args, table):
    """One run of a command on a fresh copy of the run."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(
            args.run, work / "run", ignore=shutil.ignore_patterns("cams", "tensorboard")
        )
        for made in (work / "run").glob("*_test.*"):  # so that `report` predicts
            made.unlink()
        words = commands(work / "run", args.root.resolve(), table, work)[name]
        status, figures = measured(checkout, words)
    if status != (1 if name == "a mistyped path" else 0):
        sys.exit(f"{checkout}: {name} ended with {status}")
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, default=HERE)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "few.csv"
        rows = list(csv.DictReader((args.root / "manifest.csv").open()))
        test = [row for row in rows if row["split"] == "test"]
        wanted = list(dict.fromkeys(row["patient"] for row in test))[: args.patients]
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(row for row in test if row["patient"] in wanted)
        names = args.only or commands(args.run, args.root.resolve(), table, Path(folder))
        print(f"{len(rows)} photographs, {args.repeats} runs of each, {machine()}")
        print("| command | before, s | after / before: seconds | processor | memory |")
        print("|---|---|---|---|---|")
        for name in names:
            pair = args.before.resolve(), args.after.resolve()
            found = {checkout: [] for checkout in pair}
            for _ in range(args.repeats):
                for checkout in pair:
                    found[checkout].append(once(checkout, name, args, table))
            before, after = (np.array(found[checkout]).T for checkout in pair)
            ratios = " | ".join(ratio(a, b) for a, b in zip(after, before, strict=True))
            print(f"| {name} | {np.median(before[0]):.1f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
