"""Deletion and insertion: does the probability follow the pixels that a map ranks highest?

Source: Petsiuk et al. 2018, "RISE" (deletion and insertion metrics). The paper deletes to a
constant and inserts into a blurred picture; here one picture, blurred by default, takes the place
of deleted pixels in both curves: holes of one colour are themselves a sign that no fundus shows,
and with one baseline both curves run between the same two pictures.
"""

import cv2
import numpy as np
from scipy import integrate, ndimage

TIE_SEED = 0


def blurred(picture, share=0.1):
    """Gaussian blur of (S, S, 3), float32; edges are mirrored, so the mean brightness stays.

    Args:
        picture: RGB in [0, 255].
        share: standard deviation as a share of S, above 0.
    """
    sigma = share * len(picture)
    picture = np.asarray(picture, "float32")
    return ndimage.gaussian_filter(picture, (sigma, sigma, 0), mode="reflect")


def deletion_insertion(picture, map, predict, steps=20, baseline=None):
    """The probability while the pixels that the map ranks highest are taken away, or put in.

    Equal pixels are taken in a random order, the same for every picture of a size. Ranked as they
    stand, from top to bottom, a uniform map would delete the upper half first, and so would the
    zeros that fill most of a rectified map: the figure would be one of anatomy.

    Args:
        picture: (S, S, 3) float32 RGB in [0, 255].
        map: (h, w), finite, not below 0; resized to the picture by `resized`.
        predict: function of (n, S, S, 3) float32 to (n,) probabilities. Called once per curve, with
            steps + 1 pictures; it may work through them in parts.
        steps: equal parts of the pixels, at least 1.
        baseline: (S, S, 3) picture that takes the place of deleted pixels and into which pixels
            are inserted; by default `blurred(picture)`.

    Returns:
        A dict: `shares` (steps + 1,) of the pixels changed, from 0 to 1, rounded to whole pixels;
        `deletion` (steps + 1,), from the picture itself to the baseline itself; `insertion`
        (steps + 1,), the other way; `deletion_area` (low is good) and `insertion_area` (high is
        good) by the trapezium rule over [0, 1]. A map of zeros ranks nothing: the curves and
        areas are NaN and `predict` is not called.

    Raises:
        ValueError: a shape is wrong, the map is negative or not finite, steps is below 1.
    """
    picture = np.asarray(picture, "float32")
    baseline = blurred(picture) if baseline is None else np.asarray(baseline, "float32")
    if picture.ndim != 3 or picture.shape != baseline.shape:
        raise ValueError(
            f"picture and baseline must both be (S, S, 3); got {picture.shape} and {baseline.shape}"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    map = resized(map, picture.shape[:2])
    rank = _rank(map)
    counts = np.rint(np.linspace(0, rank.size, steps + 1)).astype(int)
    shares = counts / rank.size
    changed = (rank < counts[:, None, None])[..., None]  # (steps + 1, S, S, 1)
    curves = {}
    for name, start, end in (("deletion", picture, baseline), ("insertion", baseline, picture)):
        if map.any():
            curves[name] = _probabilities(predict, np.where(changed, end, start))
        else:
            curves[name] = np.full(steps + 1, np.nan)
    areas = {f"{k}_area": float(integrate.trapezoid(v, shares)) for k, v in curves.items()}
    return {"shares": shares, **curves, **areas}


def resized(map, shape):
    """(h, w) map at another shape (H, W), float32, bilinear; what is equal stays equal.

    Raises:
        ValueError: the map is not (h, w), not finite, or below 0.
    """
    map = np.asarray(map, "float32")
    if map.ndim != 2 or not (np.isfinite(map).all() and (map >= 0).all()):
        raise ValueError(f"a map must be (h, w), finite and not below 0; got shape {map.shape}")
    return cv2.resize(map, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _rank(map):
    """(S, S) integers, 0 for the pixel that goes first: the highest; equal ones at random."""
    chance = np.random.default_rng(TIE_SEED).permutation(map.size)
    order = np.lexsort((chance, -map.ravel()))
    rank = np.empty(map.size, int)
    rank[order] = np.arange(map.size)
    return rank.reshape(map.shape)


def _probabilities(predict, pictures):
    values = np.asarray(predict(pictures), "float64")
    if values.shape != (len(pictures),):
        raise ValueError(f"predict must return ({len(pictures)},); got {values.shape}")
    return values
