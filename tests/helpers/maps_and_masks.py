"""Small maps and masks for hypothesis."""

from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays


@st.composite
def maps_and_masks(draw):
    """A map of quarters in [0, 1], so that values tie, and a mask with at least one pixel."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    values = draw(arrays.arrays(int, shape, elements=st.integers(0, 4)))
    mask = draw(arrays.arrays(bool, shape))
    mask[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    return values / 4, mask


def pixels(array):
    return [(y, x) for y in range(array.shape[0]) for x in range(array.shape[1])]
