"""`--on-bad-image` means one thing everywhere: missing, linked to nothing, damaged are alike."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
from tiny import main, make_photographs, ready_run

from fundus_diag.data.manifest import read_manifest, read_photographs
from fundus_diag.runs import cases
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.pretraining.pretrain import load_photographs
from fundus_diag.training.train import load_training_inputs
from fundus_diag.utils.errors import DataError

pytestmark = pytest.mark.usefixtures("eager")
BAD = {"002_left.png": "no such file", "005_left.png": "no such file", "008_left.png": "empty file"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """A photograph is missing (train), a link is broken (val), a file is empty (test)."""
    manifest = make_photographs(tmp_path_factory.mktemp("skipping") / "photographs", patients=10)
    ready_run(manifest, manifest.parent / "run")
    missing, link, empty = (manifest.parent / name for name in BAD)
    missing.unlink()
    link.unlink()
    link.symlink_to(manifest.parent / "gone.png")
    empty.write_bytes(b"")
    return manifest


def check_said(err):
    (line,) = [x for x in err.splitlines() if x.startswith("warning: left out")]
    assert line.startswith("warning: left out: 3 photographs cannot be read: ")
    for name, reason in BAD.items():
        assert f"{name} ({reason})" in line
    assert "--on-bad-image" not in line  # it was given


def test_predict(manifest, tmp_path, capsys):
    root, out = manifest.parent, tmp_path / "p.csv"
    words = ["predict", root / "run", "--manifest", manifest, "--image-root", root, "--out", out]
    assert main([str(x) for x in [*words, "--on-bad-image", "skip"]]) == 0
    check_said(capsys.readouterr().err)
    table = pd.read_csv(manifest)
    left = [x for x in table["image"] if x not in BAD]
    assert pd.read_csv(out)["image"].tolist() == left
    assert main([str(x) for x in words]) == 1
    assert "no such picture" in capsys.readouterr().err


def test_train(manifest, tmp_path, capsys):
    given = {"encoder": "tiny", "weights": "none", "image_size": 32, "on_bad_image": "skip"}
    config = TrainConfig(manifest, manifest.parent, tmp_path / "run", **given).resolved()
    inputs, test = load_training_inputs(config, read_manifest(manifest))
    check_said(capsys.readouterr().err)
    assert {x for x, _ in inputs.bad} == set(BAD)
    used = [*inputs.splits["train"].table["image"], *inputs.splits["val"].table["image"]]
    assert not set(BAD) & {*used, *test["image"]}
    assert len(used) + len(test) == len(pd.read_csv(manifest)) - 3


def test_pretrain(manifest, tmp_path, capsys):
    given = {"splits": ("train", "val", "test"), "on_bad_image": "skip", "image_size": 32}
    given |= {"source_size": 32}
    config = PretrainConfig(manifest, manifest.parent, tmp_path / "run", **given)
    _, splits, bad = load_photographs(config, read_photographs(manifest), config.splits)
    check_said(capsys.readouterr().err)
    assert {x for x, _ in bad} == set(BAD)
    assert sum(len(x.table) for x in splits.values()) == len(pd.read_csv(manifest)) - 3


def test_explain(manifest, capsys):
    config = {"unit": "eye", "image_size": 32, "crop": "fundus"}
    run = SimpleNamespace(config=config, labels=("A", "B"), run_dir="run")
    found = cases.cases_of_manifest(run, manifest, manifest.parent)
    usable = cases.usable_cases(found, "skip")
    check_said(capsys.readouterr().err)
    assert len(usable) == len(found) - 3
    with pytest.raises(DataError, match=r"3 photographs cannot be read: .*--on-bad-image skip"):
        cases.usable_cases(found)
    files = [manifest.parent / name for name in (*BAD, "000_left.png")]
    assert [x.title for x in cases.usable_cases(cases.cases_of_files(run, files), "skip")] == [
        "000_left"
    ]


def test_a_root_that_is_mistyped_is_no_bad_photograph(manifest, tmp_path):
    config = json.loads((manifest.parent / "run" / "config.json").read_text())
    run = SimpleNamespace(config=config, labels=("A", "B"), run_dir="run")
    with pytest.raises(DataError, match="nowhere: the image root is not a folder"):
        cases.cases_of_manifest(run, manifest, tmp_path / "nowhere")
