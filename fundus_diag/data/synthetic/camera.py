"""The camera: framing, light, colour, focus, dust, noise and compression.

All of it is drawn without a look at the labels, from sources of its own: it hides the signs from a
model that sees only the brightness and the colour of a picture, as real cameras do.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fundus_diag.data.synthetic.canvas import (
    Frame,
    absorb,
    cloud_noise,
    field_of_view,
    paint,
    smooth_noise,
    soften,
    spots,
)


@dataclass(frozen=True)
class Camera:
    """One camera and its operator: the same for both eyes of a patient. See `draw_camera`."""

    zoom: float  # radius of the field over the picture's size
    cut: float  # 1 for a whole circle, less where top and bottom are missing
    gain: tuple[float, float, float]  # white balance: red, green, blue
    exposure: float
    gamma: float
    fall_off: float  # loss of light at the rim
    blur: float  # focus, radii
    noise: float  # standard deviation, of 1
    quality: int  # JPEG


def draw_camera(rng):
    """Draws the `Camera`."""
    cut = rng.uniform(0.8, 0.92) if rng.uniform() < 0.3 else 1.0
    return Camera(
        zoom=rng.uniform(0.43, 0.498) if cut == 1 else rng.uniform(0.46, 0.54),
        cut=cut,
        gain=tuple(np.exp(rng.normal(0, (0.06, 0.11, 0.26)))),
        exposure=float(np.exp(rng.normal(-0.04, 0.18))),
        gamma=float(np.exp(rng.normal(0, 0.12))),
        fall_off=rng.uniform(0.05, 0.4),
        blur=rng.uniform(0, 0.005),
        noise=rng.uniform(0.002, 0.008),
        quality=int(rng.integers(78, 96)),
    )


def frame_eye(camera, side, size, rng):
    """Draws the `Frame` of one photograph: the field is seldom exactly in the middle."""
    shift = rng.normal(0, 0.008, 2) if rng.uniform() < 0.8 else rng.uniform(-0.05, 0.05, 2)
    middle = size / 2 + np.clip(shift, -0.06, 0.06) * size
    return Frame(size, tuple(middle.tolist()), camera.zoom * size, camera.cut, side)


def cloud_lens(scene, frame, lens, rng):
    """A cataract's scatter: blurs `scene` and lays a veil of its own mean colour over it."""
    blurred = soften(scene, frame, lens["blur"])
    seen = field_of_view(frame) > 0.5
    mean = blurred[seen].mean(axis=0)
    veil = mean * np.array((1.03, 1.0, 1 - lens["yellow"]), np.float32)
    uneven = lens["veil"] * (1 + 0.10 * cloud_noise(rng, frame.size, 3, 2))
    return paint(blurred, np.clip(uneven, 0.3, 0.88), veil)


def photograph(scene, frame, camera, rng):
    """Turns the light of `scene` (size, size, 3) into a picture: uint8 (size, size, 3), RGB."""
    scene = _illuminate(scene, frame, camera, rng)
    scene = _dust(scene, frame, rng)
    scene = soften(scene, frame, camera.blur)
    gain = np.array(camera.gain, np.float32) * camera.exposure
    scene = np.maximum(scene * gain, 0)
    # Film-like shoulder: bright parts approach white and never clip to a flat patch.
    bright = scene > 0.7
    scene[bright] = 0.7 + 0.3 * np.tanh((scene[bright] - 0.7) / 0.3)
    scene **= camera.gamma
    rim = field_of_view(frame)[..., None]
    grain = camera.noise * rng.standard_normal(scene.shape, np.float32)
    picture = rim * scene + (0.4 + 0.6 * rim) * grain + 0.008  # the black has grain as well
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def compress(picture, quality):
    """Writes `picture` (size, size, 3) uint8 RGB as a JPEG of `quality` in [1, 100]: its bytes."""
    ok, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not ok:
        raise RuntimeError(f"OpenCV cannot write a JPEG of shape {picture.shape}")
    return data.tobytes()


def _illuminate(scene, frame, camera, rng):
    x, y = frame.grid()
    turn, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.28)
    light = 1 - camera.fall_off * (x**2 + y**2)
    light = light + slope * (np.cos(turn) * x + np.sin(turn) * y)
    light = light + 0.05 * smooth_noise(rng, frame.size, 2)
    scene = scene * np.clip(light, 0.15, 1.6)[..., None].astype(np.float32)
    turn, width, glare = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.35), rng.uniform(0.2, 0.6)
    tint = np.array((0.75, 0.72, 0.55)) * rng.uniform(0.8, 1.1, 3)
    if rng.uniform() < 0.3:  # light that strays past the pupil's edge: a bright crescent
        gap = np.hypot(x - 0.35 * np.cos(turn), y - 0.35 * np.sin(turn))
        crescent = np.clip((gap - (1.3 - width)) / width, 0, 1) ** 2
        scene = paint(scene, glare * crescent, tint)
    veil = rng.uniform(0, 0.14)  # a clear lens scatters a little, too
    return paint(scene, np.full(x.shape, veil, np.float32), (0.5, 0.4, 0.3))


def _dust(scene, frame, rng):
    """Specks on the lens, far out of focus, bright or dark; in a third of the pictures."""
    if rng.uniform() > 0.35:
        return scene
    n = rng.integers(1, 7)
    places = rng.uniform(-0.9, 0.9, (n, 2))
    specks = spots(frame, rng, places, rng.uniform(0.015, 0.06, n), 0.05)
    specks = soften(specks, frame, 0.012)
    if rng.uniform() < 0.5:
        return paint(scene, 0.3 * specks, (0.8, 0.85, 0.85))
    return absorb(scene, 0.3 * specks, (0.6, 0.6, 0.6))
