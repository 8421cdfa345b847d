"""Position embeddings of another grid, against Pillow's bicubic filter, on both backends.

Run as a program in a folder, on any backend, it resizes the embeddings that lie there.
"""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from fundus_diag.models.layers.positions import resize_positions, sine_positions

GRIDS = ((4, 6), (4, 3), (14, 24), (14, 7), (14, 13), (7, 14), (14, 1), (1, 3), (24, 14), (5, 5))


def embedding(grid):
    rng = np.random.default_rng(grid)
    return rng.normal(size=(1, 1 + grid * grid, 5)).astype("float32")


def by_pillow(array, side):
    from PIL import Image

    grid = round((array.shape[1] - 1) ** 0.5)
    table = array[0, 1:].reshape(grid, grid, -1)
    size, kind = (side, side), Image.Resampling.BICUBIC
    channels = [Image.fromarray(np.ascontiguousarray(x)) for x in np.moveaxis(table, -1, 0)]
    return np.stack([np.asarray(x.resize(size, kind)) for x in channels], axis=-1)


def check(got, grid, side):
    source = embedding(grid)
    assert got.shape == (1, 1 + side * side, 5)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[:, 0], source[:, 0])
    want = by_pillow(source, side)
    np.testing.assert_allclose(got[0, 1:].reshape(want.shape), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("grid", "side"), GRIDS)
def test_resized_positions_equal_pillows(grid, side):
    check(resize_positions(embedding(grid), side), grid, side)


def test_the_order_of_axes_that_keras_is_set_to_does_not_matter():
    keras.config.set_image_data_format("channels_first")
    try:
        check(resize_positions(embedding(14), 24), 14, 24)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_the_sines_of_a_place_are_those_of_the_paper_written_out():
    """Columns in the first half of the channels, rows in the second; places row by row."""
    side, width = 3, 8
    got = sine_positions(side, width)
    assert got.shape == (9, 8)
    for row in range(side):
        for column in range(side):
            want = []
            for place in (column, row):
                angles = [place, place / 10000 ** (1 / 2)]
                want += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            np.testing.assert_allclose(got[row * side + column], want, atol=1e-6)


@pytest.mark.slow
def test_jax_gives_the_same(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: pip install '.[jax]'")
    root = str(Path(__file__).parents[3])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    there = subprocess.run(
        [sys.executable, __file__, tmp_path],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert there.returncode == 0, there.stderr[-2000:]
    assert there.stdout.split() == ["jax"]
    with np.load(tmp_path / "resized.npz") as file:
        for grid, side in GRIDS:
            check(file[f"{grid} {side}"], grid, side)


if __name__ == "__main__":
    resized = {f"{a} {b}": resize_positions(embedding(a), b) for a, b in GRIDS}
    np.savez(Path(sys.argv[1]) / "resized.npz", **resized)
    print(keras.backend.backend())
