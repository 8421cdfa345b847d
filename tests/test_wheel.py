"""What is installed holds every room: built, put into an empty environment, and used there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import make_photographs, ready_run

from fundus_diag import load_run

REPOSITORY = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run(*words, cwd):
    done = subprocess.run(
        [str(x) for x in words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what is tracked: nothing of this checkout's may help."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    run("git", "clone", "-q", REPOSITORY, source, cwd=folder)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as file:
        held = {x for x in file.namelist() if x.startswith("fundus_diag/")}
    tracked = run("git", "ls-files", "fundus_diag", "data_manifests", cwd=REPOSITORY).split()
    wanted = {x for x in tracked if x.startswith("fundus_diag/")}
    manifests = {x for x in tracked if x.startswith("data_manifests/")}
    wanted |= {f"fundus_diag/{x}" for x in manifests if x.endswith(".toml")}
    with zipfile.ZipFile(wheel) as file:
        assert "train_two_phase.py" in file.namelist()
    assert wanted <= held
    assert {x for x in held if x.endswith(".py")} <= wanted | {
        "fundus_diag/data_manifests/__init__.py"
    }


def test_an_empty_environment_draws_and_predicts(wheel, tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    small = {"image_size": 32, "encoder_options": ("width=0.25", "depth=0.3")}
    ready_run(manifest, tmp_path / "run", encoder="efficientnet_lite0", **small)
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    constraints = REPOSITORY / "constraints.txt"
    pip = environment / "bin" / "python", "-m", "pip"
    # What is used is compiled when it is.
    run(*pip, "install", "-q", "--no-compile", "--constraint", constraints, wheel, cwd=tmp_path)
    program = environment / "bin" / "fundus-diag"
    run(program, "draw", "--out", "drawn", "--patients", "3", "--size", "64", cwd=tmp_path)
    assert len(pd.read_csv(tmp_path / "drawn" / "manifest.csv")) >= 3
    table = ["--manifest", manifest, "--image-root", manifest.parent, "--out", "out.csv"]
    run(program, "predict", "run", *table, cwd=tmp_path)
    got = pd.read_csv(tmp_path / "out.csv")
    files = [manifest.parent / x for x in got["image"]]
    want = load_run(tmp_path / "run").predict(files)
    np.testing.assert_allclose(got[["p_A", "p_B"]], want, atol=1e-5)
    run(program, "report", "run", "--resamples", "100", cwd=tmp_path)  # the templates are there
    assert (tmp_path / "run" / "report.html").stat().st_size > 50_000
    made = run(program, "manifest", "build", "--help", cwd=tmp_path)
    assert "odir5k" in made
