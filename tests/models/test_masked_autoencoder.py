"""The masked autoencoder: what its encoder sees, what its decoder paints, and what is counted."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.models import ENCODERS
from fundus_diag.models.masked_autoencoder import (
    MaskTokens,
    PatchLoss,
    copy_to_encoder,
    masked_autoencoder,
    patchify,
    standardised,
    unpatchify,
    vit_settings,
)
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.pretraining.loop import compile_model
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.variables import reseed

SIZE, PATCH = 48, 8
COUNT = (SIZE // PATCH) ** 2
MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])
pytestmark = pytest.mark.usefixtures("eager")
VIT = {"width": 24, "depth": 2, "heads": 2, "patch": PATCH}


def build(**settings):
    """A narrow network, its scales, shifts and tokens moved off their start: all matter."""
    keras.utils.set_random_seed(0)
    defaults = {**VIT, "decoder_depth": 2, "decoder_width": 64}
    model = masked_autoencoder(SIZE, **{**defaults, **settings})
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if variable.name != "kernel":
            variable.assign(variable + rng.uniform(-0.3, 0.3, variable.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (5, 12, 12, 3)).astype("float32")
    return tf.image.resize(coarse, (SIZE, SIZE), "bicubic").numpy().clip(0, 255)


def inside(model, name):
    """The network as far as one of its layers."""
    return keras.Model(model.input, model.get_layer(name).output)


def run(model, images, seed=7):
    """Output of a network for masks that only the seed decides."""
    reseed(model, [seed])
    out = model(images, training=False)
    return keras.tree.map_structure(lambda x: x.numpy(), out)


def pixels(images, place):
    """The pixels of one patch of every picture, by cutting it out: (B, PATCH PATCH 3)."""
    row, column = divmod(place, SIZE // PATCH)
    rows = slice(row * PATCH, (row + 1) * PATCH)
    columns = slice(column * PATCH, (column + 1) * PATCH)
    return images[:, rows, columns].reshape(len(images), -1)


@pytest.mark.parametrize(("side", "ratio", "visible"), [(5, 0.8, 5), (10, 0.8, 20), (5, 0.75, 6)])
def test_a_fifth_of_25_patches_is_five(side, ratio, visible):
    """25 x (1 - .8) is a little below 5 in floats."""
    model = masked_autoencoder(
        side * 4, width=8, depth=1, heads=1, patch=4, mask_ratio=ratio, decoder_depth=1,
        decoder_width=32,
    )  # fmt: skip
    assert model.get_layer("masking").visible == visible


def test_patches_are_the_picture_in_the_order_that_the_encoder_reads_it(images):
    """A kernel of which each channel picks one pixel makes the embedding a list of pixels."""
    n = PATCH * PATCH * 3
    network = build(width=n, heads=2, depth=1)
    network.get_layer("patch_embed.proj").set_weights(
        [np.eye(n).reshape(PATCH, PATCH, 3, n), np.zeros(n)]
    )
    embedded = run(inside(network, "patch_embed.tokens"), images)
    got = np.asarray(patchify(images, PATCH))
    np.testing.assert_allclose(embedded, patchify(standardised(images), PATCH), atol=1e-4)
    for place in range(COUNT):
        np.testing.assert_array_equal(got[:, place], pixels(images, place))
    np.testing.assert_array_equal(np.asarray(unpatchify(got, PATCH)), images)


def test_standardised_pictures_are_what_the_encoder_sees(model, images):
    np.testing.assert_allclose(
        run(inside(model, "normalize"), images), standardised(images), atol=1e-5
    )
    np.testing.assert_allclose(standardised(images), (images - MEAN) / STD, atol=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_the_mean_over_hidden_pixels_by_hand(images, normalise):
    rng = np.random.default_rng(3)
    images = images.copy()
    images[0, :PATCH, :PATCH] = 0  # a black corner has no variance
    mask = np.zeros((5, COUNT), "float32")
    for row in mask:
        row[rng.permutation(COUNT)[: int(0.75 * COUNT)]] = 1
    mask[0, 0] = 1
    painted = rng.normal(size=(5, COUNT, PATCH * PATCH * 3)).astype("float32")
    want = []
    for i in range(5):
        errors = []
        for place in np.flatnonzero(mask[i]):
            x = (pixels(images, place)[i].reshape(-1, 3) - MEAN) / STD
            x = x.ravel()
            if normalise:
                x = (x - x.mean()) / math.sqrt(np.var(x, ddof=1) + 1e-6)
            errors += [(a - b) ** 2 for a, b in zip(painted[i, place], x, strict=True)]
        want.append(np.mean(errors))
    loss = PatchLoss(PATCH, normalise)
    outputs = {"patches": painted, "mask": mask}
    np.testing.assert_allclose(loss.call(images, outputs), want, rtol=2e-5)
    assert float(loss(images, outputs)) == pytest.approx(np.mean(want), rel=2e-5)
    seen = np.where(mask[..., None] > 0, painted, painted + 100)
    np.testing.assert_allclose(loss.call(images, {**outputs, "patches": seen}), want, rtol=2e-5)


def test_each_picture_and_each_step_hides_other_patches_as_many_as_asked_for(images):
    for ratio, visible in ((0.75, 9), (0.5, 18), (0.9, 3)):
        network = build(mask_ratio=ratio, depth=1, decoder_depth=1)
        masks = [network(images)["mask"].numpy() for _ in range(4)]
        assert set(np.unique(masks)) == {0, 1}
        assert (np.sum(masks, axis=-1) == COUNT - visible).all()
        assert len({row.tobytes() for mask in masks for row in mask}) > 15
    assert inside(network, "blocks.0.norm1").output.shape == (None, 1 + 3, 24)


def test_every_patch_is_hidden_equally_often(model):
    reseed(model, [0])
    masking = inside(model, "masking")
    images = np.zeros((2000, SIZE, SIZE, 3), "float32")
    share = masking(images)[1].numpy().mean(axis=0)
    # Of 2000 draws at .75: standard deviation .0097.
    np.testing.assert_allclose(share, 0.75, atol=4.5 * 0.0097)


def test_an_epoch_draws_its_masks_from_its_own_number(model, images):
    def mask(numbers):
        reseed(model, numbers)
        return model(images)["mask"].numpy()

    np.testing.assert_array_equal(mask([5, 1]), mask([5, 1]))
    assert (mask([5, 1]) != mask([5, 2])).any()
    assert (mask([5, 1]) != mask([6, 1])).any()


def test_hidden_pixels_do_not_reach_the_encoder(model, images):
    mask = run(model, images)["mask"]
    noise = np.random.default_rng(2).uniform(0, 255, images.shape).astype("float32")
    hidden = np.asarray(unpatchify(np.repeat(mask[..., None], PATCH * PATCH * 3, axis=2), PATCH))
    encoded = inside(model, "norm")
    want = run(encoded, images)
    np.testing.assert_array_equal(run(encoded, np.where(hidden > 0, noise, images)), want)
    np.testing.assert_array_equal(
        run(model, np.where(hidden > 0, noise, images))["patches"], run(model, images)["patches"]
    )
    assert np.abs(run(encoded, np.where(hidden > 0, images, noise)) - want).max() > 0.1


def test_the_encoder_gets_the_seen_tokens_with_their_places(model, images):
    """Whatever order the seen tokens stand in, `restore` tells where each comes from."""
    tokens = run(inside(model, "pos_embed"), images)
    seen, mask, restore = run(inside(model, "masking"), images)
    np.testing.assert_array_equal(seen[:, 0], tokens[:, 0])
    for i in range(len(images)):
        assert sorted(restore[i]) == list(range(COUNT))
        for place in range(COUNT):
            at = restore[i, place]
            assert (at >= COUNT // 4) == mask[i, place]
            if not mask[i, place]:
                np.testing.assert_array_equal(seen[i, 1 + at], tokens[i, 1 + place])


def test_the_decoder_gets_every_token_back_in_its_place():
    rng = np.random.default_rng(0)
    restore = np.stack([rng.permutation(10) for _ in range(4)]).astype("int32")
    x = rng.normal(size=(4, 1 + 3, 6)).astype("float32")
    layer = MaskTokens()
    got = layer([x, restore]).numpy()
    token = layer.token.numpy()[0, 0]
    np.testing.assert_array_equal(got[:, 0], x[:, 0])
    for i in range(4):
        for place in range(10):
            at = restore[i, place]
            want = x[i, 1 + at] if at < 3 else token
            np.testing.assert_array_equal(got[i, 1 + place], want)


def test_what_is_painted_depends_on_the_place(model, images):
    """With one mask token for all, only the decoder's position embedding tells patches apart."""
    out = run(model, images)
    spread = [row[mask > 0].std(axis=0).mean() for row, mask in zip(*out.values(), strict=True)]
    assert min(spread) > 1e-2


def test_the_encoder_alone_makes_what_the_network_makes_of_all_patches(images):
    network = build(mask_ratio=0.0)
    encoder = ENCODERS["mae_vit_tiny"](SIZE, **VIT)
    copy_to_encoder(network, encoder)
    tokens = run(inside(network, "norm"), images)[:, 1:]
    _, mask, restore = run(inside(network, "masking"), images)
    assert (mask == 1).all()  # every patch counts where none is hidden
    want = np.stack([row[order] for row, order in zip(tokens, restore, strict=True)])
    got = encoder.predict(images, verbose=0).reshape(want.shape)
    assert np.abs(want - want.mean(axis=1, keepdims=True)).max() > 0.1
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_saved_weights_are_those_of_the_encoder(model, tmp_path):
    encoder = ENCODERS["mae_vit_tiny"](SIZE, **VIT)
    copy_to_encoder(model, encoder)
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    again = ENCODERS["mae_vit_tiny"](SIZE, **VIT)
    again.load_weights(tmp_path / "encoder.weights.h5")
    held = [layer for layer in again.layers if layer.weights]
    for layer in held:
        want = model.get_layer(layer.name).get_weights()
        for got, array in zip(layer.get_weights(), want, strict=True):
            np.testing.assert_array_equal(got, array)
    # Patches, class token, places, two blocks of eight layers, norm.
    assert len(held) == 1 + 1 + 1 + 2 * 8 + 1


def test_the_gradient_reaches_all_but_the_position_embeddings(model, images):
    with tf.GradientTape() as tape:
        loss = model.patch_loss(images, model(images, training=True))
    names = [v.path for v in model.trainable_variables]
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for name, gradient in zip(names, gradients, strict=True):
        assert np.abs(gradient).max() > 0, name
    assert not any("pos_embed" in name for name in names)


def config(**settings):
    defaults = {"epochs": 10, "warmup_epochs": 2, "rate": 0.025, "weight_decay": 0.2}
    return PretrainConfig("", "", "", **{**defaults, **settings}).resolved()


def test_the_rate_rises_and_falls_as_published():
    """The formula of MAE's code, at every step of ten epochs of seven."""
    network = build()
    compile_model(network, config(), steps=7)
    for step in range(70):
        epoch = step / 7
        peak = 0.1 * 64 / 256
        if epoch < 2:
            want = peak * epoch / 2
        else:
            want = peak * 0.5 * (1 + math.cos(math.pi * (epoch - 2) / (10 - 2)))
        network.optimizer.iterations.assign(step)
        assert float(network.optimizer.learning_rate) == pytest.approx(want, abs=1e-8)
    compile_model(network, config(warmup_epochs=0), steps=7)
    assert float(network.optimizer.learning_rate) == pytest.approx(0.1 * 64 / 256)


def test_weight_decay_spares_all_but_kernels():
    """Without a gradient AdamW does nothing but decay."""
    network = build()
    compile_model(network, config(warmup_epochs=0), steps=7)
    before = [v.numpy() for v in network.trainable_variables]
    network.optimizer.apply([tf.zeros(v.shape) for v in network.trainable_variables])
    kept = 1 - 0.1 * 64 / 256 * 0.2
    kinds = set()
    for variable, old in zip(network.trainable_variables, before, strict=True):
        kinds.add(variable.name)
        factor = kept if variable.name == "kernel" else 1
        np.testing.assert_allclose(variable, factor * old, rtol=1e-6, err_msg=variable.path)
    assert kinds == {"kernel", "bias", "gamma", "beta", "token"}
    assert network.optimizer.beta_1 == 0.9
    assert network.optimizer.beta_2 == 0.95


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_a_step_in_mixed_precision_learns_in_float32(images, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        network = build()
        compile_model(network, config(warmup_epochs=0), steps=7)
        outputs = network(images)
        loss = network.train_on_batch(images)
    finally:
        keras.config.set_dtype_policy(before)
    assert {k: v.dtype.name for k, v in outputs.items()} == dict.fromkeys(
        ("patches", "mask"), "float32"
    )
    assert (outputs["mask"].numpy().sum(axis=1) == COUNT - COUNT // 4).all()
    assert np.isfinite(loss)
    exact = build()(images)["patches"].numpy()
    np.testing.assert_allclose(outputs["patches"], exact, atol=0.1 * np.abs(exact).max())


@pytest.mark.slow
@pytest.mark.traced
def test_the_network_learns_to_paint(images):
    network = build(depth=1, decoder_depth=1)
    compile_model(network, config(epochs=150, rate=0.01), steps=1)
    first = [float(network.train_on_batch(images)) for _ in range(150)][::149]
    assert first[1] < 0.75 * first[0]


def test_patches_start_as_strong_as_through_a_dense_layer():
    network = masked_autoencoder(64, width=96, depth=1, heads=2, decoder_depth=1, decoder_width=32)
    kernel = network.get_layer("patch_embed.proj").get_weights()[0]
    limit = math.sqrt(6 / (16 * 16 * 3 + 96))
    assert 0.99 * limit < np.abs(kernel).max() <= limit


@pytest.mark.parametrize(
    ("size", "settings", "message"),
    [
        (50, {}, "--image-size 50: must be a multiple of 8; nearest 48"),
        (
            16,
            {"mask_ratio": 0.8},
            "--mask-ratio 0.8: leaves none of 4 patches to see; at most 0.75",
        ),
        (48, {"decoder_width": 100}, "--decoder-width 100: must be a multiple of 32; nearest 96"),
    ],
)
def test_impossible_networks_are_refused(size, settings, message):
    with pytest.raises(UsageError, match=message):
        masked_autoencoder(size, **{**VIT, "decoder_width": 32, **settings})


def test_only_encoders_of_the_family_are_pretrained():
    assert vit_settings("mae_vit_base") == {}
    assert vit_settings("retfound") == {"width": 1024, "depth": 24, "heads": 16}
    for name in ("cvt_13", "resnet900"):
        with pytest.raises(UsageError, match=f"--encoder {name}: .*mae_vit_tiny, .*retfound$"):
            vit_settings(name)
