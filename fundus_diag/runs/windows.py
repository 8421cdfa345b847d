"""Whole pictures through a network that sees a part of them: windows that overlap."""

import numpy as np


def starts(size, side, overlap):
    """Where windows begin along a side, (n,) int, px: from 0 to `size - side`, evenly spread.

    Args:
        size, side: of the picture and of a window, px.
        overlap: least share of a window's side that the next one overlaps it by.
    """
    steps = int(np.ceil((size - side) / max(1, side - np.ceil(side * overlap))))
    return np.rint(np.linspace(0, size - side, steps + 1)).astype(int)


def weights(side):
    """(P, P) float32 of a window's pixels: a Gaussian with a deviation of an eighth of the side.

    A window knows least of what lies at its rim. Isensee et al. 2021, "nnU-Net", supplementary
    note 2, https://doi.org/10.1038/s41592-020-01008-z. Not below a thousandth, so that a pixel that
    only rims see is not lost.
    """
    at = (np.arange(side) - (side - 1) / 2) / (side / 8)
    line = np.exp(-0.5 * at**2)
    return np.maximum(np.outer(line, line), 1e-3).astype(np.float32)


def sigmoid(logits):
    """Probabilities of logits."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits))


def over_windows(score, picture, side, overlap, batch_size=8, finish=sigmoid):
    """Probabilities of a whole picture, or other values of its pixels.

    Args:
        score: function from pictures (B, P, P, 3) float32 to logits (B, P, P, K).
        picture: (S, S, 3) in [0, 255].
        side: P of a window, px.
        overlap: see `starts`.
        batch_size: windows at a time.
        finish: what is made of what `score` says.

    Returns:
        (S, S, K) float32: of each pixel the mean of what its windows say, by `weights`.
    """
    begins = starts(len(picture), side, overlap)
    places = [(y, x) for y in begins for x in begins]
    weight, total, share = weights(side)[..., None], None, None
    for first in range(0, len(places), batch_size):
        chosen = places[first : first + batch_size]
        cut = np.stack([picture[y : y + side, x : x + side] for y, x in chosen])
        logits = np.asarray(score(cut.astype(np.float32)))
        if total is None:
            total = np.zeros((*picture.shape[:2], logits.shape[-1]), np.float32)
            share = np.zeros((*picture.shape[:2], 1), np.float32)
        for (y, x), one in zip(chosen, logits, strict=True):
            total[y : y + side, x : x + side] += weight * finish(one)
            share[y : y + side, x : x + side] += weight
    return total / share
