"""`associate`: regions and labels of many photographs, and how often the right region is first."""

from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.manifest import read_manifest
from fundus_diag.data.outlined import WHOLE, check_masks, classes_of, outlined, read_masks
from fundus_diag.explain.association import associations, cover, ranks
from fundus_diag.explain.explain import explain_batch
from fundus_diag.explain.explainer import layers_of
from fundus_diag.explain.laying import over_photograph
from fundus_diag.explain.output import shrunk
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.metrics.meaning import share_interval
from fundus_diag.metrics.summary import summarise
from fundus_diag.runs.answer_files import like
from fundus_diag.runs.answers import validation_of
from fundus_diag.runs.cases import cases_of_manifest, load_batches, usable_cases
from fundus_diag.runs.lock import locked
from fundus_diag.utils.errors import UsageError
from fundus_diag.utils.files import growing, make_folder, write_csv
from fundus_diag.utils.progress import track

TABLE, SUMMARY = "associations.csv", "associations_summary.csv"
FIGURES = ["first", "chance", "ratio"]


def associate(
    run, manifest, image_root, out, right, settings, *, split=None, segmenter=None, resamples=1000
):
    """Writes the table of regions by labels of every photograph, and what it comes to.

    Args:
        run: `run.Run` over single eyes.
        manifest: table with columns of masks, unless a segmenter gives the regions.
        image_root: folder of photographs and masks.
        out: folder.
        right: {label: names of the regions that are signs of it}.
        settings: `Settings`; its first method makes the maps.
        split: rows of this split only.
        segmenter: `segmenter.Segmenter` whose classes are the regions; None takes the masks.
        resamples: of the bootstrap over patients.

    Returns:
        The summary: for each label of `right`, over the photographs that have it and one of its
        regions, `first`: the share in which one of these regions has the highest ratio of all, with
        its interval; `chance`: the mean share of its regions among those that are there; `ratio`
        of the best of them. Where regions share the highest ratio, each is first in part; a map of
        zeros has no first, and is counted as undefined.

    Raises:
        DataError: photographs or masks cannot be read.
        UsageError: a label or region is unknown, or the run reads both eyes.
    """
    if run.config["unit"] != "eye":
        raise UsageError("associate: of runs over single eyes")
    known = read_manifest(Path(manifest), need_labels=False).table
    regions = segmenter.classes if segmenter else classes_of(known, (), manifest)
    for label, names in right.items():
        wrong = [x for x in names if x not in regions]
        if wrong:
            raise UsageError(f"--regions {label}={wrong[0]}: there are {', '.join(regions)}")
    own = known[known["split"] == split] if split else known
    rows = {} if segmenter else _outlined(own, image_root, regions, manifest)
    truth = known.set_index("image")
    cases = usable_cases(cases_of_manifest(run, manifest, image_root, split))
    check_masks(rows.values(), regions)
    layers, firsts = layers_of(run.model, settings), []
    validation = validation_of(run)
    every, size = list(range(len(run.labels))), settings.batch_size
    batches = load_batches(run, cases, size)
    make_folder(out)
    with locked(out), growing(Path(out) / TABLE, "photographs") as write:
        for batch in track(batches, "associating", -(-len(cases) // size)):
            chosen = [every] * len(batch)
            for made in explain_batch(run, batch, layers, settings, chosen, together=True):
                ((eye, loaded),) = made["loaded"].items()
                image = made["case"].images[eye]
                if segmenter:
                    masks = _segments(segmenter, made["case"].paths[eye])
                else:
                    masks = read_masks(rows[image], regions, loaded.photograph.shape[:2])
                table = _associated(run, made, eye, masks, regions, settings.level, validation)
                known = [truth.at[image, x] if x in truth else np.nan for x in table["label"]]
                table = table.assign(y=known)
                write(table.to_csv(header=not firsts, index=False), 1)
                firsts.append(first_of(table, right))
    found = pd.concat(firsts, ignore_index=True)
    summary = summarise(found, "label", FIGURES, resamples)
    write_csv(Path(out) / SUMMARY, summary)
    return summary


def _associated(run, made, eye, masks, regions, level, validation):
    """Rows of one photograph: what `association.associations` says, and whose they are."""
    photo, box, inside = shrunk(made["loaded"][eye])
    method = next(iter(made["fused"]))
    maps = {
        label: over_photograph(map, made["grids"][method], box, inside)
        for label, map in zip(run.labels, made["fused"][method][eye], strict=True)
    }
    covers = {  # of soft masks half or more, as everywhere
        name: cover(masks[..., k] >= WHOLE / 2, photo.shape[:2]) for k, name in enumerate(regions)
    }
    table = ranks(associations(maps, covers, inside, level))
    table.insert(0, "image", made["case"].images[eye])
    table.insert(1, "patient", made["case"].patient)
    said = {}
    for label, probability in zip(run.labels, made["probability"].tolist(), strict=True):
        n, had, *_ = like(validation, label, probability)
        said[label] = (probability, *share_interval(had, n))
    told = [said[label] for label in table["label"]]
    columns = ["probability", "probability_low", "probability_high"]
    return table.join(pd.DataFrame(told, columns=columns, index=table.index))


def first_of(table, right):
    """For each label that the photographs of a table have: whether a region of its own is first.

    Args:
        table: of `associate`.
        right: see `associate`.
    """
    rows = []
    for label, names in right.items():
        own = table[(table["label"] == label) & (table["y"] == 1)]
        for image, one in own.groupby("image", sort=False):
            mine = one[one["region"].isin(names)]
            if not len(mine) or len(mine) == len(one):
                continue  # nothing to find, or nothing else to take it for
            top = one["ratio"].max()
            tied = (one["ratio"] == top).sum()  # none of a map of zeros
            rows.append(
                {
                    "label": label,
                    "image": image,
                    "patient": one["patient"].iloc[0],
                    "first": (mine["ratio"] == top).sum() / tied if tied else float("nan"),
                    "chance": len(mine) / len(one),
                    "ratio": mine["ratio"].max(),
                }
            )
    return pd.DataFrame(rows, columns=["label", "image", "patient", *FIGURES])


def _outlined(table, image_root, regions, path):
    """{image: `Outlined`}."""
    return {row.image: row for row in outlined(table, image_root, regions, path)}


def _segments(segmenter, path):
    config = segmenter.config
    said = segmenter.on_photograph(load_photograph(path, config["image_size"], config["crop"]))
    return segmenter.call(said) * np.uint8(WHOLE)
