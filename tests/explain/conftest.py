"""What most tests of explanations look at, made once."""

import pytest
from explained import make_explained


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Photographs, masks and two runs, which no test changes; see `make_explained`."""
    # Of the four eyes of `test` a left and a right one have lesions.
    return make_explained(tmp_path_factory.mktemp("explain"), patients=10, seed=327)
