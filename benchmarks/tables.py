"""How long the commands over tables take, and how much memory, as tables grow.

    python benchmarks/tables.py --rows 10000 30000 100000

Each command is a process of its own: seconds and the largest resident set. The pictures are empty
files: no command here decodes any.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import COMMAND, machine

LABELS = "NDGCAHMO"
MAPPING = """
[columns]
image = "{id}"
patient = { column = "id", pattern = '(\\d+)_(?:left|right)' }
eye = { column = "id", pattern = '\\d+_(left|right)' }
age = "age"
"""


def make(folder, rows, seed=0):
    """A table of so many eyes, in the form that data sets are published in, and its pictures."""
    rng = np.random.default_rng(seed)
    names = [f"{k // 2}_{('left', 'right')[k % 2]}" for k in range(rows)]
    root = folder / "pictures"
    for part in range(0, rows, 10_000):
        (root / f"{part // 10_000:03d}").mkdir(parents=True)
    for k, name in enumerate(names):
        os.close(os.open(root / f"{k // 10_000:03d}" / f"{name}.jpg", os.O_CREAT))
    table = pd.DataFrame({"id": names, "age": rng.integers(20, 90, rows)})
    for label, share in zip(LABELS, np.geomspace(0.4, 0.004, len(LABELS)), strict=True):
        table[label] = (rng.random(rows) < share).astype(int)
    table.to_csv(folder / "table.csv", index=False)
    rules = "".join(f'{x} = "{x}"\n' for x in LABELS)
    folders = ", ".join(f'"{k:03d}"' for k in range(-(-rows // 10_000)))
    text = f"[files]\ntables = []\nfolders = [{folders}]\n{MAPPING}\n[labels]\n{rules}"
    (folder / "mapping.toml").write_text(text)
    return root


def measured(*words):
    """(seconds, MiB) of one command."""
    started = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    command = [*COMMAND, *map(str, words)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{words[:2]} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    args = parser.parse_args()
    print(machine())
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            root = make(folder, rows)
            table, split, other = (folder / f"{x}.csv" for x in ("built", "split", "other"))
            merged = folder / "merged.csv"
            build = ["--table", folder / "table.csv", "--mapping", folder / "mapping.toml"]
            commands = {
                "build": ["build", "csv", "--root", root, "--out", table, *build],
                "check": ["check", table],
                "split": ["split", table, "--out", split],
                "merge": ["merge", split, other, "--out", merged],
            }
            for name, words in commands.items():
                if name == "merge":
                    frame = pd.read_csv(split, dtype=str, keep_default_na=False)
                    half = len(frame) // 2
                    frame.iloc[half:].to_csv(other, index=False)
                    frame.iloc[:half].to_csv(split, index=False)
                seconds, memory = measured("manifest", *words)
                print(f"{rows} rows, {name}: {seconds:.1f} s, {memory:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
