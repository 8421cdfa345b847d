"""Fixtures shared by all tests."""

import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the commands do

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Files with long tests come first: none is left for one process while the others are done."""
    long = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def seeds_keep_graphs():
    """A seed leaves TensorFlow's graphs as they are: to make that of decoding anew takes seconds.

    TensorFlow drops them for the sake of random ops that have a state. The package has none.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context.pywrap_tfe, "TFE_ContextClearCaches", lambda _: None)
        yield


@pytest.fixture(scope="session")
def data_dir():
    """The folder with real fundus photographs; tests that need it skip where it is not."""
    folder = pathlib.Path(os.environ.get("FUNDUS_DIAG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set FUNDUS_DIAG_DATA to the folder that holds it")
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Figures of reports are one black pixel: for tests of what is said beside them."""
    from undrawn import black

    from fundus_diag.utils import plotting

    monkeypatch.setattr(plotting, "figure_files", black)


@pytest.fixture(scope="module")
def plain_graphs():
    """TensorFlow runs graphs as they are written: to rewrite large ones of tiny networks takes
    longer than to use them. What users run, rewritten, is in the tests without this.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture
def eager(request):
    """Runs TensorFlow's functions step by step: tracing a tiny network takes longer than using it.

    Not in tests that are marked `traced`.
    """
    tf.config.run_functions_eagerly("traced" not in request.keywords)
    yield
    tf.config.run_functions_eagerly(False)
