"""Photographs that are told apart by their grey levels."""

import cv2
import numpy as np

COUNT = 7


def write_discs(folder):
    """`COUNT` files; the grey level of photograph i is 20 + 30 i."""
    paths = []
    for i in range(COUNT):
        image = np.zeros((60, 80, 3), np.uint8)
        cv2.circle(image, (40, 30), 28, (20 + 30 * i,) * 3, -1)
        paths.append(folder / f"{i}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def levels(batch):
    """Which photographs a batch of pictures of 32 px shows."""
    middle = np.asarray(batch)[..., 14:18, 14:18, :].mean(axis=(-3, -2, -1))
    return np.round((middle - 20) / 30).astype(int)
