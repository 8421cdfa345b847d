"""What is installed holds every room: built, put into an empty environment, and used there."""

import os
import re
import subprocess
import sys
import tarfile
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
    # What PYTHONPATH names would stand before what is installed.
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(x) for x in words]
    done = subprocess.run(words, cwd=cwd, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Built from a copy of what is tracked: nothing of this checkout's may help."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    run("git", "clone", "-q", REPOSITORY, source, cwd=folder)
    build = "import sys, setuptools.build_meta as b; b.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, folder, cwd=source)
    (path,) = folder.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the sdist, as who installs that gets it."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, sdist, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_the_sdist_has_what_the_docs_name(sdist):
    with tarfile.open(sdist) as file:
        held = {x.partition("/")[2] for x in file.getnames()}
    assert {"train_two_phase.py", "constraints.txt", "CITATION.cff", "mkdocs.yml"} <= held
    docs = run("git", "ls-files", "docs", "data_manifests/*.toml", cwd=REPOSITORY).split()
    assert set(docs) <= held
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)", readme):
        assert link in held or link.startswith("benchmarks/"), link


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
    train(environment, tmp_path, program)


def train(environment, folder, program):
    """Trains by the script that the docs name, from weights of nothing, and asks that run."""
    split = ["--out", "split.csv", "--ratios", ".5", ".25", ".25"]
    run(program, "draw", "--out", "more", "--patients", "12", "--size", "64", cwd=folder)
    run(program, "manifest", "split", "more/manifest.csv", *split, cwd=folder)
    flags = {"manifest": "split.csv", "image-root": "more", "run-dir": "trained", "seed": 0}
    flags |= {"encoder": "efficientnet_lite0", "weights": "none", "image-size": 32}
    flags |= {"phase1-epochs": 1, "phase2-epochs": 1, "batch-size": 8}
    words = [str(x) for name, value in flags.items() for x in (f"--{name}", value)]
    small = ["--encoder-options", "width=0.25", "depth=0.3"]
    python = environment / "bin" / "python"
    run(python, "-m", "train_two_phase", *words, *small, cwd=folder)
    run(python, "-m", "fundus_diag", "predict", "trained", "more/images", cwd=folder)
    answers = pd.read_csv(folder / "answers.csv")
    assert answers["probability"].between(0, 1).all()
    assert {x.split()[0] for x in answers["disease"]} == set(load_run(folder / "trained").labels)
