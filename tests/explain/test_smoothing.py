"""Smoothing of maps: over changed pictures, and over channels."""

import numpy as np
import pytest
import tensorflow as tf
from flat_head import flat_head, photographs

from fundus_diag import explain
from fundus_diag.explain import smoothing

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def images():
    return photographs()


def test_the_first_component_is_the_same_by_either_product():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(2, 3, 3, 20)).astype("float32")  # more channels than places
    padded = np.concatenate([wide, np.zeros((2, 3, 3, 1))], axis=-1).astype("float32")
    narrow = np.linalg.svd((wide - wide.mean(axis=(1, 2), keepdims=True)).reshape(2, 9, 20))
    want = np.abs(narrow[0][:, :, 0] * narrow[1][:, :1]).reshape(2, 3, 3)
    for x in (wide, padded):
        np.testing.assert_allclose(np.abs(smoothing.first_component(x)), want, atol=1e-3)


@pytest.mark.parametrize(("layer", "share"), [("first", 0.25), ("second", 0.625)])
def test_smoothing_over_pictures_is_the_mean_over_mirrored_and_scaled_ones(images, layer, share):
    model = flat_head(images)
    got = explain.maps(model, images, layers=[layer], fuse=False, aug_smooth=True)
    want = 0
    for factor in (0.9, 1.0, 1.1):
        for mirrored in (False, True):
            x = np.clip(images * factor, 0, 255)
            x = x[:, :, ::-1] if mirrored else x
            one = explain.maps(model, x, layers=[layer], fuse=False)
            if mirrored:
                # Cells stand at 2.5 + 4 k and 6.5 + 8 k of 96 px, so the last of both 1.5 px from
                # the edge: mirrored, that is where the first one is.
                one = one[..., ::-1]
                after = np.concatenate([one[..., 1:], one[..., -1:]], axis=-1)
                one = (1 - share) * one + share * after
            want = want + one / 6
    np.testing.assert_allclose(got, want, atol=1e-5 * want.max())


def test_mirrored_pairs_swap_their_eyes():
    images = np.arange(2 * 2 * 4 * 4 * 3, dtype="float32").reshape(2, 2, 4, 4, 3)
    inputs = {"images": tf.constant(images), "mask": tf.constant([[1.0, 1.0], [1.0, 0.0]])}
    varied = smoothing.vary(inputs, (True, 1.0))
    np.testing.assert_array_equal(varied["images"][:, 0], images[:, 1, :, ::-1])
    np.testing.assert_array_equal(varied["mask"], [[1, 1], [0, 1]])
    as_maps = tf.reshape(varied["images"], (4, 4, 4, 3))
    np.testing.assert_array_equal(
        smoothing.undo(as_maps, (True, 1.0), True), images.reshape(4, 4, 4, 3)
    )
