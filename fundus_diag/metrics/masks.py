"""Masks and scores of pictures as the measures of segmentation take them; see `segmentation`."""

import numpy as np


def call(scores, threshold):
    """(H, W) bool, `scores >= threshold`. A threshold of whole-number scores is a whole number."""
    return np.asarray(scores) >= on_scale(np.asarray(scores), threshold)


def on_scale(scores, thresholds):
    """Thresholds in the type of the scores: else 0.7 in float32 lies below a threshold of 0.7."""
    thresholds = np.asarray(thresholds, "float64")
    if scores.dtype.kind == "f":
        return thresholds.astype(scores.dtype)
    if (thresholds != np.rint(thresholds)).any():  # a probability, but the scores are 0 to 255
        raise ValueError(f"scores are {scores.dtype}, so a threshold must be a whole number")
    return thresholds


def ratio(above, below):
    return float(above / below) if below else float("nan")


def pictures(truths, scores, wheres):
    """List of (truth, scores, where) of each picture, checked."""
    wheres = [None] * len(truths) if wheres is None else wheres
    return [checked(*picture) for picture in zip(truths, scores, wheres, strict=True)]


def within(truth, called, where):
    """Both masks without the pixels that do not count, and `where`."""
    truth, called, where = checked(truth, called, where, masks=True)
    return truth & where, called & where, where


def checked(truth, other, where, masks=False):
    truth, other = np.asarray(truth), np.asarray(other)
    where = np.ones(truth.shape, bool) if where is None else np.asarray(where)
    shapes = [a.shape for a in (truth, other, where)]
    if len(set(shapes)) > 1:
        raise ValueError(f"truth, calls or scores, and where differ in shape: {shapes}")
    for mask in (truth, where, other) if masks else (truth, where):
        if mask.dtype != bool:  # 0 and 255 would count a pixel 255 times
            raise ValueError(f"masks must be bool; got {mask.dtype}")
    if not masks and not np.isfinite(other[where]).all():
        raise ValueError("a score that counts is not finite")
    return truth, other, where
