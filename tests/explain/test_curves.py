"""The figure of deletion and insertion."""

import cv2
import numpy as np
import pytest

from fundus_diag.explain import curves as curves_module
from fundus_diag.explain.curves import curve_files


def decoded(png):
    """(height, width, 3) uint8 RGB of PNG bytes."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.fixture
def drawn(monkeypatch):
    """What `curve_files` draws: (x, y, label) of each line."""
    lines = []

    def collect(figure):
        for ax in figure.axes:
            lines.append([(*line.get_data(), line.get_label()) for line in ax.lines])

    def noted(size, draw, kinds):
        if "png" in kinds:
            return figure_files(size, lambda figure: (draw(figure), collect(figure)), kinds)
        return figure_files(size, draw, kinds)

    figure_files = curves_module.figure_files
    monkeypatch.setattr(curves_module, "figure_files", noted)
    return lines


def test_curves_are_means_over_the_pictures_that_have_one(drawn):
    shares = np.linspace(0, 1, 5)
    deletion = np.array([[1, 0.5, 0.2, 0, 0], [0.8, 0.7, 0.4, 0.3, 0], [np.nan] * 5])
    curves = {
        "layer_cam": {"shares": shares, "deletion": deletion, "insertion": 1 - deletion},
        "uniform": {"shares": shares, "deletion": deletion[2:], "insertion": deletion[:1]},
    }
    picture = decoded(curve_files(curves)["deletion_insertion_{}.png"])
    assert picture.shape[1] > 1000
    left, right = drawn
    assert len(left) == 2 + 1 + 1  # two pictures, their mean, and the one that is undefined
    np.testing.assert_allclose(left[2][1], [0.9, 0.6, 0.3, 0.15, 0])
    area = 0.25 * (0.9 / 2 + 0.6 + 0.3 + 0.15)
    assert left[2][2] == f"layer_cam  {area:.3f}, n = 2"
    assert left[3][2] == "uniform  undefined"
    assert right[2][2] == f"layer_cam  {1 - area:.3f}, n = 2"
    assert [line[2] for line in right][-1] == "uniform  0.300, n = 1"


def test_many_pictures_and_methods_are_drawn_as_means_only(drawn):
    curve = np.random.default_rng(0).random((curves_module.FEW + 1, 5))
    one = {"shares": np.linspace(0, 1, 5), "deletion": curve, "insertion": curve}
    picture = decoded(
        curve_files({f"method {k}": one for k in range(12)})["deletion_insertion_{}.png"]
    )
    assert picture.shape[0] < 2000
    assert [len(lines) for lines in drawn] == [12, 12]
