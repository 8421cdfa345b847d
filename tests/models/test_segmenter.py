"""One contract for every network that segments, then what is special to each.

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
import tiny  # noqa: F401  (adds the encoder of that name)
from fitted import config
from small_encoders import NARROW, shake

from fundus_diag.models import ENCODERS
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.classifier import encoder_layers
from fundus_diag.models.layers.decoding import joined
from fundus_diag.models.segmenter import (
    NETWORKS,
    build_segmenter,
    parse_decoder_options,
    set_shares,
)
from fundus_diag.models.weights.load import load_classifier
from fundus_diag.training import phases
from fundus_diag.training.losses import OverlapCrossentropy
from fundus_diag.utils.errors import UsageError

CLASSES = 3
_TRANSFORMER = {"width": 0.5, "channels": 32, "depth": 2, "heads": 2}
_VIT = {"width": 24, "depth": 4, "heads": 2, "patch": 8}
_XCEPTION = {"width": 0.1, "middle_blocks": 1}
# (network, encoder, picture's side, of the decoder, of the encoder)
CASES = {
    "unet, odd": ("unet", "tiny", 67, {"width": 0.5}, {}),
    "unet, five scales": ("unet", "se_xception_small", 64, {"width": 0.25}, _XCEPTION),
    "transunet": ("transunet", "tiny", 65, _TRANSFORMER, {}),
    "unetr": ("unetr", "mae_vit_tiny", 64, {"features": 4}, _VIT),
}
pytestmark = pytest.mark.usefixtures("eager")


def build(case, **more):
    network, encoder, side, own, options = CASES[case]
    return build_segmenter(network, encoder, side, CLASSES, decoder_options=own, **options, **more)


def pictures(side, count=3):
    """Of blotches, so that neighbours are alike."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (count, 8, 8, 3)).astype("float32")
    return tf.image.resize(coarse, (side, side), "bicubic").numpy().clip(0, 255)


def masks(images):
    """A class of what is bright, one of what is red, one that nobody looked for in the first."""
    y = np.stack([x > 140 for x in (images.mean(axis=-1), images[..., 0], images[..., 2])], axis=-1)
    y = y.astype("float32")
    y[0, ..., 2] = np.nan
    return y


def ready(model, images):
    """Moves what is 0 and 1 at first, and sets the statistics: fresh ones hide most mistakes."""
    rng = np.random.default_rng(2)
    shake(model)
    for weight in model.trainable_weights:
        if not np.any(weight.numpy()):
            weight.assign(0.05 * rng.standard_normal(weight.shape))
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # quicker, once
    calibrate_batch_norm(model, [images])
    tf.config.run_functions_eagerly(eager)
    return model


@pytest.fixture(scope="module", params=CASES)
def made(request):
    """(case, its pictures, a segmenter that depends on them). Tests leave it as it is."""
    keras.utils.set_random_seed(0)
    images = pictures(CASES[request.param][2])
    return request.param, images, ready(build(request.param), images)


@pytest.fixture(params=["unet, odd", "transunet", "unetr"])
def fresh(request):
    """(pictures, masks, a segmenter of a test's own)."""
    keras.utils.set_random_seed(0)
    images = pictures(CASES[request.param][2], 2)
    return images, masks(images), build(request.param)


def output(model, images):
    return np.asarray(model(images))


def of_encoder(model):
    return [a for x in encoder_layers(model) for a in x.get_weights()]


def of_decoder(model):
    return {
        w.path: w.numpy() for x in model.layers if x.name.startswith("head_") for w in x.weights
    }


def test_every_network_is_in_this_contract():
    assert {x[0] for x in CASES.values()} == set(NETWORKS)


def test_there_is_a_float32_logit_for_each_pixel_and_class(made):
    case, images, model = made
    side = CASES[case][2]
    assert model.output.shape == (None, side, side, CLASSES)
    got = output(model, images)
    assert got.shape == (3, side, side, CLASSES)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert got.std(axis=0).mean() > 1e-2  # depends on the picture ..
    assert got.std(axis=(1, 2)).min() > 1e-2  # .. and on the place


def test_a_pixel_of_the_picture_moves_the_logits_at_its_own_place_most(made):
    """Neither transposed nor mirrored on the way through the scales."""
    case, images, model = made
    side = CASES[case][2]
    row, column = side // 4, 5 * side // 8
    other = images.copy()
    other[:, row - 3 : row + 4, column - 3 : column + 4] = (
        255 - other[:, row : row + 1, column, None]
    )
    moved = np.abs(output(model, other) - output(model, images)).sum(axis=(0, 3))
    at = np.stack(np.unravel_index(moved.argmax(), moved.shape))
    np.testing.assert_allclose(at, (row, column), atol=6)


def test_the_network_is_flat_and_layers_of_the_decoder_are_called_head(made):
    case, _, model = made
    _, name, side, _, options = CASES[case]
    assert not any(isinstance(x, keras.Model) for x in model.layers)
    encoder = {x.name for x in ENCODERS[name](side, **options).layers}
    for layer in model.layers:
        assert layer.name.startswith("head_") != (layer.name in encoder), layer.name
    assert {x.name for x in encoder_layers(model)} <= encoder
    assert any(x.name.startswith("head_") for x in model.layers)


def test_the_encoder_starts_from_an_encoders_weights_and_gives_the_same_maps(made):
    case, images, _ = made
    _, name, side, _, options = CASES[case]
    keras.utils.set_random_seed(5)
    encoder = ready(ENCODERS[name](side, **options), images)
    model, other = build(case, weights=encoder), build(case)
    inner = [x.name for x in encoder.layers if x.weights and x.name != "norm"]
    assert inner == [x.name for x in encoder_layers(model)]
    chosen = [inner[0], inner[len(inner) // 2], inner[-1]]
    want, got, without = (
        [
            np.asarray(x)
            for x in keras.Model(m.input, [m.get_layer(x).output for x in chosen])(images)
        ]
        for m in (encoder, model, other)
    )
    for a, b, c in zip(want, got, without, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6 * np.abs(a).max())
        assert np.abs(c - a).max() > 1e-2 * np.abs(a).max()


def test_logits_are_float32_under_a_mixed_policy_too(made):
    case, images, model = made
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = build(case)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.set_weights(model.get_weights())
    assert {x.dtype for x in mixed.weights} == {"float32"}
    computed = {x.name: x.compute_dtype for x in mixed.layers}
    assert computed["head_logits"] == "float32"
    assert computed["head_up0.conv2"] == "bfloat16"
    got, want = output(mixed, images), output(model, images)
    assert got.dtype == np.float32
    away = np.abs(got - want).mean() / want.std()
    assert 1e-5 < away < 0.1


def test_saved_weights_give_the_same_output(made, tmp_path):
    case, images, model = made
    model.save_weights(tmp_path / "model.weights.h5")
    keras.utils.set_random_seed(9)
    again = build(case)
    want = output(model, images)
    assert np.abs(output(again, images) - want).max() > 1e-2
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(output(again, images), want)


def test_the_gradient_reaches_every_weight(made):
    _, images, model = made
    largest = {}
    for training in (True, False):  # the statistics of a batch take away what is added everywhere
        with tf.GradientTape() as tape:
            said = model(images, training=training)
            # A random projection: a plain sum has no gradient behind BatchNorm.
            value = tf.reduce_sum(said * tf.random.stateless_normal(said.shape, [1, 2]))
        weights = model.trainable_weights
        for weight, gradient in zip(
            weights, tape.gradient(value, [w.value for w in weights]), strict=True
        ):
            assert gradient is not None, weight.path
            largest[weight.path] = max(np.abs(gradient).max(), largest.get(weight.path, 0))
    for path, value in largest.items():
        if not path.endswith("attn.k/bias"):  # which softmax forgets
            assert value > 1e-3, path
    assert len(largest) > 10


def fit(model, phase, images, y, pretrained):
    flags = config(phase1_epochs=1, phase2_epochs=1, phase1_rate=1e-2, phase2_rate=1e-2)
    phases.compile_phase(model, phase, flags, OverlapCrossentropy(), 1, pretrained)
    model.fit(images, y, batch_size=len(images), verbose=0)


@pytest.mark.parametrize("pretrained", [False, True])
def test_phase_1_leaves_the_encoder_bit_by_bit_and_moves_all_of_the_decoder(fresh, pretrained):
    images, y, model = fresh
    before, decoder = of_encoder(model), of_decoder(model)
    fit(model, 1, images, y, pretrained)
    for a, b in zip(before, of_encoder(model), strict=True):
        np.testing.assert_array_equal(a, b)
    still = [path for path, a in of_decoder(model).items() if np.array_equal(a, decoder[path])]
    assert [x for x in still if not x.endswith("attn.k/bias")] == []


def test_phase_2_moves_everything(fresh):
    images, y, model = fresh
    before = {w.path: w.numpy() for w in model.weights}
    fit(model, 2, images, y, pretrained=False)
    still = [w.path for w in model.weights if np.array_equal(w.numpy(), before[w.path])]
    assert [x for x in still if not x.endswith("attn.k/bias")] == []


# The parts of decoders.


@pytest.mark.parametrize(
    ("side", "finer", "times"),
    [(16, 33, 1), (13, 31, 1), (3, 5, 1), (11, 19, 1), (6, 24, 2), (5, 21, 2), (7, 14, 1)],
)
def test_a_map_is_doubled_until_it_fits_beside_a_finer_one_in_its_middle(side, finer, times):
    coarse, skip = keras.Input((side, side, 1)), keras.Input((finer, finer, 1))
    model = keras.Model([coarse, skip], joined(coarse, skip, 1, name="head_up3"))
    doubling = [x for x in model.layers if isinstance(x, keras.layers.Conv2DTranspose)]
    assert len(doubling) == times
    for layer in doubling:  # each pixel to four
        layer.set_weights([np.ones_like(x) if x.ndim == 4 else x for x in layer.get_weights()])
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, n, n, 1), "float32") for n in (side, finer))
    got = np.asarray(model([a, b]))
    large = np.kron(a, np.ones((1, 2**times, 2**times, 1), "float32"))
    want, start = np.zeros_like(b), abs(finer - large.shape[1]) // 2
    inner = slice(start, start + min(finer, large.shape[1]))
    if large.shape[1] > finer:
        want = large[:, inner, inner]
    else:
        want[:, inner, inner] = large
    np.testing.assert_allclose(got[..., :1], want, atol=1e-6)
    np.testing.assert_array_equal(got[..., 1:], b)


# U-Net.


def made_by(tensor):
    return tensor._keras_history.operation.name


# Of pictures of 96 px: {side: the encoder's layer}, beside the picture and the last map.
SCALES = {
    "tiny": {47: "conv1_act"},
    "se_xception": {45: "block1_conv2_act", 23: "block2_add", 12: "block3_add", 6: "block5_add"},
    "efficientnet_lite0": {
        side: f"blocks.{j}.bn0_act" for side, j in ((48, 1), (24, 2), (12, 3), (6, 5))
    },
    "cvt_13": {24: "stage0.map", 12: "stage1.map"},
    "med_former": {24: "encoding.map", 12: "stage0.map"},
    "resnet50": {48: "conv1_relu", 24: "conv2_block3_out", 12: "conv3_block4_out",
                 6: "conv4_block6_out"},
    "inception_v3": {45: "stem.activation_2", 20: "stem.activation_4", 9: "mixed2", 4: "mixed7"},
}  # fmt: skip
LONGER = ("resnet50", "inception_v3")


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=pytest.mark.slow if x in LONGER else ()) for x in SCALES]
)
def test_a_unet_joins_the_last_map_of_every_scale_of_an_encoder(name):
    options = NARROW.get(name, {})
    model = build_segmenter("unet", name, 96, 1, decoder_options={"width": 0.25}, **options)
    skips = [x for x in model.layers if x.name.startswith("head_") and x.name.endswith(".skip")]
    found = {x.input.shape[1]: made_by(x.input) for x in skips}
    assert found == SCALES[name]
    last = model.get_layer(f"head_up{len(skips)}.up")
    assert last.input.shape[1] < min(found)
    joins = [x for x in model.layers if x.name.startswith("head_") and x.name.endswith(".join")]
    assert [[side.shape[1] for side in x.input] for x in joins] == [[n, n] for n in
            [*sorted(found), 96]]  # fmt: skip
    assert [x.input[1].shape[-1] for x in joins] == [4 << j for j in range(len(skips), 0, -1)] + [
        16
    ]


@pytest.mark.parametrize("case", ["unet, five scales", "transunet", "unetr"])
def test_every_skip_and_the_last_map_reach_the_output(case):
    """One after the other is moved, the others stay as they are."""
    keras.utils.set_random_seed(0)
    images = pictures(CASES[case][2], 2)
    model = ready(build(case), images)
    joins = [x for x in model.layers if x.name.startswith("head_") and x.name.endswith(".join")]
    parts = [joins[0].input[0], *(x.input[1] for x in joins)]
    decoder = keras.Model(parts, model.output)
    values = [np.asarray(x) for x in keras.Model(model.input, parts)(images)]
    want = np.asarray(decoder(values))
    np.testing.assert_allclose(want, output(model, images), atol=1e-5)
    assert len(parts) == {"unet, five scales": 6, "transunet": 3, "unetr": 4}[case]
    for k, part in enumerate(values):
        moved = [*values[:k], part[:, ::-1], *values[k + 1 :]]
        assert np.abs(np.asarray(decoder(moved)) - want).max() > 1e-3, parts[k].name


def test_a_unetr_reads_the_depths_of_the_paper():
    """Of twelve blocks the third, sixth, ninth and twelfth, the deeper the coarser."""
    options = {"width": 24, "depth": 12, "heads": 2}
    own = {"features": 2}
    model = build_segmenter("unetr", "mae_vit_tiny", 32, 1, decoder_options=own, **options)
    read = {x.name: made_by(x.input) for x in model.layers if x.name.startswith("head_up")
            and x.name.endswith(".map")}  # fmt: skip
    assert read == {f"head_up{j}.map": f"blocks.{3 * j - 1}.mlp.add" for j in (1, 2, 3)}
    coarse = model.get_layer("head_up3.up").input
    assert made_by(coarse) == "map"
    assert made_by(coarse._keras_history.operation.input) == "blocks.11.mlp.add"
    sides = {x.name: x.output.shape[1:] for x in model.layers if x.name.endswith(".conv2")}
    assert sides == {f"head_up{j}.conv2": (32 >> j, 32 >> j, 2 << j) for j in range(4)} | {
        "head_fine.conv2": (32, 32, 2)
    }


def test_an_untrained_segmenter_calls_each_class_as_often_as_it_is_there():
    keras.utils.set_random_seed(0)
    model = build("unet, odd")
    head = model.get_layer("head_logits")
    head.kernel.assign(head.kernel * 1e-3)
    shares = np.linspace(0.001, 0.4, CLASSES)
    set_shares(model, shares)
    p = 1 / (1 + np.exp(-output(model, pictures(CASES["unet, odd"][2]))))
    np.testing.assert_allclose(p.mean(axis=(0, 1, 2)), shares, rtol=0.05)


@pytest.mark.parametrize("network", ["unet", "transunet"])
def test_the_width_multiplies_the_channels_of_the_decoder(network):
    small = {"channels": 16, "depth": 1, "heads": 1} if network == "transunet" else {}
    for width in (0.0625, 1, 2):
        own = {"width": width, **small}
        model = build_segmenter(network, "tiny", 32, 1, decoder_options=own)
        got = [model.get_layer(f"head_up{j}.conv2").filters for j in (0, 1)]
        assert got == [16 * width, 32 * width]


def test_the_transformer_of_transunet_has_the_size_that_is_asked_for():
    own = parse_decoder_options("transunet", ["channels=48", "depth=3", "heads=6", "width=0.25"])
    assert own == {"channels": 48, "depth": 3, "heads": 6, "width": 0.25}
    model = build_segmenter("transunet", "tiny", 32, 1, decoder_options=own)
    blocks = [x for x in model.layers if x.name.endswith(".attn.attend")]
    assert [x.name for x in blocks] == [f"head_blocks.{j}.attn.attend" for j in range(3)]
    assert {x.heads for x in blocks} == {6}
    assert {x.output.shape for x in blocks} == {(None, 49, 48)}  # a token a cell of the last map
    assert model.get_layer("head_pos_embed").output.shape == (None, 49, 48)


# What cannot be built.


@pytest.mark.parametrize(
    ("network", "encoder", "side", "own", "options", "said"),
    [
        ("segnet", "tiny", 64, {}, {}, "--network segnet: unknown; there are unet, transunet, "),
        ("unet", "resnet_900", 64, {}, {}, "--encoder resnet_900: unknown; there are se_xception"),
        ("unet", "tiny", 8, {}, {}, "--image-size 8: must lie from 16 to 2048 px"),
        ("unet", "mae_vit_tiny", 64, {}, _VIT, "mae_vit_tiny: has maps of one size alone; --netwo"),
        ("transunet", "mae_vit_tiny", 64, _TRANSFORMER, _VIT, "has maps of one size alone"),
        ("unetr", "tiny", 64, {}, {}, "--network unetr: reads mae_vit_* and retfound, with patch"),
        ("unetr", "se_xception_small", 64, {}, _XCEPTION, "--encoder se_xception_small is none"),
        ("unetr", "cvt_13", 64, {}, NARROW["cvt_13"], "--encoder cvt_13 is none"),
        ("unetr", "mae_vit_tiny", 64, {}, {**_VIT, "depth": 3}, "--encoder mae_vit_tiny is none"),
        ("unetr", "mae_vit_tiny", 48, {}, {**_VIT, "patch": 6}, "patches of a power of 2; --enco"),
        ("unet", "tiny", 64, {"width": 0.06}, {}, "width=0.06: leaves no channel"),
        ("transunet", "tiny", 64, {"channels": 32, "heads": 5}, {}, "5 heads: must divide the wid"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_in_a_line(network, encoder, side, own, options, said):
    with pytest.raises(UsageError) as caught:
        build_segmenter(network, encoder, side, 1, decoder_options=own, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "word", "said"),
    [
        ("unet", "depth=3", "--decoder-options depth=3: unet has width (NAME=VALUE)"),
        ("unetr", "width=0.5", "--decoder-options width=0.5: unetr has features (NAME=VALUE)"),
        ("transunet", "heads", "transunet has width, channels, depth, heads (NAME=VALUE)"),
        ("transunet", "depth=1.5", "--decoder-options depth=1.5: such as depth=12"),
        ("unet", "width=wide", "--decoder-options width=wide: such as width=1.0"),
        ("segnet", "width=1", "--network segnet: unknown; there are unet, transunet, unetr"),
    ],
)
def test_an_option_that_a_decoder_has_not_is_refused_in_a_line(network, word, said):
    with pytest.raises(UsageError) as caught:
        parse_decoder_options(network, [word])
    assert str(caught.value).endswith(said)


# On JAX, in a process of its own.

ON_JAX = ("unet, odd", "transunet", "unetr")


def weights(case):
    return f"{case.replace(', ', '_').replace(' ', '_')}.weights.h5"


@pytest.mark.slow
def test_tensorflow_and_jax_give_the_same_logits(tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: pip install '.[jax]'")
    assert keras.backend.backend() == "tensorflow"
    here = {}
    for case in ON_JAX:
        keras.utils.set_random_seed(0)
        images = pictures(CASES[case][2])
        model = ready(build(case), images)
        model.save_weights(tmp_path / weights(case))
        np.save(tmp_path / f"{case}.npy", images)
        here[case] = output(model, images)
    root = Path(__file__).parents[2]
    paths = [str(root), str(root / "tests" / "helpers"), os.environ.get("PYTHONPATH")]
    there = subprocess.run(
        [sys.executable, __file__, tmp_path],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiled in half the time
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert there.returncode == 0, there.stderr[-2000:]
    assert json.loads(there.stdout.splitlines()[-1]) == {"backend": "jax"}
    with np.load(tmp_path / "outputs.npz") as file:
        for case, want in here.items():
            assert want.std(axis=0).mean() > 1e-2
            np.testing.assert_allclose(file[case], want, atol=1e-4, err_msg=case)


def main(folder):
    outputs = {}
    for case in ON_JAX:
        model = build(case)
        load_classifier(folder / weights(case), model)
        outputs[case] = model.predict(np.load(folder / f"{case}.npy"), verbose=0)
    np.savez(folder / "outputs.npz", **outputs)
    print(json.dumps({"backend": keras.backend.backend()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
