"""A map over a photograph, and the outline of a mask on it."""

import cv2
import numpy as np
import pytest
from matplotlib import colormaps

from fundus_diag.data.synthetic.eye import draw_eye
from fundus_diag.explain import overlay
from fundus_diag.explain.overlay import blend, contour


@pytest.fixture(scope="module")
def photograph():
    return draw_eye(3, {"D"}, "right", 200)[0]


def test_blend_leaves_the_photograph_at_zero_and_gives_alpha_of_the_colour_at_one(photograph):
    np.testing.assert_array_equal(blend(photograph, np.zeros((200, 200))), photograph)
    np.testing.assert_array_equal(blend(photograph, np.ones((200, 200)), alpha=0), photograph)
    yellow = np.array(colormaps["viridis"](1.0)[:3]) * 255
    for alpha in (0.4, 1.0):
        want = (1 - alpha) * photograph + alpha * yellow
        got = blend(photograph, np.ones((200, 200)), alpha)
        assert got.dtype == np.uint8
        assert np.abs(got - want).max() < 1.01


def test_less_of_the_photograph_shows_where_the_map_is_higher():
    """The difference between a black and a white photograph is the share that shows."""
    map = np.tile(np.linspace(0, 1, 101), (4, 1))
    black, white = (blend(np.full((4, 101, 3), v, np.uint8), map, 0.8) for v in (0, 255))
    shows = (white.astype(float) - black) / 255
    want = 1 - 0.8 * np.minimum(map / overlay.FULL, 1)
    np.testing.assert_allclose(shows, np.repeat(want[..., None], 3, 2), atol=0.005)


def test_blend_refuses_other_shapes_and_values(photograph):
    with pytest.raises(ValueError, match=r"shape \(199, 200\) does not fit"):
        blend(photograph, np.zeros((199, 200)))
    for value in (1.1, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            blend(photograph, np.full((200, 200), value))


@pytest.fixture
def mask():
    """A blob with a hole and a single pixel apart; the blob runs off the lower edge."""
    y, x = np.mgrid[:60, :80]
    mask = np.hypot(y - 50, x - 40) < 22
    mask[40:46, 36:44] = False
    mask[5, 70] = True
    return mask


def test_the_line_is_the_border_of_the_mask(mask):
    ground = np.full((60, 80, 3), 90, np.uint8)
    got = contour(ground, mask, colour=(1, 250, 2))
    line = (got == (1, 250, 2)).all(axis=2)
    padded = np.pad(mask, 1)
    for y, x in np.ndindex(mask.shape):
        cross = padded[y + 1, x : x + 3].all() and padded[y : y + 3, x + 1].all()
        assert line[y, x] == (mask[y, x] and not cross)


def test_the_casing_is_dark_and_no_wider_than_the_line(mask):
    ground = np.full((60, 80, 3), 90, np.uint8)
    got = contour(ground, mask)
    line, dark = (got == 255).all(axis=2), (got == 0).all(axis=2)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    near = cv2.dilate(line.astype(np.uint8), cross).astype(bool)
    np.testing.assert_array_equal(dark, near & ~line)
    np.testing.assert_array_equal(got[~near], ground[~near])
    assert not ground[ground != 90].size


def test_a_wide_line_stays_within_the_mask(mask):
    got = contour(np.full((60, 80, 3), 90, np.uint8), mask, width=3)
    line = (got == 255).all(axis=2)
    distance = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    assert not line[~mask].any()
    assert line[mask & (distance <= 2)].all()
    assert not line[distance > 4].any()


def test_without_a_mask_there_is_no_line(photograph):
    none = np.zeros((200, 200), bool)
    np.testing.assert_array_equal(contour(photograph, none), photograph)
    for wrong in (none[:100], none.astype(float)):
        with pytest.raises(ValueError, match="mask must be bool"):
            contour(photograph, wrong)
