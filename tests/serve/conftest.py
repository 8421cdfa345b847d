"""What is served in tests: tiny runs, one of single eyes and one of pairs."""

import pytest
from exported import export, make_runs

from fundus_diag.cli import main
from fundus_diag.serve.served import served_run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder with the runs `eye` and `patient` and their photographs; not to be changed."""
    made = make_runs(tmp_path_factory.mktemp("served"), ("eye", "patient"))
    table = ["--manifest", made / "photographs" / "manifest.csv", "--split", "val"]
    for run in ("eye", "patient"):
        words = ["predict", made / run, *table, "--image-root", made / "photographs"]
        assert main([*map(str, words), "--out", str(made / run / "predictions_val.csv")]) == 0
    return made


@pytest.fixture(scope="session")
def eye(folder):
    return served_run(folder / "eye")


@pytest.fixture(scope="session")
def patient(folder):
    return served_run(folder / "patient", "pairs")


@pytest.fixture(scope="session")
def exported_eye(folder):
    """Folder of an export of the run `eye`."""
    assert export(folder / "eye", folder / "eye_model") == 0
    return folder / "eye_model"
