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


def milliseconds(models):
    """Milliseconds a picture, or a pair of eyes, of each network, in batches of 32, float32.

    Of the network alone, on this machine: the fastest of five answers, for which the networks take
    turns, so that what else runs there weighs little, and on all alike.
    """
    answers = [(inference(model), _noise(model)) for model in models]
    times = np.full((REPEATS + 1, len(answers)), np.nan)  # the first prepares the graphs
    for row in times:
        for k, (answer, inputs) in enumerate(answers):
            started = time.perf_counter()
            np.asarray(answer(inputs))
            row[k] = time.perf_counter() - started
    return (1000 * times[1:].min(axis=0) / BATCH).tolist()


def _noise(model):
    rng = np.random.default_rng(0)

    def noise(shape):
        return rng.uniform(0, 255, (BATCH, *shape[1:])).astype("float32")

    if not isinstance(model.input, dict):
        return noise(model.input.shape)
    return {"images": noise(model.input["images"].shape), "mask": np.ones((BATCH, 2), "float32")}


def costs(network):
    """{"ms": .., "parameters": ..} of the classifier that `build_model(**network)` gives."""
    model = build_model(**network)
    return {"ms": milliseconds([model])[0], "parameters": model.count_params()}


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
