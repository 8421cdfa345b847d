"""Runs and an export that all tests of exports share, in all processes: each takes long to make."""

import contextlib
import fcntl
import functools

import pytest
from exported import export, make_runs


@pytest.fixture(scope="session")
def folder(request, tmp_path_factory):
    """Folder with the run `eye` and its photographs; not to be changed."""
    root = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # one of several processes: beside their own folders
        root = root.parent
    folder = root / "exported"
    folder.mkdir(exist_ok=True)
    with alone(folder):
        return make_runs(folder, ("eye",))


@contextlib.contextmanager
def alone(folder):
    """One process at a time works inside: what is made there is whole when the next one looks."""
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def models(folder):
    """Function of a unit to what `serve` takes: of "eye" an export, of the others the run itself.

    Or an export of these too, if asked for. The run of the unit is `folder/<unit>` from then on.
    """

    @functools.cache
    def model(unit, exported=False):
        out = folder / f"{unit}_model"
        with alone(folder):
            make_runs(folder, (unit,))
            if unit != "eye" and not exported:
                return folder / unit
            assert out.exists() or export(folder / unit, out) == 0
        return out

    return model
