"""The circle or axis-parallel ellipse that most points of an outline vote for, in TensorFlow ops.

Consensus sampling, Fischler and Bolles 1981, https://doi.org/10.1145/358669.358692. It uses a fixed
table of numbers, so the same points give the same ellipse every time.
"""

import numpy as np
import tensorflow as tf

SIDE = 256  # long side of the copy that the outline was read from, pixels
TOLERANCE = 0.012  # a vote's largest distance from the outline: 1.5 pixels of the copy / 128
TRIALS = 160  # circles and as many ellipses
WIDENINGS = (3.0, 2.0, 1.0, 1.0)  # of the tolerance, from fit to fit
DRAWS = np.random.default_rng(0).random((TRIALS, 4)).astype("float32")


def fit_outline(x, y, shape):
    """Box of the ellipse that most outline points vote for, and its support.

    Args:
        x, y: (n,) outline points, pixels of the copy.
        shape: (2,) height and width of the copy.

    Returns:
        (4,) box in pixels of the copy, and the share in [0, 1] of the ellipse's outline within
        the frame that has a vote.
    """
    half = SIDE / 2
    centre_y, centre_x = tf.unstack(tf.cast(shape, tf.float32) / 2)
    x, y = (x - centre_x) / half, (y - centre_y) / half
    draws = tf.cast(DRAWS * tf.cast(tf.size(x), tf.float32), tf.int32)
    draws = tf.minimum(draws, tf.size(x) - 1)  # (trials, 4)
    px, py = tf.gather(x, draws), tf.gather(y, draws)
    circle, circle_votes = _best(_solve(px[:, :3], py[:, :3], 1.0, True), x, y, True)
    ellipse, ellipse_votes = _best(_solve(px, py, 1.0, False), x, y, False)
    # Photographs show circles: an ellipse needs clearly more votes, or noise decides.
    chosen = tf.where(ellipse_votes > 1.08 * circle_votes, ellipse, circle)
    support = _support(chosen, x, y, centre_x / half, centre_y / half)
    cx, cy, rx, ry = tf.unstack(chosen[0])
    box = tf.stack([cy - ry, cx - rx, cy + ry, cx + rx]) * half
    return box + tf.stack([centre_y, centre_x, centre_y, centre_x]), support


def _best(shapes, x, y, round_only):
    """The shape with most votes, (1, 4), fitted to all its voters, and its votes."""
    votes = tf.where(_plausible(shapes), tf.reduce_sum(_votes(shapes, x, y), axis=1), 0.0)
    best = shapes[tf.argmax(votes)][None]

    def refit(turn, best):
        votes = _votes(best, x, y, tf.gather(WIDENINGS, turn))
        fitted = _solve(x[None], y[None], votes, round_only)
        return turn + 1, tf.where(_plausible(fitted)[:, None], fitted, best)

    # A loop, so that the graph, which is made at every start, holds it once.
    _, best = tf.while_loop(lambda turn, _: turn < len(WIDENINGS), refit, (0, best))
    return best, tf.reduce_sum(_votes(best, x, y))


def _solve(x, y, weights, round_only):
    """Least-squares circles or axis-parallel ellipses through weighted points.

    Solves x^2 + q y^2 + c x + d y + f = 0 with q = 1 for circles. The small ridge keeps points
    on one line solvable; what comes out of them is not plausible.

    Args:
        x, y, weights: (k, n), or one weight for all.

    Returns:
        (k, 4) float32 centre x, centre y, radius along x, radius along y.
    """
    x, y = tf.cast(x, tf.float64), tf.cast(y, tf.float64)
    weights = tf.cast(weights, tf.float64) * tf.ones_like(x)
    one = tf.ones_like(x)
    if round_only:
        unknown, known = tf.stack([x, y, one], -1), -(x**2 + y**2)
    else:
        unknown, known = tf.stack([y**2, x, y, one], -1), -(x**2)
    weighted = unknown * weights[..., None]
    normal = tf.matmul(weighted, unknown, transpose_a=True)  # (k, m, m)
    normal += 1e-9 * tf.eye(tf.shape(normal)[-1], dtype=tf.float64)
    right = tf.matmul(weighted, known[..., None], transpose_a=True)
    found = tf.linalg.solve(normal, right)[..., 0]
    q = tf.ones_like(found[:, 0]) if round_only else tf.maximum(found[:, 0], 1e-3)
    c, d, f = tf.unstack(found[:, -3:], axis=1)
    cx, cy = -c / 2, -d / (2 * q)
    rx = tf.sqrt(tf.maximum(cx**2 + q * cy**2 - f, 1e-6))
    return tf.cast(tf.stack([cx, cy, rx, rx / tf.sqrt(q)], axis=1), tf.float32)


def _plausible(shapes):
    """(k,) bool: a field of .3 to 1.5 times the long side, squeezed by at most 1.6, near.

    Near is what has its middle within .6 of the half, or no more than its rim beyond the frame.
    """
    cx, cy, rx, ry = tf.unstack(shapes, axis=1)
    size = tf.minimum(rx, ry), tf.maximum(rx, ry)
    x, y = tf.abs(cx), tf.abs(cy)
    near = ((x < 0.6) | (x + rx < 1.02)) & ((y < 0.6) | (y + ry < 1.02))
    return (size[0] > 0.3) & (size[1] < 1.5) & (size[1] < 1.6 * size[0]) & near


def _votes(shapes, x, y, widening=1.0):
    """(k, n) weight in [0, 1] of every point for every ellipse: 1 on it, 0 beyond tolerance."""
    cx, cy, rx, ry = tf.split(shapes, 4, axis=1)
    radius = tf.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
    distance = (radius - 1.0) * tf.sqrt(rx * ry)
    return tf.maximum(0.0, 1.0 - (distance / (TOLERANCE * widening)) ** 2)


def _support(shape, x, y, half_width, half_height, bins=90):
    """Share of the directions in which the ellipse (1, 4) is in the frame that have a vote."""
    cx, cy, rx, ry = tf.unstack(shape[0])
    voted = _votes(shape, x, y, 2.0)[0] > 0
    angles = tf.atan2((y - cy) / ry, (x - cx) / rx) / (2 * np.pi) + 0.5
    at = tf.minimum(tf.cast(angles * bins, tf.int32), bins - 1)
    hit = tf.math.unsorted_segment_max(tf.cast(voted, tf.float32), at, bins) > 0
    directions = ((np.arange(bins) + 0.5) / bins - 0.5) * 2 * np.pi
    margin = 4 * 2 / SIDE
    inside = (tf.abs(cx + rx * np.cos(directions).astype("f")) < half_width - margin) & (
        tf.abs(cy + ry * np.sin(directions).astype("f")) < half_height - margin
    )
    inside_count = tf.reduce_sum(tf.cast(inside, tf.float32))
    hits = tf.reduce_sum(tf.cast(inside & hit, tf.float32))
    return tf.where(inside_count >= 8, hits / tf.maximum(inside_count, 1.0), 0.0)
