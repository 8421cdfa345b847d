"""Keras variables as arrays, and back."""

import numpy as np

from fundus_diag.utils.errors import DataError


def values(variables):
    """Copies of Keras variables as arrays."""
    return [v.numpy() for v in variables]


def assign(variables, arrays, what):
    """Sets variables to saved arrays.

    Raises:
        DataError: their number or shapes differ, so the state belongs to another model.
    """
    shapes = [tuple(v.shape) for v in variables]
    if shapes != [a.shape for a in arrays]:
        raise DataError(f"checkpoint/: its {what} is of another network than these flags make")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def reseed(model, numbers):
    """Sets the random state of every layer (dropout), so that an epoch can be run again."""
    rng = np.random.default_rng(numbers)
    for variable in model.variables:
        if "seed_generator" in variable.path:
            variable.assign(rng.integers(1 << 31, size=2))
