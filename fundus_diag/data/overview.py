"""What a table holds, in figures: who, what, and how its pictures were taken."""

import numpy as np
import pandas as pd

COMMON = 5  # sizes of pictures that are named
BLURRED = 12  # of the least sharp pictures that are shown


def overview(manifest, pictures=None):
    """Figures of a table.

    Args:
        manifest: `Manifest`.
        pictures: of `checks.Checked`, or None.

    Returns:
        {"rows", "patients", "eyes": {eye: rows}, "labels", "together": (L, L) rows that have both
        labels, the diagonal those that have the one, "most_pictures": of one patient[, "ages":
        [smallest, quartiles, largest], "without_age": rows][, "sexes": {sex: rows}][, "sizes":
        [("width x height", pictures), ..], "other_sizes": how many more, "megapixels": [smallest,
        median, largest], "megabytes": of all files, "blurred": images, the least sharp first]}.
    """
    table, labels = manifest.table, list(manifest.labels)
    positive = (table[labels].to_numpy() == 1).astype(int)
    facts = {
        "rows": len(table),
        "patients": int(table["patient"].nunique()),
        "eyes": table["eye"].value_counts().to_dict(),
        "labels": labels,
        "together": (positive.T @ positive).tolist(),
        "most_pictures": int(table["patient"].value_counts().max()) if len(table) else 0,
    }
    if "age" in table and table["age"].notna().any():
        facts["ages"] = np.nanquantile(table["age"], [0, 0.25, 0.5, 0.75, 1]).tolist()
        facts["without_age"] = int(table["age"].isna().sum())
    if "sex" in table:
        facts["sexes"] = table["sex"].replace("", "not known").value_counts().to_dict()
    if pictures is not None and len(pictures):
        facts |= _of_pictures(pictures)
    return facts


def _of_pictures(pictures):
    sizes = (pictures["width"].astype(str) + " x " + pictures["height"].astype(str)).value_counts()
    pixels = pictures["width"] * pictures["height"] / 1e6
    order = pictures.sort_values("sharpness", kind="stable")
    return {
        "sizes": list(sizes.head(COMMON).items()),
        "other_sizes": max(0, len(sizes) - COMMON),
        "megapixels": np.quantile(pixels, [0, 0.5, 1]).tolist(),
        "megabytes": float(pictures["bytes"].sum() / 1e6),
        "blurred": order["image"].head(BLURRED).tolist(),
    }


def lines(facts):
    """The figures as a few lines of text."""
    eyes = ", ".join(f"{eye or 'eye not known'} {n}" for eye, n in facts["eyes"].items())
    said = [
        f"{facts['rows']} rows of {facts['patients']} patients ({eyes}; at most "
        f"{facts['most_pictures']} of one)"
    ]
    both = pd.DataFrame(facts["together"], facts["labels"], facts["labels"])
    pairs = [
        (both.iloc[i, k], f"{both.index[i]} and {both.columns[k]}")
        for i in range(len(both))
        for k in range(i + 1, len(both))
    ]
    pairs = [f"{name} {n}" for n, name in sorted(pairs, key=lambda x: -x[0])[:COMMON] if n]
    if pairs:
        said.append(f"most often together: {', '.join(pairs)}")
    if "ages" in facts:
        low, _, middle, _, high = facts["ages"]
        said.append(
            f"ages {low:g} to {high:g}, median {middle:g}, {facts['without_age']} not known"
        )
    if "sizes" in facts:
        low, middle, high = facts["megapixels"]
        sizes = ", ".join(f"{size} px {n}" for size, n in facts["sizes"])
        more = f" and {facts['other_sizes']} more sizes" if facts["other_sizes"] else ""
        said.append(f"pictures {sizes}{more}; {low:.2g} to {high:.2g} megapixels")
        said.append(f"least sharp, for their own contrast: {', '.join(facts['blurred'][:3])}")
    return said
