"""Lesions found and missed: connected components, with 8 neighbours. See `segmentation`.

Sources:
    Zhang et al. 2014, "Exudate detection in color retinal images for mass screening", whose share
        of overlap, 0.2, is `SHARE`; there it must be exceeded, here reached
    Chakraborty 1989, "Maximum likelihood analysis of free-response receiver operating
        characteristic (FROC) data": marks are of lesions or of none; Bandos et al. 2009 (FROC)
"""

import cv2
import numpy as np

from fundus_diag.metrics.masks import call, checked, pictures, within

SHARE = 0.2
LEVELS = 100  # thresholds that `froc` tries
EIGHT_NEIGHBOURS = 8


def lesions(truth, called, where=None, share=SHARE):
    """Counts of lesions: connected components, with 8 neighbours, of one picture.

    A lesion is found when at least `share` of its pixels are called. A component of what is called
    is a false positive when less than `share` of its pixels lie in lesions, so one that is too
    large can find a lesion and be a false positive; `marks` does not let it.

    Args:
        truth, called, where: (H, W) bool, see `segmentation`.
        share: in (0, 1].

    Returns:
        (found, lesions, false positives), integers.
    """
    truth, called, _ = within(truth, called, where)
    known = _lesions_of(truth)
    found, _, false_positives = _matches(known, called, share)
    return int(found), known[2], int(false_positives)


def froc(truths, scores, at=(1, 2, 4, 8), wheres=None, share=SHARE, levels=LEVELS):
    """Sensitivity to lesions at so many false positives a picture: free-response ROC.

    The thresholds are so many equal steps from the lowest score of all pictures to the highest, so
    a map whose scores crowd at one end is tried at few levels that tell them apart.

    Args:
        truths, scores, wheres: sequences of (H, W), see `segmentation`; `wheres` may be None.
        at, share: see `froc_of`, `marks`.
        levels: number of thresholds, at least 2.

    Returns:
        (A,) in [0, 1], see `froc_of`.
    """
    known = pictures(truths, scores, wheres)
    ends = [f(x[where]) for _, x, where in known if where.any() for f in (np.min, np.max)]
    steps = np.linspace(min(ends), max(ends), levels) if ends else np.zeros(1)
    if known and known[0][1].dtype.kind != "f":
        steps = np.unique(np.rint(steps))
    return froc_of([marks(*picture[:2], steps, picture[2], share) for picture in known], at)


def marks(truth, scores, steps, where=None, share=SHARE):
    """What is marked in one picture at each of some thresholds.

    False positives are those of `lesions`, but a lesion is found here only through components that
    are none: a mark is of a lesion or it is not (Chakraborty 1989). Else all of a picture, called
    in one piece, would find every lesion for one false positive.

    Args:
        truth, scores, where: (H, W), see `segmentation`.
        steps: (T,) thresholds.
        share: in (0, 1], see `lesions`.

    Returns:
        (found (T,), false positives (T,), number of lesions).
    """
    truth, scores, where = checked(truth, scores, where)
    known = _lesions_of(truth & where)
    counts, before = [], None
    for step in steps:
        called = call(scores, step) & where
        if before is None or (called != before).any():
            count = _matches(known, called, share)
        counts.append(count)
        before = called
    _, found, false_positives = np.array(counts).reshape(-1, 3).T
    return found, false_positives, known[2]


def froc_of(marked, at=(1, 2, 4, 8)):
    """Sensitivity to lesions at so many false positives a picture, of pictures marked alike.

    The highest sensitivity among the thresholds with at most that many false positives a picture on
    average.

    Args:
        marked: what `marks` gives of each picture, at the same thresholds.
        at: (A,) mean numbers of false positives a picture, not below 0.

    Returns:
        (A,) in [0, 1]: found lesions of all pictures over all lesions; 0 where every threshold has
        more false positives. NaN without a lesion.
    """
    if not marked:
        return np.full(len(at), np.nan)
    found, false_positives, n = (np.sum([x[k] for x in marked], axis=0)[None] for k in (0, 1, 2))
    return found_at(found, false_positives, n, np.array([len(marked)]), at)[0]


def found_at(found, false_positives, n, pictures, at):
    """`froc_of` of several sets of pictures, of their sums.

    Args:
        found, false_positives: (R, T) of each set, see `marks`.
        n: (R,) lesions.
        pictures: (R,) pictures.
        at: (A,), see `froc_of`.

    Returns:
        (R, A) in [0, 1]; NaN of a set without a lesion.
    """
    few = false_positives[:, None] <= np.asarray(at, "float64")[:, None] * pictures[:, None, None]
    most = np.where(few, found[:, None], 0).max(axis=-1)
    with np.errstate(invalid="ignore"):  # 0 / 0: no lesion
        return most / np.asarray(n)[:, None]


def _lesions_of(truth):
    """(places of all pixels of lesions in the flat picture, which lesion each is of, lesions)."""
    if not truth.size:  # of which OpenCV dies
        return np.zeros(0, np.int64), np.zeros(0, np.int32), 0
    n, lesion = cv2.connectedComponents(truth.view(np.uint8), connectivity=EIGHT_NEIGHBOURS)
    places = np.flatnonzero(truth)
    return places, lesion.ravel()[places], n - 1


def _matches(known, called, share):
    """(found, found through components that are no false positives, false positives)."""
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1]; got {share}")
    places, lesion, n = known
    if not called.size:
        return 0, 0, 0
    n_marks, mark, facts, _ = cv2.connectedComponentsWithStats(
        called.view(np.uint8), connectivity=EIGHT_NEIGHBOURS
    )
    mark_there = mark.ravel()[places]
    # 1 pixel of 5 is exactly a share of 0.2 by a division; a product may round to above 1.
    hit = np.zeros(n_marks, bool)
    hit[1:] = _sizes(mark_there, n_marks - 1) / facts[1:, cv2.CC_STAT_AREA] >= share
    found, found_by_hits = (
        np.count_nonzero(_sizes(lesion[pixels], n) / _sizes(lesion, n) >= share)
        for pixels in (mark_there > 0, hit[mark_there])
    )
    return found, found_by_hits, n_marks - 1 - np.count_nonzero(hit)


def _sizes(labels, n):
    """(n,) pixels of each component."""
    return np.bincount(labels, minlength=n + 1)[1:]
