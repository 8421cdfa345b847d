"""Figures of all photographs together, by pixels and by lesions, with intervals over patients.

Photographs are counted once, and any draw of patients is a sum of these counts.
"""

import numpy as np

from fundus_diag.metrics import bootstrap
from fundus_diag.metrics.lesions import found_at
from fundus_diag.metrics.segmentation import average_precision_of

AT = (1, 2, 4, 8)  # false positives a picture
FOUND = "lesions_found_at_"


def pooled_by_class(counts, people, resamples=1000, seed=0):
    """`pooled` of each class, a dict each, of counts that a segment report keeps.

    Args:
        counts: as `pooled` takes them, of photographs and classes, a row each, "called" left out;
            and "image", "class" and "threshold" (N,), the share from which on the row is called.
        people: {image: its patient}.
        resamples, seed: see `pooled`.
    """
    scores, rows = counts["hits"].shape[1], []
    called = np.ceil(counts["threshold"] * (scores - 1) - 1e-6)
    for name in dict.fromkeys(counts["class"].tolist()):
        own = {x: values[counts["class"] == name] for x, values in counts.items()}
        own["called"] = called[counts["class"] == name]
        patients = [people[x] for x in own["image"]]
        found = pooled(own, patients, resamples, seed)
        rows.append({"class": name, "photographs": len(patients), **found})
    return rows


def pooled(counts, patients, resamples=1000, seed=0):
    """Figures of a class over photographs that were counted alike, and their 95 % intervals.

    Args:
        counts: dict of arrays, a row for each of N photographs: "hits" and "every" (N, L), pixels
            of the class and of all that have each of L scores, low to high; "called" (N,), the
            lowest score that is called; "found", "false" (N, T) and "lesions" (N,), see
            `lesions.marks`.
        patients: (N,) identifiers.
        resamples: of the bootstrap; 0 leaves the intervals out.
        seed: of the draws.

    Returns:
        dict of "pooled_average_precision", "pooled_dice" and `FOUND` of each of `AT`, each with
        "_low" and "_high", NaN where it is undefined, see `bootstrap.interval`; and "lesions".
    """

    def figures(weights):
        hits, every = (weights.T @ counts[x] for x in ("hits", "every"))
        above = np.arange(counts["hits"].shape[1]) >= np.asarray(counts["called"])[:, None]
        called, right = (
            weights.T @ (counts[x] * above).sum(axis=1, dtype=np.int64) for x in ("every", "hits")
        )
        found, false = (weights.T @ counts[x] for x in ("found", "false"))
        n = weights.T @ counts["lesions"]
        at = found_at(found, false, n, weights.sum(axis=0), AT)
        with np.errstate(invalid="ignore"):  # 0 / 0: none is there, none was called
            dice = 2 * right / (called + hits.sum(axis=1))
        areas = [average_precision_of(*x) for x in zip(hits, every, strict=True)]
        return {
            "pooled_average_precision": np.array(areas, np.float64),
            "pooled_dice": dice,
            **{f"{FOUND}{k}": at[:, i] for i, k in enumerate(AT)},
        }

    row = {"lesions": int(np.sum(counts["lesions"]))}
    width = counts["hits"].shape[1]
    draws = bootstrap.distribution(figures, patients, resamples, seed, width=width)
    for name, (value,) in figures(np.ones((len(patients), 1), np.int64)).items():
        several = len(set(patients)) > 1 and resamples
        ends = bootstrap.interval(draws[name])[0] if several else None
        low, high = ends or (np.nan, np.nan)
        row |= {name: float(value), f"{name}_low": low, f"{name}_high": high}
    return row
