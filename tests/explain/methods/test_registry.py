"""A method of maps is one function and one row of a table."""

import json

import numpy as np
import pytest
import tensorflow as tf
from attentive import LABELS, classifier, pictures
from explained import evaluate, files, rows_of

from fundus_diag import explain
from fundus_diag.cli import main
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.methods.registry import METHODS, Method, layer_names, method_name
from fundus_diag.explain.settings import Settings
from fundus_diag.models import build_classifier
from fundus_diag.models.classifier import cam_layers
from fundus_diag.models.geometry import stretched
from fundus_diag.utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("eager")
NAMES = [
    "layer_cam",
    "grad_cam",
    "grad_cam_pp",
    "score_cam",
    "rollout",
    "chefer",
    "words",
    "vit_cx",
]


def brightness(method, model, layers, settings):
    """Maps that know nothing of the network: how bright a cell of 8 x 8 pixels is."""

    def raw(inputs, chosen):
        cells = tf.nn.avg_pool2d(tf.reduce_mean(inputs, axis=-1, keepdims=True), 8, 8, "SAME")
        return [tf.repeat(cells, chosen.shape[1], axis=-1)]

    return raw


def cells(model, layers):
    """Where the cells of `brightness` stand."""
    size = model.input.shape[-2]
    return [stretched((size // 8, size // 8), size)]


@pytest.fixture
def toy(monkeypatch):
    row = Method(brightness, layers="none", grids=cells, shallow=False, same_for_all_labels=True)
    monkeypatch.setitem(METHODS, "brightness", row)


def test_the_names_are_public_in_this_order():
    assert list(explain.METHODS) == NAMES
    assert explain.METHODS is METHODS


@pytest.mark.usefixtures("toy")
def test_a_method_needs_no_more_than_its_row():
    images = pictures()
    got = explain.maps(classifier("mae_vit_tiny"), images, "brightness", fuse=False)
    want = images.mean(axis=-1).reshape(4, 8, 8, 8, 8).mean(axis=(2, 4))
    assert got.shape == (4, LABELS, 1, 8, 8)
    for label in range(LABELS):
        np.testing.assert_allclose(got[:, label, 0], want, rtol=1e-5)
    assert method_name("Brightness") == "brightness"
    with pytest.raises(UsageError, match="brightness takes none"):
        layer_names(classifier("mae_vit_tiny"), "brightness", ["blocks.0.norm1"])
    with pytest.raises(UsageError, match="--eigen-smooth: only for layer_cam, grad_cam"):
        explain.maps(classifier("mae_vit_tiny"), images, "brightness", eigen_smooth=True)


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_both_commands_know_it(folder, tmp_path):
    words = ["--images", *files(folder, 1), "--methods", "brightness", "--out", tmp_path / "maps"]
    assert main([str(x) for x in ("explain", folder / "eye", *words)]) == 0
    assert set(rows_of(tmp_path / "maps" / "explanations.csv")["method"]) == {"brightness"}
    words = ["--methods", "brightness", "--randomised", "0"]
    assert evaluate(folder, tmp_path / "scores", *words) == 0
    facts = json.loads((tmp_path / "scores" / "faithfulness.json").read_text())
    assert facts["layers"] == {"brightness": []}


def test_what_is_slow_is_made_only_when_named():
    found = layers_of(classifier("mae_vit_tiny"), Settings(methods=()))
    assert list(found) == [x for x in NAMES if x not in ("words", "vit_cx")]


@pytest.mark.usefixtures("toy")
def test_what_is_not_slow_is_made_unasked():
    assert list(layers_of(classifier("mae_vit_tiny"), Settings(methods=())))[-1] == "brightness"


def test_layers_of_one_cell_are_left_out_unless_they_are_named():
    small = {"width": 0.25, "depth": 0.3}
    model = build_classifier("efficientnet_lite0", 32, 2, **small)  # whose last map is 1 x 1
    known = cam_layers(model)
    assert layer_names(model, "layer_cam") == known[:-1]
    assert layer_names(build_classifier("efficientnet_lite0", 64, 2, **small), "layer_cam") == known
    found = explain.maps(model, np.zeros((1, 32, 32, 3), "float32"), "layer_cam")
    assert found.shape[:2] == (1, 2)
    with pytest.raises(UsageError, match=f"--layers {known[-1]}: there are "):
        layer_names(model, "layer_cam", [known[-1]])
