"""What a network costs: its size, and how long it takes to answer.

`python -m fundus_diag.runs.speed '{"encoder": .., ..}'` prints both.
"""

import json
import subprocess
import sys
import time

import numpy as np

from fundus_diag.runs.freeze import inference
from fundus_diag.runs.run import build_model

BATCH, REPEATS = 32, 5


def milliseconds(model):
    """Milliseconds a picture, or a pair of eyes, in batches of 32, float32: the median of five.

    Of the network alone, on this machine as busy as it is.
    """
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


def costs(network):
    """{"ms": .., "parameters": ..} of the classifier that `build_model(**network)` gives."""
    model = build_model(**network)
    return {"ms": milliseconds(model), "parameters": model.count_params()}


def costs_apart(network):
    """The same, of a process of its own, whose memory and device are free again.

    Raises:
        subprocess.CalledProcessError: there is no such network.
    """
    words = [sys.executable, "-m", "fundus_diag.runs.speed", json.dumps(network)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(costs(json.loads(sys.argv[1]))))
