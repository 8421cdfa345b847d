"""Drawing on the retina: coordinates, noise, strokes and spots as coverage maps.

Positions are in units of the radius of the field of view: (0, 0) is its centre, x grows towards the
nose, y grows downwards. The nose lies on the right of a right eye's photograph and on the left of a
left eye's, so drawing in these coordinates is what keeps laterality true (`Frame.side`).

A coverage map is float32 (size, size) in [0, 1]: the share of each pixel that a shape covers.
"""

from dataclasses import dataclass

import cv2
import numpy as np

FINE = 768  # shapes are filled on a grid at least this wide, then averaged down: smooth edges


@dataclass(frozen=True)
class Frame:
    """Where the round field of view lies in a square picture.

    Attributes:
        size: width and height of the picture, pixels.
        centre: (x, y) of the field's centre, pixels.
        radius: radius of the field, pixels; more than size / 2 where the sensor cuts the circle.
        cut: half height of what the camera keeps, in radii; 1 keeps the whole circle.
        side: +1 for a right eye (nose on the right), -1 for a left eye.
    """

    size: int
    centre: tuple[float, float]
    radius: float
    cut: float
    side: int

    def pixels(self, points):
        """Maps (..., 2) retinal positions to pixel coordinates (x, y)."""
        return np.asarray(points) * (self.side * self.radius, self.radius) + self.centre

    def grid(self):
        """The retinal position of every pixel's centre: x and y, each float32 (size, size)."""
        steps = np.arange(self.size, dtype=np.float32) + 0.5
        x = (steps - self.centre[0]) * (self.side / self.radius)
        y = (steps - self.centre[1]) / self.radius
        return np.meshgrid(x.astype(np.float32), y.astype(np.float32))

    def inside(self, points, margin=0.05):
        """True for the (n, 2) positions that the picture shows, `margin` radii within the rim."""
        points = np.asarray(points)
        seen = np.hypot(points[..., 0], points[..., 1]) < 1 - margin
        seen &= np.abs(points[..., 1]) < self.cut - margin
        at = self.pixels(points)
        edge = margin * self.radius
        return seen & ((at > edge) & (at < self.size - edge)).all(axis=-1)


def field_of_view(frame, softness=1.2):
    """Coverage of the field: 1 inside, 0 on the black, a slope of `softness` pixels between."""
    x, y = frame.grid()
    inside = np.minimum(1 - np.hypot(x, y), frame.cut - np.abs(y)) * frame.radius
    return np.clip(inside / softness + 0.5, 0, 1).astype(np.float32)


def smooth_noise(rng, size, cells):
    """Random hills, `cells` across the picture: float32 (size, size), mean 0, deviation 1."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    hills = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return (hills - hills.mean()) / (hills.std() + 1e-6)


def cloud_noise(rng, size, cells=4, octaves=4):
    """Sum of smooth noises, each twice as fine and .6 times as strong: mean 0, deviation near 1."""
    total = sum(0.6**k * smooth_noise(rng, size, cells * 2**k) for k in range(octaves))
    return total / (total.std() + 1e-6)


def strokes(frame, paths, widths):
    """Coverage of lines.

    Args:
        frame: the picture's `Frame`.
        paths: list of (n, 2) positions, n >= 2.
        widths: list of (first, last) width of each path in radii; a line tapers in between.
    """
    layer, scale = _fine_layer(frame)
    ends = np.cumsum([len(path) for path in paths])[:-1]
    corners = np.rint(frame.pixels(np.concatenate(paths)) * scale).astype(np.int32)
    by_thickness = {}  # one call draws all the pieces of a thickness
    for path, (first, last) in zip(np.split(corners, ends), widths, strict=True):
        pieces = 1 + min(3, int(abs(first - last) * frame.radius * scale))
        for k in range(pieces):
            width = first + (last - first) * (k + 0.5) / pieces
            thickness = max(1, round(width * frame.radius * scale))
            start, stop = (m * (len(path) - 1) // pieces for m in (k, k + 1))
            by_thickness.setdefault(thickness, []).append(path[start : stop + 1])
    for thickness, lines in by_thickness.items():
        cv2.polylines(layer, lines, False, 255, thickness, cv2.LINE_AA)
    return _coarse(layer, frame)


def fill(frame, outlines):
    """Coverage of closed shapes, each an (n, 2) outline."""
    layer, scale = _fine_layer(frame)
    for outline in outlines:
        corners = np.rint(frame.pixels(outline) * scale).astype(np.int32)
        cv2.fillPoly(layer, [corners], 255, cv2.LINE_AA)
    return _coarse(layer, frame)


def spots(frame, rng, centres, radii, ragged=0.0, stretch=1.0, heading=0.0):
    """Coverage of many spots.

    Args:
        frame: the picture's `Frame`.
        rng: source of the outlines.
        centres: (n, 2) positions.
        radii: (n,) mean radii.
        ragged: 0 for smooth outlines, about .3 for irregular ones.
        stretch: length over width, a number or (n,).
        heading: direction of the long axis in radians, a number or (n,).
    """
    n, corners = len(centres), 28
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    waves = np.arange(2, 6)
    size = rng.normal(0, 1, (n, len(waves))) / waves
    phase = rng.uniform(0, 2 * np.pi, (n, len(waves)))
    bumps = np.einsum("nw,nwa->na", size, np.cos(waves[:, None] * angle + phase[..., None]))
    reach = np.asarray(radii)[:, None] * np.clip(1 + ragged * bumps * 1.6, 0.35, 2)  # (n, corners)
    root = np.sqrt(np.broadcast_to(stretch, n))[:, None]
    along, across = reach * np.cos(angle) * root, reach * np.sin(angle) / root
    turn = np.broadcast_to(heading, n)[:, None]
    x = np.asarray(centres)[:, :1] + along * np.cos(turn) - across * np.sin(turn)
    y = np.asarray(centres)[:, 1:] + along * np.sin(turn) + across * np.cos(turn)
    return fill(frame, list(np.stack([x, y], axis=-1)))


def soften(coverage, frame, width):
    """Blurs a map by `width` radii (standard deviation)."""
    return cv2.GaussianBlur(coverage, (0, 0), max(width * frame.radius, 0.3))


def paint(scene, coverage, colour):
    """Covers `scene` (size, size, 3) in place and returns it; `colour` is (3,) or as the scene."""
    box = _box(coverage)
    share = coverage[box].astype(np.float32)[..., None]
    scene[box] += share * (_inside(colour, box) - scene[box])
    return scene


def absorb(scene, coverage, left):
    """Dims `scene` in place and returns it: under full coverage the share `left` of light remains.

    `left` is (3,) or (size, size, 3).
    """
    box = _box(coverage)
    share = coverage[box].astype(np.float32)[..., None]
    scene[box] *= 1 - share * (1 - _inside(left, box))
    return scene


def _box(coverage):
    """The smallest rectangle that holds all of `coverage`: most marks are small."""
    rows, columns = (np.flatnonzero(coverage.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _inside(colour, box):
    colour = np.asarray(colour, np.float32)
    return colour[box] if colour.ndim == 3 else colour


def _fine_layer(frame):
    scale = max(1, -(-FINE // frame.size))
    return np.zeros((frame.size * scale, frame.size * scale), np.uint8), scale


def _coarse(layer, frame):
    if layer.shape[0] != frame.size:
        layer = cv2.resize(layer, (frame.size, frame.size), interpolation=cv2.INTER_AREA)
    return layer.astype(np.float32) / 255
