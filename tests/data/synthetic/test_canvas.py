import numpy as np
import pytest

from fundus_diag.data.synthetic.canvas import Frame, field_of_view, fill, spots, strokes


def test_shapes_cover_the_area_that_geometry_says():
    frame = Frame(200, (100.0, 100.0), 90.0, 1.0, 1)
    unit = frame.radius**2  # pixels in a square radius
    assert field_of_view(frame).sum() == pytest.approx(np.pi * unit, rel=0.01)
    assert field_of_view(Frame(200, (100.0, 100.0), 90.0, 0.5, 1)).sum() == pytest.approx(
        (2 * np.arcsin(0.5) + np.sqrt(3) / 2) * unit, rel=0.02
    )
    square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    assert fill(frame, [square]).sum() == pytest.approx(unit, rel=0.02)
    rng = np.random.default_rng(0)
    disc = spots(frame, rng, np.array([(0.2, -0.1)]), [0.4], stretch=2.0, heading=0.7)
    assert disc.sum() == pytest.approx(np.pi * 0.16 * unit, rel=0.03)
    line = strokes(frame, [np.array([(-0.6, 0.0), (0.6, 0.0)])], [(0.1, 0.1)])
    assert line.sum() == pytest.approx((1.2 * 0.1 + np.pi * 0.05**2) * unit, rel=0.08)
