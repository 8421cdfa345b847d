"""The report of a segmenter: every figure per class and photograph, and pictures of agreement.

All is measured on the photographs' own pixels, inside of their field of view.
"""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.columns import MASK
from fundus_diag.data.inputs import settle_bad
from fundus_diag.data.manifest import read_photographs, resolve_images
from fundus_diag.data.outlined import DISC, FOV, WHOLE, looked_at, outlined, read_masks
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.metrics.lesions import marks
from fundus_diag.metrics.pooled import AT, pooled_by_class
from fundus_diag.metrics.segmentation import overlap, picture_figures
from fundus_diag.metrics.summary import summarise
from fundus_diag.report.environment import environment
from fundus_diag.report.parts import what_was_seen
from fundus_diag.report.segmented import compared
from fundus_diag.runs import photographs
from fundus_diag.runs.lock import locked
from fundus_diag.runs.run_files import leaks, own_table
from fundus_diag.runs.scored import count_scoring
from fundus_diag.runs.scored import said as said_again
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import (
    atomic,
    make_folder,
    plain,
    write_bytes,
    write_csv,
    write_json,
)
from fundus_diag.utils.progress import track

FIGURES = ("dice", "iou", "sensitivity", "specificity", "precision", "average_precision",
           "hausdorff95", "hausdorff95_discs")  # fmt: skip
TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "average_precision": "Area under precision-recall",
    "hausdorff95": "Hausdorff distance, 95 %, px",
    "hausdorff95_discs": "the same in disc diameters",
}
# Thresholds of `marks`, evenly in the logit: a network that is sure has many levels near 1.
FINE = 2**16 - 1
STEPS = np.unique(np.rint(FINE / (1 + np.exp(-np.linspace(-5.5, 11, 60)))).astype(int))
SECOND = "second observer"
MOST = 24  # photographs on the page: the best, the worst and those between


def segment_report(run, split="test", manifest=None, image_root=None, out=None, resamples=1000):
    """Scores a segmenter on photographs with masks and writes tables and a page.

    Args:
        run: `segmenter.Segmenter`.
        split: of the table: rows of this split only; None is every row of `manifest`.
        manifest: another table than the run's own, with `image_root`.
        out: folder to write into; the run's by default.
        resamples: of the bootstrap over patients.

    Returns:
        (path of the page, table of means with intervals).

    Raises:
        DataError: photographs or masks cannot be read, or the run's own table is not here.
        UsageError: the table has no such split, or masks of none of the run's classes.
    """
    with locked(out or run.run_dir):
        return _report(run, split, manifest, image_root, Path(out or run.run_dir), resamples)


def _report(run, split, manifest, image_root, out, resamples):
    table, root, path = _table(run, split, manifest, image_root)
    classes = [x for x in run.classes if MASK + x in table.columns]
    if not classes:
        raise UsageError(f"{path}: masks of none of the run's classes ({', '.join(run.classes)})")
    seconds = {x: f"{x}_2" for x in classes if f"{MASK}{x}_2" in table.columns}
    disc = next((x for x in DISC if MASK + x in table.columns), None)
    wanted = [*classes, *seconds.values(), *([disc] if disc and disc not in classes else [])]
    rows = outlined(table, root, wanted, path)
    scored, bad = _Scores(run, classes, seconds, disc, wanted), []
    people = dict(zip(table["image"], table["patient"], strict=True))
    for row in track(rows, "scoring photographs", len(rows)):
        try:
            scored.add(row, people[row.image])
        except DataError as error:
            bad.append([row.image, str(error).removeprefix(f"{row.path}: ")])
    settle_bad(bad, run.config["flags"].get("on_bad_image", "fail"))
    if not scored.rows:
        raise DataError(f"{path}: nobody looked for {', '.join(classes)} in any photograph of it")
    each = pd.DataFrame(scored.rows)
    means = summarise(each, ["class", "by"], list(FIGURES), resamples)
    together = pooled_by_class(scored.counts(), people, resamples)
    together = pd.DataFrame(together).assign(by="network").drop(columns="photographs")
    name, beware = split or "all", _beware(run, table, split, manifest)
    if split == "test" and manifest is None:  # before anybody sees it
        again = said_again(count_scoring(run.run_dir, split))
        beware += [again] if again else []
    make_folder(out)
    write_csv(out / f"segments_{name}_images.csv", each)
    write_csv(out / f"segments_{name}.csv", means.merge(together, on=["class", "by"], how="left"))
    with atomic(out / f"segments_{name}_counts.npz") as file:
        np.savez_compressed(file, **scored.counts())
    page = out / f"report_segments_{name}.html"
    facts = {"split": name, "photographs": len(rows) - len(bad)}
    facts["patients"] = len({people[image] for image in each["image"]})
    facts["beware"] = beware
    facts |= {"figures": means.to_dict("records"), "pooled": together.to_dict("records")}
    write_json(out / f"segments_{name}.json", plain(facts))
    text = (
        environment()
        .get_template("segments.html.j2")
        .render(
            **facts,
            run=run.run_dir.resolve().name,
            config=run.config,
            titles={k: x for k, x in TITLES.items() if means[k].notna().any()},
            at=AT,
            cases=scored.shown(each, {row.image: row for row in rows}),
            thresholds=dict(zip(run.classes, run.thresholds, strict=True)),
            pairs=[_pair(row, wanted, root) for row in rows],
            resamples=resamples,
            second=SECOND,
            own=manifest is None,
        )
    )
    write_bytes(page, text.encode())
    return page, means


def _table(run, split, manifest, image_root):
    """(rows, folder of their files, name of the table)."""
    if manifest is not None:
        known, root, path = read_photographs(Path(manifest)), Path(image_root), Path(manifest)
    else:
        known, root, why = own_table(run.config)
        path = run.config["data"]["manifest"]
        if known is None:
            raise DataError(f"{run.run_dir}: {why}; name one by --manifest and --image-root")
    table = known.table
    if split is not None:
        if "split" not in table or not (table["split"] == split).any():
            raise UsageError(f"--split {split}: {path} has no row in it")
        table = table[table["split"] == split].reset_index(drop=True)
    resolve_images(replace(known, table=table), root, missing_ok=True)  # ways out of the root
    return table, root, path


def _beware(run, table, split, manifest):
    """What a reader must know of how far the run has seen these photographs: lines."""
    lines = list(leaks(run.config.get("weights_record")))
    if manifest is None and split == "train":
        lines.append("the run was trained on these photographs: figures say what it remembers")
    if manifest is not None:
        seen = photographs.shared(run.run_dir, run.config, table)
        lines += what_was_seen({"seen": seen, "rows": len(table)})
    return lines


class _Scores:
    """What is measured of photographs, one after the other; of their pixels counts are kept."""

    def __init__(self, run, classes, seconds, disc, wanted):
        self.run, self.classes, self.seconds = run, classes, seconds
        self.disc, self.wanted = disc, wanted
        self.rows = []
        self.counted = []

    def add(self, row, patient):
        masks, where, said, fine, across, _ = self._read(row)
        for name in self.classes:
            if row.masks[name] is None:
                continue
            truth, scores, threshold = masks[name], *self._of(said, name)
            figures = picture_figures(truth, scores, threshold, where, across)
            self._keep(row, patient, name, "network", figures)
            self._count(row, name, truth, scores, where, fine)
            second = self.seconds.get(name)
            if second and row.masks[second] is not None:
                other = overlap(truth, masks[second], where)
                self._keep(row, patient, name, SECOND, other)

    def _of(self, said, name):
        """(scores, threshold) of a class, in 255ths."""
        k = self.run.classes.index(name)
        return said[..., k], np.ceil(self.run.thresholds[k] * WHOLE - 1e-6)

    def _read(self, row):
        config = self.run.config
        loaded = load_photograph(row.path, config["image_size"], config["crop"])
        shape = loaded.photograph.shape[:2]
        masks = read_masks(row, self.wanted, shape, config["soft_masks"])
        masks = {name: masks[..., k] >= WHOLE / 2 for k, name in enumerate(self.wanted)}
        where = looked_at(row, loaded)
        shares = self.run.on_photograph(loaded)
        said = np.rint(shares * WHOLE).astype(np.uint8)
        fine = np.rint(shares * FINE).astype(np.uint16)
        across = None
        if self.disc and row.masks[self.disc] is not None and masks[self.disc].any():
            across = 2 * math.sqrt(masks[self.disc].sum() / math.pi)
        return masks, where, said, fine, across, loaded.photograph

    def _keep(self, row, patient, name, by, figures):
        figures = dict.fromkeys(FIGURES, np.nan) | figures
        self.rows.append(
            {"image": row.image, "patient": patient, "class": name, "by": by, **figures}
        )

    def _count(self, row, name, truth, scores, where, fine):
        hits = np.bincount(scores[truth & where], minlength=WHOLE + 1)
        every = np.bincount(scores[where], minlength=WHOLE + 1)
        marked = marks(truth, fine[..., self.run.classes.index(name)], STEPS, where)
        self.counted.append((row.image, name, hits, every, *marked))

    def counts(self):
        """Of each photograph and class, a row each: pixels by score, in 255ths, and hits of them;
        lesions, those found and false ones, at each of `STEPS`.

        With the threshold they give any figure of any photographs together, also such as other runs
        scored: see `metrics.pooled`.
        """
        image, name, hits, every, found, false, lesions = zip(*self.counted, strict=True)
        thresholds = dict(zip(self.run.classes, self.run.thresholds, strict=True))
        return {
            "image": np.array(image, str),
            "class": np.array(name, str),
            "threshold": np.array([thresholds[x] for x in name], np.float64),
            "hits": np.stack(hits),
            "every": np.stack(every),
            "found": np.stack(found),
            "false": np.stack(false),
            "lesions": np.array(lesions, np.int64),
        }

    def shown(self, each, rows):
        """Photographs of the page, best first: name, Dice of each class, pictures.

        They are read once more: pictures of all of them would fill the memory.
        """
        own = each[each["by"] == "network"]
        dice = own.groupby("image", sort=False)["dice"].mean().dropna()
        ranked = list(dice.sort_values(ascending=False, kind="stable").index)
        if len(ranked) > MOST:
            at = np.rint(np.linspace(0, len(ranked) - 1, MOST)).astype(int)
            ranked = [ranked[i] for i in at]
        by_image, found = own.set_index("image"), []
        for image in ranked:
            masks, where, said, _, _, photograph = self._read(rows[image])
            calls = {}
            for name in self.classes:
                if rows[image].masks[name] is not None:
                    scores, threshold = self._of(said, name)
                    calls[name] = masks[name], (scores >= threshold) & where
            figures = by_image.loc[[image], ["class", "dice"]].itertuples(index=False)
            pictures = compared(photograph, calls)
            found.append({"image": image, "dice": dict(figures), "pictures": pictures})
        return found


def _pair(row, wanted, root):
    """What was held against what: a photograph and the files of its masks, from the image root."""
    masks = {name: row.masks[name] for name in wanted} | {FOV: row.fov}
    return row.image, {
        name: Path(os.path.relpath(file, root)).as_posix() if isinstance(file, Path) else file
        for name, file in masks.items()
        if file
    }
