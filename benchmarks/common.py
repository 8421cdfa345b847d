"""What the benchmarks share: timings in turn with their ratio, commands, a run to time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# `fundus-diag`, of the interpreter at work.
COMMAND = [sys.executable, "-c", "import sys; from fundus_diag.cli import main; sys.exit(main())"]


def timed(function):
    """Seconds that one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def in_turn(functions, repeats, warmups=2):
    """Times several functions in turn, A B C A B C .., so that a drifting machine hits all alike.

    Returns:
        {name: (repeats,) seconds}.
    """
    for function in functions.values():
        for _ in range(warmups):
            function()
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(timed(function))
    return {name: np.array(values) for name, values in times.items()}


def ratio(a, b, outside=0):
    """Median of the pairwise ratios a / b with its lowest and highest, as text.

    Args:
        outside: percent left out at each end; for many and short timings.
    """
    low, high = np.percentile(a / b, [outside, 100 - outside])
    return f"{np.median(a / b):.2f} ({low:.2f} to {high:.2f})"


def machine():
    """One line on where the figures come from."""
    return f"{len(os.sched_getaffinity(0))} cores"


def resident():
    """Resident set of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def fundus_diag(*words):
    """Runs `fundus-diag` in a process of its own; what it prints goes to the error stream."""
    subprocess.run([*COMMAND, *map(str, words)], check=True, stdout=sys.stderr)


def make_run(folder, encoder, image_size):
    """Writes a finished run of an untrained classifier with calibrated BatchNorm, and its data.

    Its times are those of a trained one, and so is what its arithmetic loses; its answers mean
    nothing. The photographs are drawn.
    """
    import keras

    from fundus_diag.data.manifest import read_manifest, summary
    from fundus_diag.data.synthetic.dataset import draw_dataset
    from fundus_diag.models import build_classifier
    from fundus_diag.models.batch_norm import calibrate_batch_norm
    from fundus_diag.runs.thresholds import save_operating_points

    folder.mkdir(parents=True)
    manifest = read_manifest(draw_dataset(folder / "photographs", patients=30))
    keras.utils.set_random_seed(0)
    model = build_classifier(encoder, image_size, len(manifest.labels))
    shape = (16, image_size, image_size, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    calibrate_batch_norm(model, [images])
    model.save_weights(folder / "model.weights.h5")
    config = {
        "version": "none",
        "encoder": encoder,
        "image_size": image_size,
        "unit": "eye",
        "task": "multi_label",
        "labels": list(manifest.labels),
        "crop": "fundus",
        "pretrained": False,
        "weights": "none",
        "data": {
            "manifest": str(manifest.path),
            "image_root": str(folder / "photographs"),
            "sha256": manifest.sha256,
            "splits": summary(manifest.table, list(manifest.labels)),
        },
        "flags": {},
        "versions": {},
        "finished": "never trained",
    }
    (folder / "config.json").write_text(json.dumps(config))
    point = {"threshold": 0.5, "slope": 1.0, "intercept": 0.0, "positives": 0, "negatives": 0}
    points = {"split": "none", "criterion": "f1"}
    save_operating_points(
        folder / "thresholds.json", {**points, "labels": dict.fromkeys(manifest.labels, point)}
    )
