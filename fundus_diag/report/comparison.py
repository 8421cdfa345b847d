"""Several runs on the same photographs: their figures side by side, and paired differences.

Figures are means over the runs of a variant; their intervals cover other patients and other seeds,
drawn together. Differences and their p values are about other patients, with the runs as they are.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.labels import label_text
from fundus_diag.metrics import bootstrap, comparison, curves
from fundus_diag.report import compared_figures as figures
from fundus_diag.report.environment import environment
from fundus_diag.report.pictures import data_url
from fundus_diag.runs.variants import SEED, score, score_apart
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import make_folder, plain, write_bytes, write_json

MOST_CURVES = 7  # in one panel: more could not be told apart


def compare(variants, split, out, *, baseline=None, resamples=1000, title="Comparison"):
    """Scores variants and writes comparison.csv, differences.csv, comparison.json, PNGs, a page.

    Args:
        variants: list of `Variant`, whose runs have predictions of the split.
        split: name of it.
        out: folder to write into.
        baseline: name of the variant that the others are held against; None is the first.
        resamples: of the bootstrap over patients; at least 100.
        title: of the page.

    Returns:
        (path of the page, table of figures, table of differences).

    Raises:
        DataError: predictions are missing, or of other photographs, labels or patients than those
            of the first run.
        UsageError: one of the variants, or the baseline, is none.
    """
    paired = [x for x in variants if not x.apart] or variants[:1]
    names = [x.name for x in paired]
    baseline = baseline or names[0]
    if baseline not in names:
        raise UsageError(f"baseline {baseline}: no variant; there are {', '.join(names)}")
    rows, pairs = score(paired, split, resamples)
    wanted = {x.name: x.against if x.against in names else baseline for x in paired}
    differences = _differences_table(dict(zip(names, pairs, strict=True)), wanted, rows)
    alone = [score_apart(x, split, resamples) for x in variants if x not in paired]
    scored = [*pairs, *alone]
    table = _figures_table(scored, rows)
    pictures = _pictures(scored, pairs, rows, table)
    page = (
        environment()
        .get_template("comparison.html.j2")
        .render(
            title=title,
            split=split,
            rows=len(rows.y),
            patients=len(set(rows.patients)),
            unit=rows.unit,
            baseline=baseline,
            names=rows.names,
            variants=_cells(scored, table, rows),
            differences=_difference_cells(differences, rows),
            resamples=resamples,
            pictures={name: (data_url(png), _width(png)) for name, png in pictures.items()},
            mixed=rows.mixed,
            labels=[label_text(x) for x in rows.labels],
        )
    )
    out = Path(out)
    make_folder(out)
    text = {"split": split, "baseline": baseline, "figures": table.to_dict("records"),
            "differences": differences.to_dict("records")}  # fmt: skip
    write_json(out / "comparison.json", plain(text))
    write_bytes(out / "comparison.csv", table.to_csv(index=False).encode())
    write_bytes(out / "differences.csv", differences.to_csv(index=False).encode())
    for name, png in pictures.items():
        write_bytes(out / f"{name}.png", png)
    write_bytes(out / "comparison.html", page.encode())
    return out / "comparison.html", table, differences


def _figures_table(scored, rows):
    """One row a variant and figure: mean over runs, their deviation, interval."""
    found = []
    for x in scored:
        for name in rows.names:
            drawn = comparison.over_runs(x.draws[name], SEED)
            ends, _ = bootstrap.interval(drawn)
            values = x.figures[name]
            found.append(
                {
                    "variant": x.variant.name,
                    "figure": name,
                    "mean": float(values.mean()),
                    "deviation": float(values.std(ddof=1)) if len(values) > 1 else np.nan,
                    "low": ends[0] if ends else np.nan,
                    "high": ends[1] if ends else np.nan,
                    "runs": len(x.variant.runs),
                    **x.variant.facts,
                }
            )
    return pd.DataFrame(found)


def _differences_table(pairs, wanted, rows):
    """One row a figure and a variant: its difference from the one that it is held against.

    Args:
        pairs: {name: `Scored`}, on the same rows.
        wanted: {name: name of the other}.
        rows: `Rows`.
    """
    columns = ["variant", "baseline", "figure", "difference", "low", "high", "p", "test"]
    columns += ["seeds_low", "seeds_high"]
    found = []
    for name, x in pairs.items():
        if wanted[name] == name:
            continue
        other = pairs[wanted[name]]
        for figure in rows.names:
            if figure == "roc_auc":
                test = "DeLong, by patient"
                values = comparison.auc_difference(rows.y, x.scores, other.scores, rows.patients)
            else:
                test = "bootstrap over patients"
                values = comparison.bootstrap_difference(
                    *(x.figures[figure].mean(), other.figures[figure].mean()),
                    *(x.draws[figure].mean(axis=0), other.draws[figure].mean(axis=0)),
                )
            by_seed = (np.nan, np.nan)
            if x.variant.seeds and x.variant.seeds == other.variant.seeds:
                by_seed = comparison.by_pairs(x.figures[figure] - other.figures[figure])
            found.append([name, wanted[name], figure, *values.values(), test, *by_seed])
    return pd.DataFrame(found, columns=columns)


def _pictures(scored, pairs, rows, table):
    """{name: PNG}: the figures of all variants, and ROC curves of those on the same rows."""
    names = [x.variant.name for x in scored]
    panels = []
    for name, text in rows.names.items():
        part = table[table["figure"] == name]
        panels.append((text, part[["mean", "low", "high"]].to_numpy("float64")))
    pictures = {"comparison": figures.forest_png(names, panels)}
    if len(pairs) <= MOST_CURVES:
        grid = np.linspace(0, 1, 201)
        items = []
        for k, label in enumerate(rows.labels):
            known = ~np.isnan(rows.y[:, k])
            truth = rows.y[known, k] == 1
            drawable = pairs if 0 < truth.sum() < len(truth) else []
            lines = [
                (x.variant.name, np.mean([_roc(truth, s[known, k], grid) for s in x.scores], 0))
                for x in drawable
            ]
            items.append((label_text(label), grid, lines))
        pictures["roc"] = figures.overlay_png(items)
    return pictures


def _width(png):
    """Of a PNG as it is shown, CSS px: half of its own."""
    return int.from_bytes(png[16:20], "big") // 2


def _roc(truth, score, grid):
    """Sensitivity at the false-positive rates of a grid."""
    false, true = curves.roc_points(truth, score)
    return np.interp(grid, false, true)


def _cells(scored, table, rows):
    """The table of the page: [{name, runs, note, facts, figures: [..]}]."""
    found = []
    for x in scored:
        part = table[table["variant"] == x.variant.name].set_index("figure")
        found.append(
            {
                "name": x.variant.name,
                "runs": len(x.scores),
                "note": x.variant.note,
                "facts": x.variant.facts,
                "figures": [part.loc[name].to_dict() for name in rows.names],
            }
        )
    return found


def _difference_cells(differences, rows):
    """[(variant, the one it is held against, its differences in the order of the figures)]."""
    found = {}
    for row in differences.to_dict("records"):
        found.setdefault((row["variant"], row["baseline"]), {})[row["figure"]] = row
    return [(*names, [cells[x] for x in rows.names]) for names, cells in found.items()]
