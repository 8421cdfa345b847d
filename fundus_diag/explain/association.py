"""Which regions belong to which labels: how much of a label's map lies in a segment.

A region has some of any map, by its size alone, and a bright disc has much of many maps. So each
figure stands beside two that know nothing of the label: what a uniform map would give (the region's
share of the field of view), and what the maps of the other labels of the same photograph give.
"""

import cv2
import numpy as np
import pandas as pd

COLUMNS = (
    "region", "label", "share", "area", "ratio", "others", "mean", "largest", "covered",
)  # fmt: skip


def associations(maps, regions, inside, level=0.5):
    """A table of regions by labels of one photograph.

    Args:
        maps: {label: (H, W) not below 0, on any scale}; what lies outside of the field counts not.
        regions: {name: (H, W) bool, or what share in [0, 1] of each pixel is of it, see `cover`},
            such as segments of lesions; an empty one has no row.
        inside: (H, W) bool, the field of view.
        level: of a map, as a share of its largest value, from where on it covers a region.

    Returns:
        DataFrame with `COLUMNS`, a row for each region and label: `share` of the map's sum that
        lies in the region; `area`, the region's share of the field, which is what a uniform map
        has; `ratio` share / area, 1 by chance; `others`, the mean share of the other labels' maps,
        NaN where there is one label alone; `mean` and `largest` value of the map in the region, of
        its largest value anywhere; `covered`, share of the region where the map reaches `level`.
        Pixels weigh by what share of them is of the region.
        All of a map of zeros but its area are NaN.

    Raises:
        ValueError: shapes differ, or a map has values below 0 or none at all.
    """
    inside = np.asarray(inside, bool)
    laid = {label: _checked(label, map, inside) for label, map in maps.items()}
    rows = []
    for name, region in regions.items():
        region = np.asarray(region, np.float64)
        if region.shape != inside.shape:
            raise ValueError(f"region {name}: {region.shape}, not {inside.shape}")
        region = np.where(inside, region, 0.0)
        if not region.any():
            continue
        area = region.sum() / inside.sum()
        shares = {label: _share(map, region) for label, map in laid.items()}
        for label, map in laid.items():
            others = [share for other, share in shares.items() if other != label]
            others = [x for x in others if not np.isnan(x)]
            rows.append(
                {
                    "region": name,
                    "label": label,
                    "share": shares[label],
                    "area": area,
                    "ratio": shares[label] / area,
                    "others": float(np.mean(others)) if others else float("nan"),
                    **_inside_of(map, region, level),
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def cover(mask, shape):
    """What share of each pixel of a smaller copy is of a region: its area stays what it is.

    Args:
        mask: (H, W) bool.
        shape: (h, w) of the copy.

    Returns:
        (h, w) float32 in [0, 1].
    """
    whole = np.asarray(mask, np.float32)
    return np.clip(cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_AREA), 0, 1)


def ranks(table):
    """The rank of each region for its label, and of each label for its region, 1 the first.

    Regions of a label are ranked by `ratio`, so that a large one is not first by its size; labels
    of a region by `share`, which they all have of the same region. Of equal ones all have the mean
    of their ranks; what is NaN has none.

    Args:
        table: of `associations`, of one photograph.

    Returns:
        The table with `region_rank` and `label_rank`.
    """
    by_region = table.groupby("label", sort=False)["ratio"].rank(ascending=False)
    by_label = table.groupby("region", sort=False)["share"].rank(ascending=False)
    return table.assign(region_rank=by_region, label_rank=by_label)


def _checked(label, map, inside):
    map = np.asarray(map, np.float64)
    if map.shape != inside.shape:
        raise ValueError(f"map of {label}: {map.shape}, not {inside.shape}")
    map = np.where(inside, map, 0.0)
    if not np.isfinite(map).all() or (map < 0).any():
        raise ValueError(f"map of {label}: has values below 0, or none at all")
    return map


def _share(map, region):
    total = map.sum()
    return float((map * region).sum() / total) if total else float("nan")


def _inside_of(map, region, level):
    top = map.max()
    if not top:
        return dict.fromkeys(("mean", "largest", "covered"), float("nan"))
    there, weights = map[region > 0] / top, region[region > 0]
    return {
        "mean": float(np.average(there, weights=weights)),
        "largest": float(there.max()),
        "covered": float(np.average(there >= level, weights=weights)),
    }
