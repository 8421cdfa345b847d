"""All figures of a map against a mask at a photograph's full size, in two checkouts in turn.

    git worktree add ../before COMMIT
    python benchmarks/map_measures.py --before ../before [--height 2848] [--width 4288] [--maps 5]

Seconds of the processor and memory a map, above what stands there before the first. The network is
left out: its answers are constants. Both checkouts use this environment.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from common import machine, ratio

HERE = Path(__file__).resolve().parents[1]
CODE = """
import json, resource, sys, time
import numpy as np
import fundus_diag
from fundus_diag.explain.metrics import localization
from fundus_diag.explain.metrics.score import Target, score

root, height, width, count = sys.argv[1], *map(int, sys.argv[2:])
assert fundus_diag.__file__.startswith(root), fundus_diag.__file__
rng = np.random.default_rng(0)
mask = np.zeros((height, width), bool)
for y, x in zip(rng.integers(0, height - 40, 60), rng.integers(0, width - 60, 60)):
    mask[y : y + 40, x : x + 60] = True
picture = rng.uniform(0, 255, (128, 128, 3)).astype("float32")
side = max(height, width)
box = np.array([(height - side) / 2, 0, (height + side) / 2, side], "float32")
cpu = time.process_time()
near = localization.within(mask, 0.02 * side)
once = time.process_time() - cpu
target = Target(picture=picture, baseline=picture, box=box, mask=mask, near=near,
                predict=lambda x: np.full(len(x), 0.5), probability=0.5, where={})
maps = rng.random((count + 1, 19, 19)).astype("float32")
score(maps[0] * 1e-3, target, 0.5, 2)  # what is loaded and traced on first use
small = score(maps[0], target, 0.5, 2)[0]
del small
pages = int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
open("/proc/self/clear_refs", "w").write("5")  # the peak is counted anew
cpu, figures = time.process_time(), []
for one in maps[1:]:
    figures.append(score(one, target, 0.5, 2)[0])
cpu = (time.process_time() - cpu) / count
peak = [int(x.split()[1]) / 1024 for x in open("/proc/self/status") if x.startswith("VmHWM")][0]
print(json.dumps({"cpu": cpu, "once": once, "memory": peak - pages, "figures": figures}))
"""


def measured(checkout, args):
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", CODE, checkout, args.height, args.width, args.maps]
    done = subprocess.run(
        [str(x) for x in words], cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--height", type=int, default=2848)
    parser.add_argument("--width", type=int, default=4288)
    parser.add_argument("--maps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    sides = {"before": args.before.resolve(), "after": HERE}
    found = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, checkout in sides.items():
            found[name].append(measured(checkout, args))
    print(f"{args.width} x {args.height}, {machine()}; median of {args.repeats}")
    for name, runs in found.items():
        cpu, once, memory = (np.median([x[k] for x in runs]) for k in ("cpu", "once", "memory"))
        print(f"{name}: {cpu:.2f} s of the processor and {memory:.0f} MiB a map; {once:.2f} s for "
              "what is near a mask")  # fmt: skip
    before, after = (np.array([x["cpu"] for x in found[name]]) for name in sides)
    print(f"before / after: {ratio(before, after)}")
    figures = [[list(x.values()) for x in found[name][0]["figures"]] for name in sides]
    print(f"largest difference of a figure: {np.nanmax(np.abs(np.subtract(*figures))):.1e}")


if __name__ == "__main__":
    main()
