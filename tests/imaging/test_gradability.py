"""Measures of a picture's quality: by hand, at any size, and what is said of them."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from fundus_diag.data.synthetic.eye import draw_eye
from fundus_diag.imaging import gradability
from fundus_diag.imaging.gradability import MEASURES, fit_limits, measured, said, why_poor
from fundus_diag.imaging.preprocess import load_picture

NAMES = list(MEASURES)
SIZE = 224


@pytest.fixture(scope="module")
def photographs():
    """Drawn photographs of 1,024 px."""
    labels = (set(), {"D"}, {"M"}, {"A"})
    return [draw_eye((3, k), x, ("left", "right")[k % 2], 1024)[0] for k, x in enumerate(labels)]


def picture_of(photograph, folder, end=".png", options=(), size=SIZE):
    path = folder / f"a{end}"
    cv2.imwrite(str(path), photograph[..., ::-1], list(options))
    return load_picture(path, size)


def by_hand(picture):
    """The measures of one picture whose side divides by 16, pixel by pixel."""
    size, green = len(picture), picture[..., 1].astype(float)
    y, x = np.mgrid[:size, :size] + 0.5
    disc = np.hypot(y - size / 2, x - size / 2) < 0.92 * size / 2
    bright = picture.max(axis=-1)
    lit = bright > np.clip(0.15 * bright[disc].mean(), 4, 12)
    seen = disc & lit
    found = [seen.sum() / disc.sum(), green[seen].mean() / 255, (green[seen] >= 245).mean()]
    spreads, means, weights = [], green, seen.astype(float)
    for _ in range(4):
        half = len(means) // 2
        coarse, weight = np.zeros((half, half)), np.zeros((half, half))
        for i in range(half):
            for j in range(half):
                block = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                weight[i, j] = weights[block].mean()
                if weight[i, j]:
                    coarse[i, j] = (means[block] * weights[block]).mean() / weight[i, j]
        apart = means - np.kron(coarse, np.ones((2, 2)))
        whole = np.kron(weight, np.ones((2, 2))) > 0.999
        spreads.append(np.sqrt((apart[whole] ** 2).mean()))
        means, weights = coarse, weight
    return [*found, spreads[3], spreads[1]]


def test_measures_are_those_done_by_hand(photographs, tmp_path):
    for photograph in photographs[:2]:
        picture = picture_of(photograph, tmp_path)
        picture[:60] = 0  # a field that is cut off
        np.testing.assert_allclose(measured(picture[None])[0], by_hand(picture), rtol=2e-3)


def test_pictures_of_any_number_are_measured_each_by_itself(photographs, tmp_path):
    pictures = np.stack([picture_of(x, tmp_path) for x in photographs])
    many = np.resize(pictures, (70, *pictures.shape[1:]))
    together = measured(many)
    assert together.shape == (70, 5)
    alone = np.stack([measured(x[None])[0] for x in pictures])
    np.testing.assert_allclose(together, np.resize(alone, (70, 5)), rtol=1e-5)
    assert measured(pictures[:0]).shape == (0, 5)


@pytest.mark.parametrize("size", [128, 224, 299, 512])
@pytest.mark.parametrize("change", ["half", "double", "jpeg 60"])
def test_neither_the_size_of_the_photograph_nor_compression_counts(
    photographs, tmp_path, change, size
):
    for photograph in photographs[:2]:
        before = measured(picture_of(photograph, tmp_path, size=size)[None])[0]
        if change == "jpeg 60":
            options = [cv2.IMWRITE_JPEG_QUALITY, 60]
            changed = picture_of(photograph, tmp_path, ".jpg", options, size)
        else:
            side = 512 if change == "half" else 2048
            way = cv2.INTER_AREA if change == "half" else cv2.INTER_CUBIC
            changed = picture_of(
                cv2.resize(photograph, (side, side), interpolation=way), tmp_path, size=size
            )
        after = measured(changed[None])[0]
        if change == "half" and size == 512:  # nothing is left to reduce: details get lost
            continue
        np.testing.assert_allclose(after[:2], before[:2], rtol=0.02)
        np.testing.assert_allclose(after[3:], before[3:], rtol=0.08)
        assert abs(after[2] - before[2]) < 0.002


def test_a_larger_picture_is_halved(photographs, tmp_path):
    large = picture_of(photographs[1], tmp_path, size=448)
    half = cv2.resize(large, (224, 224), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(measured(large[None])[0], measured(half[None])[0], rtol=1e-3)


@pytest.fixture(scope="module")
def limits(photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    values = measured(np.stack([picture_of(x, folder) for x in photographs]))
    room = {
        name: (0.8 * values[:, k].min(), 1.2 * values[:, k].max() + 0.01)
        for k, name in enumerate(NAMES)
    }
    return {
        name: [room[name][0] if low else None, room[name][1] if high else None]
        for name, (low, high) in MEASURES.items()
    }


SPOILED = {
    "field of view cut off": lambda x: np.where(np.arange(len(x))[:, None, None] < 90, 0, x),
    "too dark": lambda x: 0.3 * x,
    "too bright": lambda x: np.where(x.max(-1, keepdims=True) > 12, 0.6 * x + 100, x),
    "overexposed": lambda x: np.where(x.max(-1, keepdims=True) > 40, np.minimum(x * 6, 255), x),
    "low contrast": lambda x: np.where(
        x.max(-1, keepdims=True) > 12, 0.15 * x + 0.85 * x[60:164, 60:164].mean((0, 1)), x
    ),
    "blurred or hazy": lambda x: cv2.GaussianBlur(x, (0, 0), 3),
}


@pytest.mark.parametrize("reason", SPOILED)
def test_what_is_wrong_is_said_and_of_a_fine_picture_nothing(photographs, tmp_path, limits, reason):
    for photograph in photographs:
        picture = picture_of(photograph, tmp_path)
        assert why_poor(picture, limits) == ""
        spoiled = SPOILED[reason](picture).astype(np.float32)
        assert reason in why_poor(spoiled, limits).split(", ")


def test_reasons_are_joined_and_no_number_keeps_no_limit():
    limits = {"field": [0.5, None], "exposure": [0.1, 0.9], "clipped": [None, 0.2],
              "contrast": [None, None], "sharpness": [1.0, None]}  # fmt: skip
    values = tf.constant(
        [[0.5, 0.1, 0.2, 0, 1], [0.4, 0.95, 0.3, 0, 0.9], [np.nan, 0.5, 0, 0, 1]], tf.float32
    )
    assert [x.decode() for x in said(values, limits).numpy()] == [
        "", "field of view cut off, too bright, overexposed, blurred or hazy",
        "field of view cut off",
    ]  # fmt: skip


def test_each_limit_leaves_out_its_share_of_the_photographs():
    values = np.random.default_rng(0).normal(size=(1000, 5)).astype(np.float32)
    limits = fit_limits(values, 0.02)
    for k, name in enumerate(NAMES):
        low, high = limits[name]
        below, above = MEASURES[name]
        assert (low is None, high is None) == (below is None, above is None)
        if low is not None:
            assert (values[:, k] < low).sum() == 20
        if high is not None:
            assert (values[:, k] > high).sum() == 20


def test_pictures_that_are_not_cropped_are_looked_at_wholly():
    picture = np.full((64, 64, 3), 100, np.float32)
    picture[:16] = 0
    cropped, whole = measured(picture[None])[0], measured(picture[None], "none")[0]
    assert whole[0] == pytest.approx(0.75)
    assert cropped[0] != pytest.approx(0.75, abs=0.01)


def test_a_black_picture_has_figures_too():
    values = measured(np.zeros((1, 48, 48, 3), np.uint8))
    np.testing.assert_array_equal(values, [[0, 0, 0, 0, 0]])
    assert gradability.why_poor(np.zeros((48, 48, 3)), fit_limits(values + 1))
