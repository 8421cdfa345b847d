"""One contract for every encoder, then what is special to each."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_encoders import EVERY, NARROW, OPTIONS, SIZE, shake

from fundus_diag.models import CAM_LAYERS, ENCODERS, HEADS, build_classifier
from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.classifier import copy_encoder_weights, encoder_layers
from fundus_diag.models.encoders import PRESETS
from fundus_diag.models.weights.keras_xception import port_xception
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.utils.errors import DataError, UsageError

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (6, 8, 8, 3)).astype("float32")
    return tf.image.resize(coarse, (SIZE, SIZE), "bicubic").numpy().clip(0, 255)


@pytest.fixture(scope="module", params=EVERY)
def calibrated(request, images):
    """(name, encoder that depends on its input); fresh statistics would hide most mistakes."""
    keras.utils.set_random_seed(0)
    encoder = ENCODERS[request.param](SIZE, **OPTIONS[request.param])
    shake(encoder)
    calibrate_batch_norm(encoder, [images])
    return request.param, encoder


@pytest.fixture(scope="module")
def of_pairs(calibrated):
    """A classifier of pairs with the encoder's weights."""
    name, encoder = calibrated
    return build_classifier(name, SIZE, 3, unit="patient", weights=encoder, **OPTIONS[name])


def test_every_family_has_a_member_in_this_contract():
    assert {CAM_LAYERS[name] for name in OPTIONS} == {CAM_LAYERS[name] for name in PRESETS}


def test_the_feature_map_is_finite_and_depends_on_the_picture(calibrated, images):
    _, encoder = calibrated
    got = encoder.predict(images, verbose=0)
    assert got.ndim == 4
    assert got.shape[:1] + got.shape[3:] == (6, encoder.output.shape[-1])
    assert np.isfinite(got).all()
    assert got.std(axis=0).mean() > 1e-2


def test_the_gradient_reaches_every_weight(calibrated, images):
    _, encoder = calibrated
    largest = {}
    # With statistics of the batch, and with its own: the first take away again what adds the same
    # to all places in front of them, as the shift behind an inverted bottleneck does.
    for training in (True, False):
        with tf.GradientTape() as tape:
            # A random projection: the plain sum of a normalised output has no gradient by symmetry.
            output = encoder(images, training=training)
            value = tf.reduce_sum(output * tf.random.stateless_normal(output.shape, [1, 2]))
        weights = encoder.trainable_weights
        gradients = tape.gradient(value, [w.value for w in weights])
        for weight, gradient in zip(weights, gradients, strict=True):
            assert gradient is not None, weight.path
            path = weight.path
            largest[path] = max(np.abs(gradient).max(), largest.get(path, 0))
    for path, value in largest.items():
        # What adds the same to all keys adds the same to all of a query's products, which softmax
        # forgets.
        if not path.endswith(("attn.k/bias", "attn.proj_k/bias", "conv_proj_k.bn/beta")):
            assert value > 1e-3, path


def test_a_picture_gives_the_same_alone_and_in_a_batch(calibrated, images):
    _, encoder = calibrated
    pair = encoder.predict(images[:2], verbose=0)
    alone = encoder.predict(images[1:2], verbose=0)
    # Of ResNet50 some libraries compute other batches by other algorithms.
    np.testing.assert_allclose(pair[1:], alone, atol=3e-4 * np.abs(pair).max())


def test_saved_weights_give_the_same_output(calibrated, images, tmp_path):
    name, encoder = calibrated
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    again = ENCODERS[name](SIZE, **OPTIONS[name])
    again.load_weights(tmp_path / "encoder.weights.h5")
    want = encoder.predict(images, verbose=0)
    np.testing.assert_array_equal(again.predict(images, verbose=0), want)


def test_the_classifier_is_flat_with_float32_logits_and_takes_the_encoders_weights(
    calibrated, images
):
    name, encoder = calibrated
    model = build_classifier(name, SIZE, 3, weights=encoder, **OPTIONS[name])
    assert not any(isinstance(x, keras.Model) for x in model.layers)
    assert model.output.dtype == "float32"
    assert model.predict(images, verbose=0).shape == (6, 3)
    inner = keras.Model(model.input, model.get_layer("head_pool").input)
    # A classifier may leave out the encoder's last norm, and pool before it.
    plain = ENCODERS[name](SIZE, **OPTIONS[name], **HEADS[name].get("options", {}))
    copy_encoder_weights(encoder, plain)
    want = plain.predict(images, verbose=0)
    np.testing.assert_allclose(inner.predict(images, verbose=0), want, atol=1e-6)
    heads = [x.name for x in model.layers if x.weights and x not in encoder_layers(model)]
    assert all(x.startswith("head_") for x in heads)


def test_a_pair_gives_the_same_whatever_stands_for_a_missing_eye(of_pairs, images):
    pairs = np.stack([images[:3], images[3:]], axis=1)
    mask = np.array([[1, 1], [1, 0], [0, 1]], "float32")
    other = pairs.copy()
    other[1, 1], other[2, 0] = 0, 255 - other[2, 0]
    want = of_pairs.predict({"images": pairs, "mask": mask}, verbose=0)
    got = of_pairs.predict({"images": other, "mask": mask}, verbose=0)
    np.testing.assert_allclose(got, want, atol=1e-6)
    both = of_pairs.predict({"images": other, "mask": np.ones((3, 2), "float32")}, verbose=0)
    assert np.abs(both[1:] - want[1:]).max() > 1e-4  # the eye matters when it is there


def test_the_eyes_of_a_pair_are_told_apart(of_pairs, images):
    pairs = np.stack([images[:3], images[3:]], axis=1)
    mask = np.ones((3, 2), "float32")
    got = of_pairs.predict({"images": pairs, "mask": mask}, verbose=0)
    swapped = of_pairs.predict({"images": pairs[:, ::-1], "mask": mask}, verbose=0)
    assert np.abs(got - swapped).max() > 1e-4


def test_encoder_layers_are_called_once_for_both_eyes():
    model = build_classifier("se_xception", SIZE, 2, unit="patient", **NARROW["se_xception"])
    for layer in model.layers:
        assert len(layer._inbound_nodes) == 1, layer.name


@pytest.fixture(scope="module")
def upstream(images):
    keras.utils.set_random_seed(0)
    model = keras.applications.Xception(
        weights=None, include_top=False, input_shape=(SIZE, SIZE, 3)
    )
    shake(model)
    calibrate_batch_norm(model, [images / 127.5 - 1])
    return model


@pytest.mark.slow
def test_se_xception_without_gates_equals_keras_xception(upstream, images):
    encoder = ENCODERS["se_xception"](SIZE, se_ratio=None)
    port_xception(upstream, encoder)
    want = upstream.predict(images / 127.5 - 1, verbose=0)
    assert want.std(axis=0).mean() > 1e-2  # else anything would pass
    got = encoder.predict(images, verbose=0)
    np.testing.assert_allclose(got, want, atol=1e-4 * want.max())
    # Blind tests pass with two blocks swapped: this one must not.
    a, b = (encoder.get_layer(f"block{i}_sepconv1") for i in (6, 7))
    first, second = a.get_weights(), b.get_weights()
    a.set_weights(second)
    b.set_weights(first)
    swapped = encoder.predict(images, verbose=0)
    assert np.abs(swapped - want).max() > 1e-2 * want.max()


@pytest.mark.slow
def test_ported_gates_start_nearly_open(upstream):
    encoder = ENCODERS["se_xception"](SIZE)
    port_xception(upstream, encoder)
    gate = keras.Model(encoder.input, encoder.get_layer("block8_se_expand").output)
    values = gate.predict(np.full((1, SIZE, SIZE, 3), 90.0), verbose=0)
    assert (values > 0.9).all()
    assert (values < 1).all()


@pytest.mark.slow
def test_published_weights_load_from_a_file(upstream, images, tmp_path):
    upstream.save_weights(tmp_path / "xception.weights.h5")
    path = tmp_path / "xception_notop.h5"
    upstream.save(path)  # the legacy format that Keras publishes
    encoder, pretrained = load_encoder("se_xception", SIZE, str(path))
    assert pretrained
    want = upstream.get_layer("block14_sepconv2").get_weights()
    for got, array in zip(encoder.get_layer("block14_sepconv2").get_weights(), want, strict=True):
        np.testing.assert_array_equal(got, array)


def test_porting_refuses_a_network_of_other_layers(upstream):
    with pytest.raises(DataError, match="block12_sepconv1/0 .* is not used"):
        port_xception(upstream, ENCODERS["se_xception"](SIZE, middle_blocks=7))


def test_copying_refuses_an_encoder_of_other_layers():
    one = ENCODERS["se_xception_small"](SIZE, width=0.1)
    model = build_classifier("se_xception_small", SIZE, 2, width=0.1, se_ratio=None)
    with pytest.raises(ValueError, match="layers differ"):
        copy_encoder_weights(one, model)


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("mae_vit_tiny", 64, {"heads": 5}, "5 heads: must divide the width 192"),
        ("cvt_13", 64, {"heads": (1, 3, 5)}, "5 heads: must divide the width 384"),
        ("med_former", 128, {"heads": 5}, "5 heads: must divide the width 96"),
        ("mae_vit_tiny", 64, {"width": 190, "heads": 2}, "width 190: must be a multiple of 4"),
        ("mae_vit_tiny", 16, {"patch": 5}, "a multiple of 5; nearest 20"),
        ("mae_vit_tiny", 2048, {"patch": 19}, "a multiple of 19; nearest 2033"),
    ],
)
def test_impossible_options_are_refused(name, size, options, message):
    with pytest.raises(UsageError, match=message):
        build_classifier(name, size, 2, **options)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet_900", 64, "unknown; there are se_xception"),
        ("se_xception", 4096, "from 16 to 2048 px"),
        ("se_xception", 31, "31: at least 32"),
        ("cvt_13", 16, "too small for the stages of CvT; at least 19"),
        ("mae_vit_tiny", 100, "a multiple of 16; nearest 96"),
        ("med_former", 299, "a multiple of 64 from 128; nearest 320"),
    ],
)
def test_impossible_models_are_refused(name, size, message):
    with pytest.raises(UsageError, match=message):
        build_classifier(name, size, 2)


def test_there_are_no_imagenet_weights_for_the_small_preset():
    with pytest.raises(UsageError, match="--weights none"):
        load_encoder("se_xception_small", SIZE, "imagenet")


# With a layer of 1,000 logits, in millions: Wu et al. 2021, table 2; timm's results table (ViT).
PUBLISHED = {
    "cvt_13": 20,
    "cvt_21": 32,
    "cvt_w24": 277,
    "mae_vit_tiny": 5.7,
    "mae_vit_small": 22.1,
    "mae_vit_base": 86.6,
    "mae_vit_large": 304.3,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PRESETS if name != "retfound"])  # as the large
def test_every_preset_is_built_at_its_size(name, images):
    gc.collect()  # of the one before, which has up to a gigabyte
    encoder = ENCODERS[name](PRESETS[name].image_size)
    side, features = encoder.input.shape[1], encoder.output
    if encoder.count_params() < 1e8:  # the largest of a family compute as its others do
        picture = tf.image.resize(images[:1], (side, side))
        features = np.asarray(encoder(picture))
        assert np.isfinite(features).all()
        assert features.std() > 0
    if name in PUBLISHED:
        millions = (encoder.count_params() + 1000 * (features.shape[-1] + 1)) / 1e6
        digits = 0 if name.startswith("cvt") else 1
        assert round(millions, digits) == PUBLISHED[name]
