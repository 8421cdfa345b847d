import hashlib

import keras
import numpy as np
import pytest
from fitted import a_batch, config, fit, network, statistics

from fundus_diag.models.batch_norm import calibrate_batch_norm
from fundus_diag.models.classifier import block_of, blocks_of, encoder_layers
from fundus_diag.training import phases
from fundus_diag.training.losses import WeightedBinaryCrossentropy
from fundus_diag.training.validation import improves, stopped
from fundus_diag.utils.errors import UsageError


@pytest.fixture(params=["tiny"])
def model(request):
    options = {"width": 0.125, "middle_blocks": 1} if request.param == "se_xception" else {}
    return network(request.param, **options)


on_se_xception_too = pytest.mark.parametrize(
    "model", ["tiny", pytest.param("se_xception", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(scope="module")
def batch():
    return a_batch()


def encoder_hash(model):
    """Of every weight and every BatchNorm statistic of the encoder."""
    arrays = [a for layer in encoder_layers(model) for a in layer.get_weights()]
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


@on_se_xception_too
@pytest.mark.parametrize("pretrained", [False, True])
def test_phase_1_leaves_the_encoder_untouched_and_moves_the_whole_head(model, batch, pretrained):
    before = encoder_hash(model)
    head = [x for x in model.layers if x.weights and x.name.startswith("head_")]
    start = [a for x in head for a in x.get_weights()]
    fit(model, 1, batch, pretrained)
    assert encoder_hash(model) == before
    moved = [np.any(a != b) for a, b in zip(start, (a for x in head for a in x.get_weights()))]  # noqa: B905
    assert moved
    assert all(moved)


@on_se_xception_too
@pytest.mark.parametrize("pretrained", [False, True])
def test_phase_2_moves_every_trainable_array(model, batch, pretrained):
    fit(model, 1, batch, pretrained)
    phases.set_trainable(model, 2, pretrained)
    paths = [v.path for v in model.trainable_variables]
    before = [v.numpy() for v in model.trainable_variables]
    old_statistics = statistics(model)
    fit(model, 2, batch, pretrained, steps=4)
    still = [
        p
        for p, a, v in zip(paths, before, model.trainable_variables, strict=True)
        if np.array_equal(a, v.numpy())
    ]
    assert still == []
    kept = [np.array_equal(a, b) for a, b in zip(old_statistics, statistics(model), strict=True)]
    assert all(kept) if pretrained else not any(kept)
    frozen = {x.name for x in model.layers if x.weights and not x.trainable}
    norms = {x.name for x in model.layers if isinstance(x, keras.layers.BatchNormalization)}
    assert frozen == (norms if pretrained else set())


def test_forgetting_to_compile_would_be_noticed(model, batch):
    """The trap of Keras that the hash above guards against is real."""
    loss = WeightedBinaryCrossentropy(np.ones(3))
    phases.compile_phase(model, 2, config(), loss, 3, pretrained=False)
    model.train_on_batch(*batch)
    phases.set_trainable(model, 1, pretrained=False)
    before = encoder_hash(model)
    model.train_on_batch(*batch)
    assert encoder_hash(model) != before


def test_calibration_leaves_the_mean_of_the_batch_statistics(model, batch):
    images = batch[0]
    first = model.get_layer("conv1_bn")
    outputs = keras.Model(model.input, first.input)
    halves = [outputs.predict(images[a : a + 4], verbose=0) for a in (0, 4)]
    phases.set_trainable(model, 1, pretrained=False)  # as it is when phase 1 begins
    weights = [v.numpy() for v in model.trainable_variables]
    calibrate_batch_norm(model, [images[:4], images[4:]])
    mean = np.mean([x.mean(axis=(0, 1, 2)) for x in halves], axis=0)
    variance = np.mean([x.var(axis=(0, 1, 2)) for x in halves], axis=0)
    np.testing.assert_allclose(first.moving_mean.numpy(), mean, atol=1e-5)
    np.testing.assert_allclose(first.moving_variance.numpy(), variance, rtol=1e-3)
    assert first.momentum == 0.99
    assert not first.trainable
    for a, v in zip(weights, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, v.numpy())


@pytest.mark.parametrize("model", ["se_xception"], indirect=True)
def test_calibration_wakes_a_fresh_network(model, batch):
    asleep = model.predict(batch[0], verbose=0).std(axis=0).mean()
    calibrate_batch_norm(model, [batch[0]])
    assert model.predict(batch[0], verbose=0).std(axis=0).mean() > 20 * asleep


def test_the_rate_warms_up_and_falls_along_a_cosine(model):
    flags = {"phase1_rate": 1e-3, "final_rate": 0.01, "warmup": 0.1, "phase1_epochs": 20}
    loss = WeightedBinaryCrossentropy(np.ones(3))
    phases.compile_phase(model, 1, config(**flags), loss, 5, pretrained=False)
    schedule = model.optimizer._learning_rate
    rates = np.array([float(schedule(step)) for step in range(101)])
    np.testing.assert_allclose(rates[:11], np.linspace(0, 1e-3, 11), rtol=1e-5)
    along = np.arange(91) / 90
    cosine = 1e-5 + (1e-3 - 1e-5) * (1 + np.cos(np.pi * along)) / 2
    np.testing.assert_allclose(rates[10:], cosine, rtol=1e-3)


def test_the_average_is_scored_and_training_goes_on_from_the_weights(model, batch):
    fit(model, 2, batch, pretrained=False, steps=3, ema=10)
    trained = [v.numpy() for v in model.trainable_variables]
    with phases.averaged(model, [batch[0]]):
        inside = [v.numpy() for v in model.trainable_variables]
    after = [v.numpy() for v in model.trainable_variables]
    assert any(np.any(a != b) for a, b in zip(trained, inside, strict=True))
    for a, b in zip(trained, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_average_is_the_running_mean_of_the_weights(model, batch):
    loss = WeightedBinaryCrossentropy(np.ones(3))
    phases.compile_phase(model, 2, config(ema=0.2), loss, 10, pretrained=False)
    variable = model.get_layer("head_logits").kernel
    mean = None
    for _ in range(4):
        model.fit(*batch, batch_size=8, epochs=1, verbose=0)
        now = variable.numpy()
        mean = now if mean is None else 0.5 * mean + 0.5 * now
    with phases.averaged(model, [batch[0]]):
        np.testing.assert_allclose(variable.numpy(), mean, atol=1e-6)


def test_a_huge_gradient_is_clipped(model, batch):
    images, y = batch
    loss = WeightedBinaryCrossentropy(np.full(3, 1e6))
    phases.compile_phase(model, 2, config(clip_norm=0.5), loss, 10, pretrained=False)
    clipped = model.optimizer._clip_gradients([np.full((10,), 100.0, "float32")])
    assert np.linalg.norm(clipped[0]) == pytest.approx(0.5, rel=1e-4)


def test_a_phase_stops_after_its_patience_without_a_better_score():
    def history(*values, phase=2):
        return [{"phase": phase, "val_composite": v} for v in values]

    rising = history(0.1, 0.2, 0.3)
    assert not stopped(rising, 2, 1, "val_composite")
    assert not stopped(rising + history(0.25), 2, 2, "val_composite")
    assert stopped(rising + history(0.25, 0.3), 2, 2, "val_composite")
    assert stopped(rising + history(float("nan"), 0.1), 2, 2, "val_composite")
    assert not stopped(rising + history(0.25, 0.2, 0.1), 2, 0, "val_composite")
    # The other phase's epochs do not count.
    assert not stopped(history(0.9, phase=1) + history(0.1), 2, 1, "val_composite")
    assert not stopped([], 1, 1, "val_composite")


def test_a_score_improves_on_nothing_and_on_an_undefined_one():
    nan = float("nan")
    assert improves(0.5, None)
    assert improves(0.5, 0.4)
    assert not improves(0.5, 0.5)
    assert improves(nan, None)  # the first epoch's weights are kept in any case
    assert improves(0.1, nan)
    assert not improves(nan, nan)
    assert not improves(nan, 0.5)


@on_se_xception_too
def test_phase_2_from_a_block_on_leaves_what_is_below_it_untouched(model, batch):
    blocks = blocks_of(model)
    start = blocks[len(blocks) // 2]
    below = blocks[: blocks.index(start)]
    frozen = [x for x in encoder_layers(model) if block_of(x.name) in below]
    moving = [v for x in encoder_layers(model) if x not in frozen for v in x.weights]
    before = [a for x in frozen for a in x.get_weights()]
    old = [v.numpy() for v in moving]
    fit(model, 2, batch, pretrained=False, unfreeze_from=start)
    assert below
    for a, b in zip(before, (a for x in frozen for a in x.get_weights()), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, v in zip(old, moving, strict=True):
        assert np.any(a != v.numpy()), v.path
    fit(model, 1, batch, pretrained=False, unfreeze_from=start)
    assert not any(x.trainable for x in encoder_layers(model))


def test_a_block_that_there_is_not_is_refused_with_those_that_there_are(model):
    phases.check_block(model, None)
    with pytest.raises(UsageError, match="^--unfreeze-from conv9: the blocks are conv1, conv2$"):
        phases.check_block(model, "conv9")
    for name in ("head", "head_logits"):
        with pytest.raises(UsageError, match=f"--unfreeze-from {name}: "):
            phases.check_block(model, name)
