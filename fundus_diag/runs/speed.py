"""How long a run takes to answer. `python -m fundus_diag.runs.speed RUN` prints it."""

import subprocess
import sys
import time

import numpy as np

from fundus_diag.runs.freeze import inference
from fundus_diag.runs.run import load_run

BATCH, REPEATS = 32, 5


def milliseconds(run_dir):
    """Milliseconds a picture, or a pair of eyes, in batches of 32, float32: the median of five.

    Of the network alone, on this machine as busy as it is.
    """
    model = load_run(run_dir).model
    answer = inference(model)
    rng = np.random.default_rng(0)

    def noise(shape):
        return rng.uniform(0, 255, (BATCH, *shape[1:])).astype("float32")

    if isinstance(model.input, dict):
        inputs = {
            "images": noise(model.input["images"].shape),
            "mask": np.ones((BATCH, 2), "float32"),
        }
    else:
        inputs = noise(model.input.shape)
    times = []
    for _ in range(REPEATS + 1):  # the first prepares the graph
        started = time.perf_counter()
        np.asarray(answer(inputs))
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times[1:])) / BATCH


def milliseconds_apart(run_dir):
    """The same, measured in a process of its own, whose memory and device are free again."""
    words = [sys.executable, "-m", "fundus_diag.runs.speed", str(run_dir)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    print(milliseconds(sys.argv[1]))
