import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.data.augment import augmenter, mix, move, random_crop, warp
from fundus_diag.training.classify import augmentation
from fundus_diag.training.config import TrainConfig

NAN = np.nan


def batch(n=6, side=48, pairs=False):
    """Pictures with a bright spot on the right of the upper half: mirroring can be seen."""
    rng = np.random.default_rng(0)
    shape = (n, 2, side, side, 3) if pairs else (n, side, side, 3)
    images = rng.integers(40, 90, shape).astype("uint8")
    images[..., side // 4 : side // 2, 3 * side // 4 :, :] = 250
    return images


def run(images, y, steps=1, **settings):
    augment = augmenter(**{"seed": [3, 1], **settings})
    data = tf.data.Dataset.from_tensors((images, y)).repeat(steps).enumerate()
    return [(x.numpy(), z.numpy()) for x, z in data.map(lambda k, b: augment(k, *b))]


def test_moving_nothing_changes_nothing_and_mirroring_mirrors():
    images = np.random.default_rng(0).uniform(0, 255, (2, 9, 9, 3)).astype("float32")
    still = [np.zeros(2, "float32"), np.ones(2, "float32"), np.zeros((2, 2), "float32")]
    got = warp(tf.constant(images), *still, np.array([False, True])).numpy()
    np.testing.assert_allclose(got[0], images[0], atol=1e-4)
    np.testing.assert_allclose(got[1], images[1, :, ::-1], atol=1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_point_goes_where_the_formula_sends_it(mirrored):
    """The one bright pixel of the picture is found at the p of which the docstring speaks."""
    side, angle, zoom, shift = 41, 0.3, 1.2, np.array([3.0, -2.0])
    p = np.array([-6.0, 5.0])  # x, y from the middle
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    source = turn @ (p * [-1 if mirrored else 1, 1]) + shift + 20
    images = np.zeros((1, side, side, 3), "float32")
    y, x = np.mgrid[:side, :side]
    images[0] = np.exp(-((x - source[0]) ** 2 + (y - source[1]) ** 2) / 2)[..., None]
    arguments = np.array([[angle], [zoom]], "float32")
    got = warp(tf.constant(images), *arguments, shift[None].astype("float32"), np.array([mirrored]))
    weight = got.numpy()[0, :, :, 0]
    found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum() - 20
    np.testing.assert_allclose(found, p, atol=0.05)


def places(n, side):
    """Pictures of which each pixel tells its own column (red) and row (green), in [0, 250]."""
    rows, columns = np.mgrid[:side, :side] * (250 / (side - 1))
    picture = np.stack([columns, rows, np.full((side, side), 99.0)], axis=-1)
    return tf.constant(np.repeat(picture[None], n, axis=0), tf.float32)


def test_a_crop_is_a_square_inside_the_picture_of_an_area_drawn_evenly():
    count, source, side = 3000, 60, 16
    got = random_crop(places(count, source), [5, 1], 0.2, side).numpy()
    assert got.shape == (count, side, side, 3)
    pixel = 250 / (source - 1)
    # Inside, away from the rim where the source ends, colours grow evenly: the step is the zoom.
    across = (got[:, 8, 12, 0] - got[:, 8, 4, 0]) / 8 / pixel
    down = (got[:, 12, 8, 1] - got[:, 4, 8, 1]) / 8 / pixel
    np.testing.assert_allclose(np.abs(across), down, atol=1e-3)
    share = (down * side / source) ** 2
    assert 0.2 <= share.min() < 0.21
    assert 0.99 < share.max() <= 1 + 1e-4
    assert share.mean() == pytest.approx(0.6, abs=0.02)
    assert (across < 0).mean() == pytest.approx(0.5, abs=0.04)
    middle = got[:, 7:9, 7:9, :2].mean(axis=(1, 2)) / pixel  # column and row of the source
    room = (source - down * side) / 2
    off = (middle - (source - 1) / 2) / room[:, None]
    off = off[room > 3]
    assert np.abs(off).max() <= 1.01
    np.testing.assert_allclose(off.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(off.std(axis=0), 1 / np.sqrt(3), atol=0.03)  # evenly


def test_a_crop_of_everything_only_mirrors_and_reduces():
    images = np.random.default_rng(0).uniform(0, 255, (20, 12, 12, 3)).astype("float32")
    whole = random_crop(tf.constant(images), [1, 1], 1.0, 12).numpy()
    mirrored = np.abs(whole - images).max(axis=(1, 2, 3)) > 1
    assert 3 < mirrored.sum() < 17
    np.testing.assert_allclose(whole[mirrored], images[mirrored][:, :, ::-1], atol=1e-2)
    np.testing.assert_allclose(whole[~mirrored], images[~mirrored], atol=1e-2)
    half = random_crop(tf.constant(images), [1, 1], 1.0, 6).numpy()
    blocks = images.reshape(20, 6, 2, 6, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(half[~mirrored], blocks[~mirrored], atol=1e-2)


def test_the_augmentation_crops_to_the_size_asked_for():
    images, y = batch(), np.eye(6, dtype="float32")
    (got, labels), *_ = run(images, y, geometry=False, colour=False, crop=(0.3, 32))
    assert got.shape == (6, 32, 32, 3)
    np.testing.assert_array_equal(labels, y)


def test_a_mirrored_pair_swaps_its_eyes():
    """Marks far from the rim: red in the left eye, green in the right one, left of the middle."""
    images = np.zeros((64, 2, 33, 33, 3), "float32")
    images[:, 0, 14:19, 8:12, 0] = 255
    images[:, 1, 14:19, 8:12, 1] = 255
    got = move(tf.constant(images), [1, 2]).numpy()
    first_eye = got[:, 0].sum(axis=(1, 2)).argmax(axis=-1)  # whose mark stands in the left place
    columns = np.arange(33)
    places = (got.sum(axis=(2, 4)) * columns).sum(axis=-1) / got.sum(axis=(2, 3, 4))
    mirrored = places[:, 0] > 16
    np.testing.assert_array_equal(places[:, 1] > 16, mirrored)
    np.testing.assert_array_equal(first_eye == 1, mirrored)
    assert 16 < mirrored.sum() < 48


def test_a_pair_is_mirrored_whole_or_not_at_all():
    """Disc on the nasal side: right of the middle in a right eye, left of it in a left eye."""
    images = np.zeros((40, 2, 24, 24, 3), "uint8")
    images[:, 0, 10:14, 2:6] = 200  # left eye
    images[:, 1, 10:14, 18:22] = 200  # right eye
    images[:, 0, :4, 10:14, 0] = 77  # which eye it was: red mark on the left one
    (got, _), *_ = run(images, np.zeros((40, 1), "float32"), colour=False)
    columns = np.arange(24)
    # Red also carries the mark and what rotation smears of it: green shows the disc alone.
    place = (got[..., 1].sum(axis=2) * columns).sum(axis=-1) / got[..., 1].sum(axis=(2, 3))
    assert (place[:, 0] < 11.5).all()
    assert (place[:, 1] > 11.5).all()
    marked = (got[..., 0] - got[..., 1]).sum(axis=(2, 3)) > 500
    assert (marked.sum(axis=1) == 1).all()
    assert 5 < marked[:, 1].sum() < 35  # both happen


def test_pictures_are_never_turned_upside_down():
    images = np.zeros((60, 48, 48, 3), "uint8")
    images[:, 4:10, 20:28] = 200
    (got, _), *_ = run(images, np.zeros((60, 1), "float32"), colour=False)
    rows = np.arange(48)[None, :]
    assert ((got.sum(axis=(2, 3)) * rows).sum(axis=1) / got.sum(axis=(1, 2, 3)) < 22).all()


@pytest.mark.parametrize(
    ("settings", "pairs"),
    [
        ({}, False), ({}, True), ({"mixup": 0.4}, True), ({"cutmix": 1.0}, False),
        ({"mixup": 0.4, "cutmix": 1.0}, True),
        pytest.param({"rand_augment": 0.1}, True, marks=pytest.mark.slow),
        ({"geometry": False}, False), ({"geometry": False, "colour": False, "mixup": 0.4}, False),
    ],
    ids=["plain", "plain pairs", "mixup pairs", "cutmix", "both pairs", "rand_augment pairs",
         "colour alone", "mixup alone"],
)  # fmt: skip
def test_the_same_seed_gives_the_same_epoch_and_another_seed_another(pairs, settings):
    images, y = batch(pairs=pairs), np.eye(6, dtype="float32")
    first, again = (run(images, y, steps=3, **settings) for _ in range(2))
    for (a, p), (b, q) in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(p, q)
    other = run(images, y, steps=3, **{**settings, "seed": [3, 2]})
    assert np.abs(first[0][0] - other[0][0]).max() > 1
    assert np.abs(first[0][0] - first[1][0]).max() > 1  # nor are its batches alike
    for images_out, y_out in first:
        assert images_out.shape == images.shape
        assert images_out.dtype == y_out.dtype == np.float32
        assert images_out.min() >= 0
        assert images_out.max() <= 255.001  # mixing adds shares that sum to 1 in float32


def test_colours_change_by_up_to_15_percent_and_no_further():
    """Pictures of two halves, 100 and 150: their mean tells brightness, their gap the contrast."""
    images = np.full((400, 8, 8, 3), 100, "uint8")
    images[:, :, 4:] = 150
    (got, _), *_ = run(images, np.zeros((400, 1), "float32"), geometry=False)
    brighter = got.mean(axis=(1, 2, 3)) - 125
    contrast = (got[:, :, 4:] - got[:, :, :4]).mean(axis=(1, 2, 3)) / 50
    for drawn, middle, reach in ((brighter, 0, 0.15 * 255), (contrast, 1, 0.15)):
        assert np.abs(drawn - middle).max() <= reach * 1.001
        assert drawn.min() < middle - 0.9 * reach
        assert drawn.max() > middle + 0.9 * reach
        assert drawn.std() == pytest.approx(reach / np.sqrt(3), rel=0.1)  # evenly
    assert abs(np.corrcoef(brighter, contrast)[0, 1]) < 0.2


def test_pictures_turn_by_up_to_15_degrees_zoom_by_10_percent_and_shift_by_5():
    """Read off from pictures of which each pixel tells its own place."""
    side = 61
    got = move(places(600, side), [3, 1]).numpy()[..., :2] * (side - 1) / 250
    across = (got[:, 30, 36] - got[:, 30, 24]) / 12  # per pixel: zoom times the turned axes
    down = (got[:, 36, 30] - got[:, 24, 30]) / 12
    angle = np.degrees(np.arctan2(-down[:, 0], down[:, 1]))
    assert 14 < np.abs(angle).max() <= 15.1
    assert angle.std() == pytest.approx(15 / np.sqrt(3), rel=0.1)
    zoom = np.hypot(*down.T)
    assert 0.9 - 1e-3 <= zoom.min() < 0.91
    assert 1.09 < zoom.max() <= 1.1 + 1e-3
    shift = np.abs(got[:, 30, 30] - 30) / side
    assert 0.045 < shift.max() <= 0.0501
    assert (across[:, 0] < 0).mean() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("on", [True, False])
def test_a_training_asks_for_movements_and_colours_or_for_neither(on):
    config = TrainConfig("", "", "", encoder="se_xception", weights="none", augment=on).resolved()
    asked = augmentation(config, 7)
    assert asked["seed"] == [config.seed, 7]
    assert asked["geometry"] is asked["colour"] is on


def test_everything_off_leaves_the_picture_as_it_is():
    images, y = batch(), np.eye(6, dtype="float32")
    (got, labels), *_ = run(images, y, geometry=False, colour=False)
    np.testing.assert_array_equal(got, images)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_labels_are_the_shares_of_what_is_seen(name):
    """Each picture is one flat level, so that its share can be measured in the mixture."""
    level = np.array([10.0, 60, 110, 160, 210])
    images = np.ones((5, 2, 32, 32, 3)) * level[:, None, None, None, None]
    (got, y), *_ = run(
        images.astype("uint8"), np.eye(5, dtype="float32"), geometry=False, colour=False,
        **{name: 1.0},
    )  # fmt: skip
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-5)
    assert (y.max(axis=1) < 0.999).any()
    # A corner of the cut box falls between pixels: the share is right to a pixel's width.
    atol = 0.5 if name == "mixup" else 200 * 2 / 32
    np.testing.assert_allclose(got.mean(axis=(1, 2, 3, 4)), y @ level, atol=atol)


def test_mixing_with_an_ungraded_label_leaves_it_ungraded():
    import keras

    images = np.ones((4, 8, 8, 3), "float32")
    y = np.array([[1, NAN], [0, NAN], [1, NAN], [0, NAN]], "float32")
    _, mixed = mix(keras.layers.MixUp(alpha=1.0, seed=1, dtype="float32"), images, y)
    mixed = np.asarray(mixed)
    assert np.isnan(mixed[:, 1]).all()
    assert not np.isnan(mixed[:, 0]).any()
