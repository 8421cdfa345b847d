"""What Keras's global policy is says nothing of a run that is opened."""

import keras
import numpy as np
import pytest
from tiny import make_photographs, ready_run

from fundus_diag import explain, load_run

pytestmark = pytest.mark.usefixtures("eager")


def test_an_opened_run_computes_in_float32_under_a_mixed_policy(tmp_path):
    manifest = make_photographs(tmp_path / "photographs", patients=10)
    ready_run(manifest, tmp_path / "run")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    layers = {"layers": ["conv2_act"], "fuse": False}

    def answers():
        run = load_run(tmp_path / "run")
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
