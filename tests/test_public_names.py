"""The names that other programs rely on, and that they cost nothing until they are used."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from tiny import make_photographs, ready_run

import fundus_diag
from fundus_diag import explain, models

PUBLIC = {
    "fundus_diag": {
        "ENCODERS", "DataError", "Explanation", "Run", "TrainConfig", "UsageError", "__version__",
        "explain", "load_run", "read_manifest", "score", "train",
    },
    "fundus_diag.models": {
        "CAM_LAYERS", "ENCODERS", "FEATURE_MAPS", "HEADS", "build_classifier", "build_encoder",
    },
    "fundus_diag.explain": {"METHODS", "maps"},
    "fundus_diag.cli": {"main"},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_these(name):
    module = sys.modules.get(name) or __import__(name, fromlist=["x"])
    assert set(module.__all__) == PUBLIC[name]
    assert all(hasattr(module, x) for x in PUBLIC[name])


def test_the_dicts_of_encoders_are_one_object_each():
    """What is added to them, as the tests add `tiny`, is known everywhere."""
    from fundus_diag.models import encoders

    for name in ("ENCODERS", "FEATURE_MAPS", "CAM_LAYERS", "HEADS"):
        assert getattr(models, name) is getattr(encoders, name)


def test_a_run_opens_predicts_and_is_explained(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    ready_run(manifest, tmp_path / "run")
    run = fundus_diag.load_run(tmp_path / "run")
    files = sorted(manifest.parent.glob("*.png"))[:2]
    assert run.labels == ("A", "B")
    assert run.thresholds.shape == (2,)
    assert run.predict(files).shape == (2, 2)
    pictures = models.ENCODERS["tiny"](32).input_shape[1:]
    assert pictures == (32, 32, 3)
    found = explain.maps(run.model, [[[[1.0] * 3] * 32] * 32], method="layer_cam", labels=[1])
    assert found.shape[:2] == (1, 1)


def test_the_command_is_installed_under_its_name():
    (script,) = entry_points(group="console_scripts", name="fundus-diag")
    assert script.value == "fundus_diag.cli:main"


def test_the_training_script_is_the_command_by_another_name():
    text = (Path(__file__).parents[1] / "train_two_phase.py").read_text("utf-8")
    assert len(text.splitlines()) < 40
    assert "from fundus_diag.cli import main" in text


def test_importing_the_command_line_imports_nothing_heavy():
    code = "import sys, fundus_diag, fundus_diag.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert not roots & {"tensorflow", "keras", "scipy", "pandas", "cv2", "matplotlib", "jinja2"}
