"""Ported weights compute what upstream's own code computes; the goldens say how they were made."""

import argparse
import json
import sys

import h5py
import keras
import numpy as np
import pytest
from narrow import SIZE, golden, narrow_presets

from fundus_diag.cli import main
from fundus_diag.models import ENCODERS, build_encoder
from fundus_diag.models.layers.transformer import exact_gelu
from fundus_diag.models.weights.h5 import own_arrays
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.models.weights.port import port

pytestmark = pytest.mark.usefixtures("eager")
save_file = pytest.importorskip("safetensors.numpy").save_file

CVT_STAGES = ("stage0.map", "stage1.map", "stage2.map")
VIT_STAGES = ("blocks.0.mlp.add", "blocks.1.mlp.add", "blocks.2.mlp.add")
# golden: encoder, options of the network, layers of the stages, layer of the output, two blocks
CASES = {
    "cvt_microsoft": ("cvt_narrow", {}, CVT_STAGES, "stage2.map", "stage2.blocks.{}."),
    "cvt_hf": (
        "cvt_narrow", {"activation": exact_gelu}, CVT_STAGES, "stage2.map", "stage2.blocks.{}."
    ),
    "vit_timm": ("mae_vit_narrow", {}, VIT_STAGES, "norm", "blocks.{}."),
    "vit_mae_hf": ("mae_vit_narrow", {}, VIT_STAGES, "norm", "blocks.{}."),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def presets():
    with narrow_presets():
        yield


def write(folder, state):
    path = folder / "source.safetensors"
    save_file({k: np.ascontiguousarray(x) for k, x in state.items()}, path)
    return path


def compare(got, want, tolerance=1e-4):
    assert want.std(axis=0).mean() > 0.05  # else anything would pass
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


# One of each family; the others in the longer tests.
SOME = [
    x if x in ("cvt_microsoft", "vit_timm") else pytest.param(x, marks=pytest.mark.slow)
    for x in CASES
]


@pytest.fixture(scope="module", params=SOME)
def ported(request, tmp_path_factory):
    """(golden's name, its arrays, the encoder with the weights that the command wrote)."""
    arrays, state = golden(request.param)
    encoder, options, *_ = CASES[request.param]
    folder = tmp_path_factory.mktemp("port")
    out = folder / "out.weights.h5"
    words = ["port", write(folder, state), "--encoder", encoder, "--out", out]
    words += [] if encoder == "mae_vit_narrow" else ["--image-size", SIZE]  # the ViT's file tells
    assert main([str(x) for x in words]) == 0
    model, pretrained = load_encoder(encoder, SIZE, str(out), **options)
    assert pretrained
    return request.param, arrays, model


def stages(name, model):
    _, _, layers, output, _ = CASES[name]
    outputs = [model.get_layer(x).output for x in (*layers, output)]
    return keras.Model(model.input, outputs)


def test_every_stage_and_the_output_equal_upstreams(ported):
    name, arrays, model = ported
    got = stages(name, model).predict(arrays["images"].astype("float32"), verbose=0)
    for i, value in enumerate(got[:-1]):
        compare(value, arrays[f"stage{i}"])
    compare(got[-1], arrays["output"])


def test_the_class_token_equals_upstreams(ported):
    name, arrays, model = ported
    encoder, options, *_ = CASES[name]
    other = build_encoder(encoder, SIZE, class_token=True, **options)
    for layer in other.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights() if layer.weights else [])
    want = arrays["token"] if "token" in arrays else arrays["output"][:, 0]
    compare(other.predict(arrays["images"].astype("float32"), verbose=0), want)


def test_two_swapped_blocks_are_noticed(ported):
    name, arrays, model = ported
    prefix = CASES[name][-1]
    first, second = ([x for x in model.layers if x.name.startswith(prefix.format(i)) and x.weights]
                     for i in (0, 1))  # fmt: skip
    before = {x.name: x.get_weights() for x in (*first, *second)}
    for a, b in zip(first, second, strict=True):
        a.set_weights(before[b.name])
        b.set_weights(before[a.name])
    got = model.predict(arrays["images"].astype("float32"), verbose=0)
    for layer in (*first, *second):
        layer.set_weights(before[layer.name])
    want = arrays["output"] if got.shape == arrays["output"].shape else as_map(arrays["output"])
    assert np.abs(got - want).max() > 0.1 * np.abs(want).max()
    with pytest.raises(AssertionError):
        compare(got, want)


def as_map(tokens):
    """Tokens (B, 17, C) of 4 x 4 patches, class token first, to (B, 4, 4, C)."""
    return tokens[:, 1:].reshape(len(tokens), 4, 4, -1)


# Attention does not feel what is added to every key alike: the bias of keys, and the shift and the
# mean of their BatchNorm. No output shows them.
_HF = "cvt.encoder.stages.1.layers.1.attention.attention."
_HF_BN = _HF + "convolution_projection_key.convolution_projection.normalization."
UNSEEN = {
    "cvt_microsoft": {
        ("stage1.blocks.1.attn.proj_k", 1): ("stage1.blocks.1.attn.proj_k.bias", slice(None)),
        ("stage1.blocks.1.attn.conv_proj_k.bn", 1): (
            "stage1.blocks.1.attn.conv_proj_k.bn.bias", slice(None)
        ),
        ("stage1.blocks.1.attn.conv_proj_k.bn", 2): (
            "stage1.blocks.1.attn.conv_proj_k.bn.running_mean", slice(None)
        ),
    },
    "cvt_hf": {
        ("stage1.blocks.1.attn.proj_k", 1): (_HF + "projection_key.bias", slice(None)),
        ("stage1.blocks.1.attn.conv_proj_k.bn", 1): (_HF_BN + "bias", slice(None)),
        ("stage1.blocks.1.attn.conv_proj_k.bn", 2): (_HF_BN + "running_mean", slice(None)),
    },
    "vit_timm": {("blocks.1.attn.k", 1): ("blocks.1.attn.qkv.bias", slice(24, 48))},
    "vit_mae_hf": {
        ("blocks.1.attn.k", 1): ("vit.encoder.layer.1.attention.attention.key.bias", slice(None))
    },
}  # fmt: skip


def test_what_no_output_shows_is_in_its_place_too(ported):
    name, _, model = ported
    _, state = golden(name)
    for (layer, i), (key, part) in UNSEEN[name].items():
        np.testing.assert_array_equal(model.get_layer(layer).get_weights()[i], state[key][part])


def without_prefix(prefix):
    return lambda state: {k.removeprefix(prefix): x for k, x in state.items()}


def as_mae(state):
    """MAE's pretraining: no head, a decoder beside the encoder."""
    state = {k: x for k, x in state.items() if not k.startswith("head.")}
    decoder = ("decoder_embed.weight", "decoder_blocks.0.attn.qkv.weight", "decoder_pred.bias",
               "decoder_blocks.7.mlp.fc1.bias", "decoder_norm.weight", "decoder_pos_embed",
               "mask_token")  # fmt: skip
    return {**state, **{name: np.ones((2, 3), "float32") for name in decoder}}


def in_half(kind):
    """Weights that half precision holds exactly, in that precision or as they are."""

    def change(state):
        short = {k: x.astype(np.float16) if x.dtype.kind == "f" else x for k, x in state.items()}
        return {k: x.astype(kind) if x.dtype.kind == "f" else x for k, x in short.items()}

    return change


SAME = {
    "CvtModel": ("cvt_hf", None, without_prefix("cvt.")),
    "ViTMAEModel": ("vit_mae_hf", None, without_prefix("vit.")),
    "MAE": ("vit_timm", None, as_mae),
    "half precision": ("vit_timm", in_half(np.float32), in_half(np.float16)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "one", "other"), SAME.values(), ids=SAME)
def test_the_same_weights_are_read_under_other_names(tmp_path, name, one, other):
    _, state = golden(name)
    encoder = CASES[name][0]
    read = []
    out = tmp_path / "a.weights.h5"
    for change in (one, other):
        port(write(tmp_path, change(state) if change else state), encoder, out, SIZE)
        read.append({k: a.read() for k, a in own_arrays(out).items()})
    assert read[0].keys() == read[1].keys()
    for key, value in read[0].items():
        np.testing.assert_array_equal(value, read[1][key])


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.slow
def test_a_checkpoint_of_pytorch_gives_the_same_with_flags_and_optimizer_beside(
    tmp_path, torch, monkeypatch
):

    _, state = golden("vit_timm")
    out, other = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    port(write(tmp_path, state), "mae_vit_narrow", out)
    weights = {k: torch.from_numpy(x) for k, x in as_mae(state).items()}
    beside = {"args": argparse.Namespace(lr=1e-3), "epoch": 5, "optimizer": {"state": {}},
              "scaler": {"scale": 2.0}}  # fmt: skip
    for kind in ("zip", "old"):
        path = tmp_path / "checkpoint.pth"
        torch.save({"model": weights, **beside}, path,
                   _use_new_zipfile_serialization=kind == "zip")  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "torch", None)  # PyTorch is not needed to read it
            record = port(path, "mae_vit_narrow", other)
        assert {"args", "epoch", "optimizer", "scaler", "mask_token"} <= set(record["left_out"])
        one, two = own_arrays(out), own_arrays(other)
        assert one.keys() == two.keys()
        for key, array in one.items():
            np.testing.assert_array_equal(array.read(), two[key].read())


def test_what_fine_tuning_made_ports_without_the_final_norm(tmp_path):
    _, state = golden("vit_timm")
    tuned = {k.replace("norm.", "fc_norm.") if k[:5] == "norm." else k: x for k, x in state.items()}
    record = port(write(tmp_path, tuned), "mae_vit_narrow", tmp_path / "a.weights.h5")
    assert record["left_out"] == ["fc_norm.bias", "fc_norm.weight", "head.bias", "head.weight"]
    model, _ = load_encoder("mae_vit_narrow", SIZE, str(tmp_path / "a.weights.h5"))
    assert "norm" not in [x.name for x in model.layers]
    arrays, _ = golden("vit_timm")
    got = model.predict(arrays["images"].astype("float32"), verbose=0)
    compare(got, as_map(arrays["stage2"]))


def test_the_file_records_where_it_comes_from_and_keras_reads_it(tmp_path, capsys):
    import hashlib

    arrays, state = golden("vit_mae_hf")
    source, out = write(tmp_path, state), tmp_path / "new" / "a.weights.h5"
    words = ["port", source, "--encoder", "mae_vit_narrow", "--out", out]
    assert main([str(x) for x in words]) == 0
    printed = capsys.readouterr().out
    assert "decoder.mask_token" in printed
    assert "mae_vit_narrow at 64 px, of Hugging Face's ViTMAEModel" in printed
    with h5py.File(out) as file:
        record = json.loads(file.attrs["fundus_diag"])
    assert record["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert record["naming"] == "Hugging Face's ViTMAEModel"
    assert record["encoder"] == "mae_vit_narrow"
    assert record["left_out"] == sorted(k for k in state if k.startswith("decoder."))
    encoder = ENCODERS["mae_vit_narrow"](SIZE)
    encoder.load_weights(out)
    got = encoder.predict(arrays["images"].astype("float32"), verbose=0)
    compare(got, as_map(arrays["output"]))


@pytest.mark.slow
def test_published_xception_ports(tmp_path):
    keras.utils.set_random_seed(0)
    upstream = keras.applications.Xception(weights=None, include_top=False)
    upstream.save(tmp_path / "xception_notop.h5")
    out = tmp_path / "a.weights.h5"
    record = port(tmp_path / "xception_notop.h5", "se_xception", out, 96)
    assert record["naming"] == "keras.applications.Xception"
    encoder, _ = load_encoder("se_xception", 96, str(out))
    for name in ("block1_conv1", "block4_sepconv2", "block14_sepconv2_bn"):
        for a, b in zip(upstream.get_layer(name).get_weights(),
                        encoder.get_layer(name).get_weights(), strict=True):  # fmt: skip
            np.testing.assert_array_equal(a, b)
