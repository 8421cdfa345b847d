"""What Keras's global policy is says nothing of a run that is opened."""

import keras
import numpy as np
import pytest
import tiny  # the encoder of that name

from fundus_diag import explain
from fundus_diag.metrics.calibration import fit_operating_points
from fundus_diag.runs.run import build_model, load_run, network
from fundus_diag.runs.thresholds import save_operating_points

pytestmark = pytest.mark.usefixtures("eager")
CONFIG = {"encoder": tiny.tiny.__name__, "image_size": 32, "unit": "eye", "labels": ["A", "B"],
          "flags": {}}  # fmt: skip


def test_an_opened_run_computes_in_float32_under_a_mixed_policy(tmp_path):
    rng = np.random.default_rng(0)
    build_model(**network(CONFIG)).save_weights(tmp_path / "model.weights.h5")
    y, logits = np.tile([[0, 1], [1, 0]], (9, 1)), rng.normal(size=(18, 2))
    save_operating_points(tmp_path / "thresholds.json", fit_operating_points(y, logits, ["A", "B"]))
    images = rng.uniform(0, 255, (2, 32, 32, 3)).astype("float32")

    def answers():
        run = load_run(tmp_path, CONFIG)
        layers = {"layers": ["conv2_act"], "fuse": False}
        maps = [explain.maps(run.model, images, x, **layers) for x in ("grad_cam_pp", "score_cam")]
        return run, [np.asarray(run.model(images)), *maps]

    _, want = answers()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        run, got = answers()
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy(before)
    assert {x.compute_dtype for x in run.model.layers} == {"float32"}
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
