"""Fixtures shared by all tests."""

import os
import pathlib

import pytest
import tensorflow as tf

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir():
    """The folder with real fundus photographs; tests that need it skip where it is not."""
    folder = pathlib.Path(os.environ.get("FUNDUS_DIAG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set FUNDUS_DIAG_DATA to the folder that holds it")
    return folder


@pytest.fixture
def eager(request):
    """Runs TensorFlow's functions step by step: tracing a tiny network takes longer than using it.

    Not in tests that are marked `traced`.
    """
    tf.config.run_functions_eagerly("traced" not in request.keywords)
    yield
    tf.config.run_functions_eagerly(False)
