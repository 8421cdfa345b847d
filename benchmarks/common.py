"""What the benchmarks share: pairs of timings in turn, and their ratio with its spread."""

import os
import time

import numpy as np


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


def ratio(a, b):
    """Median of the pairwise ratios a / b with its lowest and highest, as text."""
    values = a / b
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def machine():
    """One line on where the figures come from."""
    return f"{len(os.sched_getaffinity(0))} cores"
