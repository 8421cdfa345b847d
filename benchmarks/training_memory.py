"""Memory of a training as its table grows, with photographs cached on disk or not at all.

    python benchmarks/training_memory.py --rows 2000 20000 --cache disk none

The photographs are links to a few drawn ones: each is read and decoded as if it were another. One
epoch of phase 1 with a small encoder at 64 px. What counts is memory of the process's own
(anonymous, in /proc/PID/status), the most that was seen: pages of a file that is mapped are given
back when others need them.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd
from common import COMMAND, machine

from fundus_diag.data.synthetic.dataset import draw_dataset

FLAGS = ["--encoder", "se_xception_small", "--weights", "none", "--image-size", "64"]
FLAGS += ["--phase1-epochs", "1", "--phase2-epochs", "0"]


def make(folder, rows):
    """A table of so many rows over links to drawn photographs; returns its path."""
    drawn = draw_dataset(folder / "drawn", patients=60, size=96)
    table = pd.read_csv(drawn, dtype={"patient": str})
    copies = -(-rows // len(table))
    many = pd.concat([table] * copies, ignore_index=True).iloc[:rows].copy()
    turn = many.index // len(table)
    many["patient"] = [f"{who}-{k}" for who, k in zip(many["patient"], turn, strict=True)]
    names = []
    for image, k in zip(many["image"], turn, strict=True):
        name = f"links/{k}/{Path(image).name}"
        (folder / f"links/{k}").mkdir(parents=True, exist_ok=True)
        os.link(folder / "drawn" / image, folder / name)
        names.append(name)
    many["image"] = names
    many.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def anonymous(pid):
    """MiB of a process's own memory; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return max((int(x.split()[1]) / 1024 for x in lines if x.startswith("RssAnon")), default=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--cache", nargs="+", default=["disk", "none"])
    args = parser.parse_args()
    print(machine())
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            table = make(folder, rows)
            for cache in args.cache:
                words = ["train", "--manifest", table, "--image-root", folder, *FLAGS]
                words += ["--run-dir", folder / cache, "--cache", cache]
                words += ["--cache-dir", folder / "cache"] * (cache == "disk")
                started, most = time.perf_counter(), 0
                command = [*COMMAND, *map(str, words)]
                process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
                while process.poll() is None:
                    most = max(most, anonymous(process.pid))
                    time.sleep(0.1)
                if process.returncode:
                    raise SystemExit(f"train ended with {process.returncode}")
                seconds = time.perf_counter() - started
                print(f"{rows} rows, --cache {cache}: {most:.0f} MiB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
