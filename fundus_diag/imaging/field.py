"""Finds the round field of view in a fundus photograph, in TensorFlow ops.

The field is bright on a dark border, but how bright and how dark differs from camera to camera, and
illumination often fades to nothing on one side. So no single threshold is trusted: the outline is
read at several levels between border and interior, and all its points vote for one circle or
axis-parallel ellipse (`ellipse`). A sharp rim lies at the same place on every level and collects
all the votes; a shadow's edge moves with the level, letters are few, and both lose.

Everything runs on a copy whose long side is 256 pixels.
"""

import functools

import numpy as np
import tensorflow as tf

from fundus_diag.imaging.ellipse import SIDE, fit_outline
from fundus_diag.imaging.thin import thinned

LEVELS = (0.02, 0.05, 0.12, 0.3)  # of the way from border to interior
DIM = 5.0  # levels that a field stands out from its border by, at the least


def find_field(image):
    """Box of the field of view of one photograph, (4,) float32; see `locate_field`."""
    return locate_field(image)[:4]


def locate_field(image):
    """The field of view of one photograph: its box, and whether it is round.

    Args:
        image: (H, W, 3) RGB in [0, 255], any number type.

    Returns:
        (5,) float32 [y0, x0, y1, x1, round] in pixels of `image`, edges of pixels at whole numbers.
        `round` is 1 where the field is the ellipse in the box, 0 where it is all of it. A field cut
        by the frame is completed, so the box may leave the frame. The box of a squeezed field is
        not square. Without a dark border the box is the whole frame; with one but without a round
        outline it is what is not border.
    """
    window, small = _window(image)
    y0, x0, y1, x1 = tf.unstack(window)
    part = tf.cond(small, lambda: image[y0:y1, x0:x1], lambda: image)
    copy, zoom = _working_copy(part)
    brightness, on_paper = _without_paper(copy)
    border, interior, noise = _levels(brightness, tf.where(small, 0.001, 0.0))
    masks = _masks(brightness, border, interior, noise)
    x, y = _outline(masks)
    has_border = (interior - border > DIM + 4.0 * noise) & (border < 0.4 * interior)
    corner = tf.cast(tf.stack([y0, x0, y0, x0, 0]), tf.float32)
    whole_frame = tf.cast(tf.concat([[0, 0], tf.shape(image)[:2], [0]], 0), tf.float32)
    frame = whole_frame - corner

    def from_outline():
        box, support = fit_outline(x, y, tf.shape(brightness))
        # A second photograph hides part of the first one's outline; letters hide nothing.
        most = tf.where(support < 0.8, 0.05, 0.2)
        whole = _left_out(masks[2], box) < most
        box = tf.where(whole, box, _extent(masks[2]))
        found = tf.where(support > 0.4, box, _extent(masks[1])) / zoom
        is_round = tf.cast(whole & (support > 0.4), tf.float32)
        found = tf.concat([found, is_round[None]], axis=0)
        return tf.where((on_paper | small) & (support <= 0.4), frame, found)

    enough = tf.size(x) > 60
    field = tf.cond(has_border & enough, from_outline, lambda: frame) + corner
    return tf.ensure_shape(field, (5,))


def _window(image):
    """Where to look, (4,) int32 [y0, x0, y1, x1] in pixels, and whether that is a small part.

    Of a field below a tenth of the frame, as telephones take it through a lens, the frame's levels
    say nothing. It is looked for around what is bright; letters elsewhere do not count.
    """
    size = tf.shape(image)[:2]
    step = tf.maximum(1, tf.reduce_max(size) // SIDE)
    coarse = tf.ensure_shape(thinned(image, step), (None, None, 3))
    brightness = _brightest(coarse)
    border, interior, noise = _levels(brightness, 0.001)
    least = 8.0 + 4.0 * noise  # levels above the border
    frame = tf.concat([[0, 0], size], 0)

    def around_what_is_bright():
        bright = _opened((brightness > border + least)[None])
        share = tf.reduce_mean(tf.cast(bright, tf.float32))
        box = _extent(bright[0])
        aside = tf.reduce_max(box[2:] - box[:2]) * 0.4
        near = tf.cast(box + aside * [-1.0, -1.0, 1.0, 1.0], tf.int32) * step
        small = (share > 0.001) & (share < 0.12) & tf.reduce_all(near[2:] - near[:2] >= 32)
        near = tf.clip_by_value(near, 0, tf.tile(size, [2]))
        return tf.where(small, near, frame), small

    dark = interior - border <= least
    return tf.cond(dark, around_what_is_bright, lambda: (frame, tf.constant(False)))


def _working_copy(image):
    """Copy of 256 pixels on its long side, (h, w, 3) float32, and the zoom."""
    size = tf.shape(image)[:2]
    # Skipping first is faster; rows lie whole in memory, columns would have to be picked.
    step = tf.maximum(1, tf.reduce_max(size) // (2 * SIDE))
    image = tf.ensure_shape(tf.gather(image, tf.range(0, size[0], step)), (None, None, 3))
    zoom = SIDE / tf.reduce_max(size)
    new = tf.maximum(1, tf.cast(tf.round(tf.cast(size, tf.float64) * zoom), tf.int32))
    return tf.image.resize(image, new, antialias=True), tf.cast(zoom, tf.float32)


def _without_paper(copy):
    """Brightness (h, w), the brightest channel, and whether the photograph lies on white paper.

    Some photographs come cut out on white: where two corners are white, white counts as black.
    """
    brightness, whiteness = _brightest(copy), -_brightest(-copy)
    white = _percentiles(_corners(whiteness), (50,))[:, 0] > 245.0
    on_paper = tf.reduce_sum(tf.cast(white, tf.int32)) >= 2
    return tf.where(on_paper & (whiteness > 245.0), 0.0, brightness), on_paper


def _brightest(image):
    """The largest of each pixel's three values, float32; twice as fast as `tf.reduce_max`."""
    red, green, blue = tf.unstack(image, axis=-1)
    return tf.cast(tf.maximum(tf.maximum(red, green), blue), tf.float32)


def _corners(values, k=SIDE // 32):
    """The four corners of (h, w), each (k, k) or what there is of it, as rows: (4, n)."""
    top, bottom = values[:k], values[-k:]
    corners = tf.stack([top[:, :k], top[:, -k:], bottom[:, :k], bottom[:, -k:]])
    return tf.reshape(corners, (4, -1))


def _percentiles(values, percents):
    """Of each row of (n, m): (n, percents)."""
    last = tf.cast(tf.shape(values)[1] - 1, tf.float32)
    at = tf.cast(tf.round(np.array(percents, "float32") / 100 * last), tf.int32)
    return tf.gather(tf.sort(values), at, axis=1)


def _levels(brightness, tie=0.0):
    """Levels of border and interior and the border's noise: three scalars.

    The darkest corner is the border: letters stand in one corner at most, and where the field
    fills a corner that one is not the darkest. `tie` above 0: of equally dark ones the calmest.
    """
    middle, high = tf.unstack(_percentiles(_corners(brightness), (50, 90)), axis=1)
    darkest = tf.argmin(middle + tie * high)
    interior = _percentiles(tf.reshape(brightness[::4, ::4], (1, -1)), (90,))[0, 0]
    return middle[darkest], interior, (high - middle)[darkest]


def _masks(brightness, border, interior, noise):
    """(levels, h, w) bool: what is brighter than each level, without letters and specks."""
    levels = border + tf.maximum(3.0 + 3.0 * noise, (interior - border) * np.array(LEVELS, "f"))
    return _opened(brightness > levels[:, None, None])


def _opened(masks):
    """Masks (n, h, w) without what is narrower than 5 pixels: erosion, then dilation."""
    return _over_five(_over_five(masks, tf.logical_and, True), tf.logical_or, False)


def _over_five(masks, combine, beyond):
    """Every entry combined with those in the 5x5 square around it, `beyond` standing outside."""
    # Five times faster than pooling.
    height, width = tf.shape(masks)[1], tf.shape(masks)[2]
    padded = tf.pad(masks, [[0, 0], [2, 2], [2, 2]], constant_values=beyond)
    rows = functools.reduce(combine, [padded[:, j : height + j] for j in range(5)])
    return functools.reduce(combine, [rows[:, :, j : width + j] for j in range(5)])


def _outline(masks):
    """First and last bright pixel of every second row and column of every mask.

    Returns:
        x, y: (n,) float32 pixels. Points on the frame are left out: there the frame cuts.
    """
    x, y = _ends(masks, 2)
    y2, x2 = _ends(masks, 1)
    return tf.concat([x, x2], 0), tf.concat([y, y2], 0)


def _ends(masks, axis):
    """Where the bright part of every second line along `axis` begins and ends, and on which."""
    length = tf.cast(tf.shape(masks)[axis], tf.float32)
    at = tf.range(length)[None, :, None] if axis == 1 else tf.range(length)
    masks = tf.cast(masks, tf.float32)  # a ramp's maximum: faster than argmax
    begin = length - tf.reduce_max(masks * (length - at), axis)[:, ::2]  # (levels, lines)
    end = tf.reduce_max(masks * (at + 1), axis)[:, ::2]
    lines = tf.range(tf.cast(tf.shape(begin)[1], tf.float32)) * 2 + 0.5
    positions = tf.stack([begin, end])
    lines = tf.broadcast_to(lines, tf.shape(positions))
    within = (positions > 1.5) & (positions < length - 1.5)  # an empty line begins at `length`
    return tf.boolean_mask(positions, within), tf.boolean_mask(lines, within)


def _extent(mask):
    """Box of the rows and columns in which `mask` (h, w) is bright over a fifth of the most."""
    box = []
    for axis in (1, 0):
        count = tf.reduce_sum(tf.cast(mask, tf.float32), axis)
        at = tf.cast(tf.where(count >= 0.2 * tf.reduce_max(count))[:, 0], tf.float32)
        box.append((tf.reduce_min(at), tf.reduce_max(at) + 1))
    (y0, y1), (x0, x1) = box
    return tf.stack([y0, x0, y1, x1])


def _left_out(mask, box):
    """Share of `mask` (h, w) outside the ellipse in `box`, widened by 3 %.

    Two photographs laid over each other have two outlines, of which a fit finds only one.
    """
    y0, x0, y1, x1 = tf.unstack(box)
    y = tf.range(tf.cast(tf.shape(mask)[0], tf.float32)) + 0.5
    x = tf.range(tf.cast(tf.shape(mask)[1], tf.float32)) + 0.5
    y = (2 * y - y0 - y1) / (y1 - y0)
    x = (2 * x - x0 - x1) / (x1 - x0)
    outside = y[:, None] ** 2 + x**2 > 1.03**2
    total = tf.reduce_sum(tf.cast(mask, tf.float32))
    return tf.reduce_sum(tf.cast(mask & outside, tf.float32)) / tf.maximum(total, 1.0)
