"""Deletion and insertion: does the probability follow the pixels that a map ranks highest?

Source: Petsiuk et al. 2018, "RISE" (deletion and insertion metrics). The paper deletes to a
constant and inserts into a blurred picture; here one picture, blurred by default, takes the place
of deleted pixels in both curves: holes of one colour are themselves a sign that no fundus shows,
and with one baseline both curves run between the same two pictures.
"""

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


def deletion_insertion(picture, map, predict, steps=20, baseline=None, inside=None):
    """The probability while the pixels that the map ranks highest are taken away, or put in.

    Equal pixels are taken in a random order, the same for every picture of a size. Ranked as they
    stand, from top to bottom, a uniform map would delete the upper half first, and so would the
    zeros that fill most of a rectified map: the figure would be one of anatomy.

    Args:
        picture: (S, S, 3) float32 RGB in [0, 255].
        map: (S, S), finite, not below 0.
        predict: function of (n, S, S, 3) float32 to (n,) probabilities. Called once per curve, with
            steps + 1 pictures; it may work through them in parts.
        steps: equal parts of the pixels, at least 1.
        baseline: (S, S, 3) picture that takes the place of deleted pixels and into which pixels
            are inserted; by default `blurred(picture)`.
        inside: (S, S) bool, the field of view, by default all. Other pixels are never changed.

    Returns:
        A dict: `shares` (steps + 1,) of the field's pixels changed, from 0 to 1, rounded to whole
        pixels; `deletion` (steps + 1,), from the picture itself to the baseline in its field;
        `insertion` (steps + 1,), the other way; `deletion_area` (low is good) and `insertion_area`
        (high is good) by the trapezium rule over [0, 1]. A map that is zero in the field ranks
        nothing: the curves and areas are NaN and `predict` is not called.

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
    map = np.asarray(map, "float32")
    if map.shape != picture.shape[:2] or not (np.isfinite(map).all() and (map >= 0).all()):
        raise ValueError(
            f"a map must be {picture.shape[:2]}, finite and not below 0; got shape {map.shape}"
        )
    inside = np.ones(map.shape, bool) if inside is None else inside
    baseline = np.where(inside[..., None], baseline, picture)
    rank = _rank(np.where(inside, map, -1))  # so what lies outside comes last
    counts = np.rint(np.linspace(0, inside.sum(), steps + 1)).astype(int)
    shares = counts / max(1, inside.sum())
    changed = (rank < counts[:, None, None])[..., None]  # (steps + 1, S, S, 1)
    curves = {}
    for name, start, end in (("deletion", picture, baseline), ("insertion", baseline, picture)):
        if map[inside].any():
            curves[name] = _probabilities(predict, np.where(changed, end, start))
        else:
            curves[name] = np.full(steps + 1, np.nan)
    areas = {f"{k}_area": float(integrate.trapezoid(v, shares)) for k, v in curves.items()}
    return {"shares": shares, **curves, **areas}


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
