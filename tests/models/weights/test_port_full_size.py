"""The published sizes against Hugging Face's PyTorch code, with random weights: no download.

Needs PyTorch and transformers (`pip install '.[parity]'`).
"""

import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.models.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fundus_diag.models.layers.transformer import exact_gelu
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.models.weights.port import port

SIZE = 224
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    try:
        from transformers import CvtModel, ViTMAEModel  # noqa: F401
    except ImportError as error:
        pytest.skip(f"transformers does not work here: {error}")
    return torch


@pytest.fixture(scope="module")
def images():
    coarse = np.random.default_rng(0).uniform(0, 255, (2, 12, 12, 3))
    return tf.image.resize(coarse, (SIZE, SIZE), "bicubic").numpy().clip(0, 255)


def standardised(torch, images):
    x = (images - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def ported(model, folder, name, **options):
    """The encoder `name` with the weights that the PyTorch model publishes."""
    model.save_pretrained(folder)
    source, out = folder / "model.safetensors", folder / "a.weights.h5"
    port(source, name, out)
    source.unlink()  # it may have more than a gigabyte
    encoder, _ = load_encoder(name, SIZE, str(out), **options)
    out.unlink()
    return encoder


def swap(encoder, prefix, i, j):
    for layer in encoder.layers:
        if layer.name.startswith(f"{prefix}{i}.") and layer.weights:
            other = encoder.get_layer(layer.name.replace(f"{prefix}{i}.", f"{prefix}{j}."))
            one, two = layer.get_weights(), other.get_weights()
            layer.set_weights(two)
            other.set_weights(one)


def compare(encoder, images, want, prefix, i, j):
    assert want.std(axis=0).mean() > 0.05  # else anything would pass
    scale = np.abs(want).max()
    got = encoder.predict(images, verbose=0)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 * scale)
    swap(encoder, prefix, i, j)
    assert np.abs(encoder.predict(images, verbose=0) - want).max() > 1e-2 * scale


@pytest.mark.parametrize(("name", "depths"), [("cvt_13", (1, 2, 10)), ("cvt_21", (1, 4, 16))])
def test_cvt_of_published_size_equals_hugging_faces(tmp_path, torch, images, name, depths):
    from goldens.make_goldens import calibrate, channels_last, shake
    from transformers import CvtConfig, CvtModel

    model = CvtModel(CvtConfig(depth=depths))
    shake(model, 0)
    x = standardised(torch, images)
    calibrate(model, x)
    with torch.no_grad():
        want = channels_last(model(x)[0])
    encoder = ported(model, tmp_path, name, activation=exact_gelu)
    compare(encoder, images, want, "stage2.blocks.", 5, 6)


def test_vit_large_of_published_size_equals_hugging_faces(tmp_path, torch, images):
    from goldens.make_goldens import shake
    from transformers import ViTMAEConfig, ViTMAEModel

    config = ViTMAEConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        layer_norm_eps=1e-6,  # as MAE's own code
        mask_ratio=0.0,
    )
    model = ViTMAEModel(config)
    shake(model, 0)
    model.eval()
    order = torch.arange(14 * 14).expand(len(images), -1)
    with torch.no_grad():
        want = model(standardised(torch, images), noise=order)[0].numpy()
    want = want[:, 1:].reshape(len(images), 14, 14, 1024)
    encoder = ported(model, tmp_path, "mae_vit_large")
    compare(encoder, images, want, "blocks.", 11, 12)
