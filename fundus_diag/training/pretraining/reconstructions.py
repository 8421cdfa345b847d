"""Pictures of what a masked autoencoder paints."""

import cv2
import numpy as np

from fundus_diag.models.layers.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from fundus_diag.models.masked_autoencoder import patch_moments, patchify, standardised, unpatchify
from fundus_diag.utils.picture_grid import page, widths, wrapped

GREY = 128.0  # of a hidden patch
COLUMNS = ("original", "masked", "reconstructed", "hidden patches filled in")
OWN_MOMENTS = (
    "The network paints standardised patches. Mean and contrast of each are taken from the "
    "original: they are not the network's."
)

SEEN = (
    "Patches that it saw are painted too, but nothing was asked of them: their noise says nothing."
)


def reconstruct(images, outputs, loss):
    """What the network saw, and what it painted.

    Where the network paints standardised patches, each is given the mean and the deviation of the
    true patch, as MAE's own demonstration does: only structure within a patch is the network's.
    Patches that were seen were not learned to be painted: there the reconstruction means nothing.

    Args:
        images: (B, S, S, 3), RGB in [0, 255].
        outputs: `patches` (B, N, p p 3) and `mask` (B, N) of the network.
        loss: its `PatchLoss`.

    Returns:
        Three arrays (B, S, S, 3) uint8: the pictures with hidden patches grey, all painted
        patches, and the pictures with the hidden patches painted.
    """
    original = np.asarray(patchify(images, loss.patch))
    painted = outputs["patches"]
    if loss.normalise_target:
        mean, scale = patch_moments(patchify(standardised(images), loss.patch))
        painted = painted * np.asarray(scale) + np.asarray(mean)
    std, mean = (np.tile(np.float32(x), loss.patch**2) for x in (IMAGENET_STD, IMAGENET_MEAN))
    painted = painted * std + mean
    hidden = outputs["mask"][..., None] > 0
    made = (np.where(hidden, GREY, original), painted, np.where(hidden, painted, original))
    return [
        np.rint(np.asarray(unpatchify(x, loss.patch))).clip(0, 255).astype("uint8") for x in made
    ]


def reconstruction_png(images, outputs, names, loss, title):
    """Page with a row for each picture and columns `COLUMNS`. Returns PNG bytes.

    Args:
        images, outputs, loss: see `reconstruct`.
        names: of the pictures.
        title: of the page.
    """
    made = reconstruct(images, outputs, loss)
    losses = np.asarray(loss.call(images, outputs))
    cell, _ = widths(len(COLUMNS), 0)
    way = cv2.INTER_AREA if images.shape[1] > cell else cv2.INTER_CUBIC
    rows = [
        [(cv2.resize(x, (cell, cell), interpolation=way), "") for x in row]
        for row in zip(images.astype("uint8"), *made, strict=True)
    ]
    lines = [
        [*wrapped(name.rpartition("/")[2], "label"), (f"loss {value:.3f}", "plain")]
        for name, value in zip(names, losses, strict=True)
    ]
    columns = [(name, cell) for name in COLUMNS]
    notes = [*([OWN_MOMENTS] if loss.normalise_target else []), SEEN]
    return page(title, columns, lines, rows, [None] * len(COLUMNS), notes)
