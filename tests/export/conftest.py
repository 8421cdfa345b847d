"""Runs and an export that all tests of exports share: each takes seconds to make."""

import functools

import pytest
from exported import export, make_runs


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder with the run `eye` and its photographs; not to be changed."""
    return make_runs(tmp_path_factory.mktemp("runs"), ("eye",))


@pytest.fixture(scope="session")
def models(folder):
    """Function of a unit to what `serve` takes: of "eye" an export, of the others the run itself.

    The run of the unit is `folder/<unit>` from then on.
    """

    @functools.cache
    def model(unit):
        make_runs(folder, (unit,))
        if unit != "eye":
            return folder / unit
        assert export(folder / unit, folder / "eye_model") == 0
        return folder / "eye_model"

    return model
