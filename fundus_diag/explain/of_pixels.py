"""Where the pixels of a segmenter's classes come from: the attention of its transformer."""

import numpy as np

from fundus_diag.explain.explainer import grid_of, maps
from fundus_diag.explain.methods.attention import obstacle
from fundus_diag.imaging.preprocess import map_to_original
from fundus_diag.models.geometry import pixels
from fundus_diag.models.segmenter import of_classes
from fundus_diag.runs.windows import over_windows
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.kept import kept

METHODS = ("chefer", "rollout")


def check_method(model, method):
    """Refuses, with a UsageError, a segmenter that has no transformer to read."""
    why = obstacle(model)
    if why:
        raise UsageError(f"--maps {method}: {why}: of --network transunet, unetr")


def class_maps(segmenter, loaded, method="chefer"):
    """The map of each class of a photograph.

    The picture is seen window by window, as it is segmented, and the windows' maps are joined by
    the same weights. Each class's map is then divided by its largest value.

    Args:
        segmenter: `segmenter.Segmenter` whose network has attention over its whole map.
        loaded: `preprocess.Loaded` at the run's image size and crop.
        method: one of `METHODS`, see `methods.attention`.

    Returns:
        (H, W, K) float32 in [0, 1], on the photograph.

    Raises:
        UsageError: the network has no such attention.
    """
    check_method(segmenter.model, method)
    model = kept(segmenter.model, "classes", lambda: of_classes(segmenter.model))
    grid, side = grid_of(model, method, ()), segmenter.config["patch_size"]
    whole = np.array([0, 0, side, side], np.float32)

    def of_windows(cut):
        found = maps(model, cut, method, fuse=False)[:, :, 0].transpose(0, 2, 3, 1)
        return map_to_original(found, whole, side, side, grid)

    overlap = segmenter.config["overlap"]
    with segmenter.arithmetic():
        said = over_windows(of_windows, loaded.picture, side, overlap, finish=lambda x: x)
    height, width = loaded.photograph.shape[:2]
    laid = map_to_original(said[None], loaded.box, height, width, pixels(len(said)))[0].numpy()
    highest = laid.max(axis=(0, 1))
    return np.maximum(laid, 0) / np.where(highest > 0, highest, 1)
