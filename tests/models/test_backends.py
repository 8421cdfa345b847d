"""Each encoder on TensorFlow, here, and on JAX, in a process of its own: equal outputs.

Run as a program in a folder, on any backend, it computes the outputs of the weights that lie there.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.models import build_classifier, build_encoder
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.weights.load import load_classifier

SIZE = 64
pytestmark = pytest.mark.slow
PAIRS = "a classifier of pairs in order"
_CVT = {"depths": (1, 1, 2), "widths": (8, 16, 24), "heads": (1, 2, 3)}
_VIT = {"width": 24, "depth": 3, "heads": 3}
_MED = {"width": 8, "heads": 1, "stages": 1, "windows": (4, 2)}
CASES = {
    "se_xception": ("se_xception", {"width": 0.125, "middle_blocks": 1}),
    "efficientnet_lite": ("efficientnet_lite0", {"width": 0.25, "depth": 0.3}),
    "cvt": ("cvt_13", _CVT),
    "cvt, to be read": ("cvt_13", {**_CVT, "readable": True}),
    "cvt, its class token": ("cvt_28", {**_CVT, "class_token": True}),
    "mae_vit": ("mae_vit_tiny", _VIT),
    "mae_vit, to be read": ("mae_vit_tiny", {**_VIT, "readable": True}),
    "med_former": ("med_former", _MED),
    "med_former, joined": (
        "med_former",
        {**_MED, "stages": 0, "fusion": "concat", "attention": "window"},
    ),
    PAIRS: ("mae_vit_tiny", _VIT),
}


def build(case):
    name, options = CASES[case]
    if case == PAIRS:
        return build_classifier(name, SIZE, 3, unit="patient", ordinal=True, hidden=8, **options)
    return build_encoder(name, SIZE, **options)


def inputs(case, images):
    if case != PAIRS:
        return images
    return {"images": np.stack([images, images[::-1]], 1), "mask": np.float32([[1, 1], [1, 0]] * 2)}


def weights(case):
    return f"{case.replace(', ', '_').replace(' ', '_')}.weights.h5"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """({case: output on TensorFlow}, {case: output on JAX}) of the same weights and pictures."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: pip install '.[jax]'")
    assert keras.backend.backend() == "tensorflow"
    folder = tmp_path_factory.mktemp("backends")
    rng = np.random.default_rng(0)
    images = np.kron(rng.uniform(0, 255, (4, 16, 16, 3)), np.ones((1, 4, 4, 1))).astype("float32")
    np.save(folder / "images.npy", images)
    here = {}
    keras.utils.set_random_seed(0)
    for case in CASES:
        encoder = build(case)
        # Fresh statistics and zero biases would hide most mistakes.
        for w in encoder.trainable_weights:
            w.assign(w + 0.05 * rng.standard_normal(w.shape))
        tf.config.run_functions_eagerly(True)  # quicker, once each
        calibrate_batch_norm(encoder, [inputs(case, images)])
        tf.config.run_functions_eagerly(False)
        encoder.save_weights(folder / weights(case))
        here[case] = np.asarray(encoder(inputs(case, images)))
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    there = subprocess.run(
        [sys.executable, __file__, folder],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": paths,
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiled in half the time
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert there.returncode == 0, there.stderr[-2000:]
    assert json.loads(there.stdout.splitlines()[-1]) == {"backend": "jax"}
    with np.load(folder / "outputs.npz") as file:
        return here, {case: file[case] for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_tensorflow_and_jax_give_the_same_output(outputs, case):
    here, there = (x[case] for x in outputs)
    largest = np.abs(here).max()
    assert here.std(axis=0).mean() > 1e-3 * largest  # else anything would pass
    np.testing.assert_allclose(there, here, atol=1e-4 * min(1.0, largest))


def main(folder):
    images = np.load(folder / "images.npy")
    outputs = {}
    for case in CASES:
        encoder = build(case)
        load_classifier(folder / weights(case), encoder)
        outputs[case] = encoder.predict(inputs(case, images), verbose=0)
    np.savez(folder / "outputs.npz", **outputs)
    print(json.dumps({"backend": keras.backend.backend()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
