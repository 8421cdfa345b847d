import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.augment import augmenter, mirror, mix

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


def test_a_mirrored_pair_swaps_its_eyes():
    left = np.arange(12.0).reshape(1, 1, 2, 2, 3)
    right = left + 100
    pair = tf.constant(np.concatenate([left, right], axis=1))
    got = mirror(pair, tf.constant([True])).numpy()
    np.testing.assert_array_equal(got[0, 0], right[0, 0, :, ::-1])
    np.testing.assert_array_equal(got[0, 1], left[0, 0, :, ::-1])
    np.testing.assert_array_equal(mirror(pair, tf.constant([False])).numpy(), pair.numpy())


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
    (got, _), *_ = run(images, np.zeros((60, 1), "float32"))
    rows = np.arange(48)[None, :]
    assert ((got.sum(axis=(2, 3)) * rows).sum(axis=1) / got.sum(axis=(1, 2, 3)) < 22).all()


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, {"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}, {"rand_augment": 0.1}],
    ids=["plain", "mixup", "cutmix", "both", "rand_augment"],
)
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
