"""`explain-eval`: how good a run's maps are, against masks of lesions and the run itself."""

import functools
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.labels import file_name
from fundus_diag.data.masks import check_folders, check_masks, find_masks, read_lesions, read_mask
from fundus_diag.data.synthetic.eye import PLACED
from fundus_diag.explain import explainer, laying
from fundus_diag.explain.curves import curve_files
from fundus_diag.explain.explain import explain_batch, stack_fields
from fundus_diag.explain.filters import clean
from fundus_diag.explain.metrics import localization
from fundus_diag.explain.metrics.deletion import blurred
from fundus_diag.explain.metrics.randomization import cascade
from fundus_diag.explain.metrics.score import FIGURES, Target, score
from fundus_diag.explain.settings import Settings
from fundus_diag.imaging.inside import field_on_photograph
from fundus_diag.metrics.summary import summarise
from fundus_diag.models.geometry import pixels
from fundus_diag.runs.cases import load_batches, stack_pictures, usable_cases
from fundus_diag.runs.lock import locked
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import growing, write_bytes, write_csv, write_json
from fundus_diag.utils.progress import track

IMAGES = "faithfulness_images.csv"
CONTROLS = {
    "uniform": localization.uniform_map,
    "centred_gaussian": localization.centred_gaussian,
}


def explain_eval(
    run,
    masks,
    cases,
    out,
    lesions=(),
    settings=None,
    tolerance=0.02,
    steps=20,
    randomised=16,
    resamples=1000,
    seed=0,
    on_bad_image="fail",
    known=(),
):
    """Scores every method, with and without the filters, beside two controls.

    Writes faithfulness.csv (mean and 95 % interval over patients per label, method and filter),
    faithfulness_images.csv (each map, as it is scored), randomised.csv (the sanity check, block by
    block), curves of each label and faithfulness.json (what was done, and left out).
    Nothing counts but what lies inside the field of view.

    Args:
        run: `run.Run`, of `load_run`.
        masks: folder of masks, see `data.masks`.
        cases: list of `Case`.
        out: folder to write to.
        lesions: texts "LABEL=FOLDER,FOLDER"; by default the signs of the drawn photographs.
        settings: `Settings`; its filters are compared with none.
        tolerance: how far beside a lesion a peak still hits, as a share of the photograph's
            longer side.
        steps: of deletion and insertion.
        randomised: photographs in the sanity check; 0 leaves it out.
        resamples: of the bootstrap.
        seed: of the bootstrap and the random weights.
        on_bad_image: "fail", or "skip": what cannot be read is left out and named on stderr.
        known: paths of other photographs that masks may be of, as those of other splits: none of
            their masks counts for one of the cases.

    Returns:
        (summary table, facts), as written.

    Raises:
        DataError: photographs or masks cannot be read, or nothing is left to score.
        UsageError: a flag is wrong.
    """
    for name, value, low, high in (
        ("tolerance", tolerance, 0, 1), ("steps", steps, 1, 1000),
        ("randomised", randomised, 0, np.inf), ("resamples", resamples, 100, np.inf),
    ):  # fmt: skip
        if not low <= value <= high:
            upto = "" if high == np.inf else f" to {high}"
            raise UsageError(f"--{name} {value}: must lie from {low}{upto}")
    settings = settings or Settings()
    layers = explainer.layers_of(run.model, settings)
    named = read_lesions(lesions, run.labels)
    lesions = named or {x: PLACED[x] for x in run.labels if x in PLACED}
    lesions = {label: names for label, names in lesions.items() if names}
    if not lesions:
        raise UsageError("--lesions: which folders show the signs of which label?")
    check_folders(masks, lesions, every=named is not None)
    of_images, others = find_masks(masks, lesions, [*_images(cases), *known])
    cases = usable_cases(cases, on_bad_image)
    check_masks(of_images, _images(cases))
    facts = {"photographs": 0, "scored": {}, "without_lesion": {}, "outside_field": {}}
    such_as = [str(x.relative_to(masks)) for x in others[:1]]
    facts |= {"resized_masks": 0, "masks_of_others": {"files": len(others), "such_as": such_as}}
    rows, curves, drawn = [], {label: {} for label in lesions}, []
    batches = load_batches(run, cases, 1, on_bad_image)
    with locked(out), growing(Path(out) / IMAGES, "rows") as write:
        for ((case, loaded),) in track(batches, "scoring maps", len(cases)):
            there = _masks(case, loaded, of_images, lesions, facts)
            if not there:
                continue
            found = _explained(run, case, loaded, layers, settings, {label for _, label in there})
            before = len(rows)
            for target, maps in _targets(run, found, there, settings, tolerance):
                for method, name, map, grid in maps:
                    figures, curve = score(map, grid, target, settings.level, steps)
                    row = {**target.where, "method": method, "filter": name}
                    rows.append({**row, "probability": target.probability, **figures})
                    if name == "none":
                        curves[row["label"]].setdefault(method, []).append(curve)
            new = pd.DataFrame(rows[before:])
            write(new.to_csv(index=False, header=not before), len(new))
            if len(drawn) < randomised:
                drawn.append(({eye: x.picture for eye, x in loaded.items()}, found["inside"]))
        if not rows:
            raise DataError(f"{masks}: no mask of a lesion for any of the photographs")
    table = pd.DataFrame(rows)
    summary = summarise(table, ["label", "method", "filter"], list(FIGURES), resamples, seed)
    summary = summary.merge(_zeros(table), on=["label", "method", "filter"])
    stages = _randomised(run, drawn, list(facts["scored"]), layers, settings, seed)
    if len(stages):
        last = stages["randomised_from_head_to"] == stages["randomised_from_head_to"].iloc[-1]
        whole = stages.loc[last, ["label", "method", "correlation"]]
        whole = whole.rename(columns={"correlation": "randomised_correlation"})
        summary = summary.merge(whole, on=["label", "method"], how="left")
    facts |= {
        "run": run.run_dir.resolve().name, "steps": steps,
        "tolerance": tolerance, "baseline": "the photograph blurred, sigma a tenth of its side",
        "lesions": {x: list(names) for x, names in lesions.items()}, "seed": seed,
        "resamples": resamples, **asdict(settings), "methods": list(layers),
        "layers": {m: list(names) for m, names in layers.items()},
    }  # fmt: skip
    _write(Path(out), summary, stages, curves, facts)
    return summary, facts


def _images(cases):
    return [image for case in cases for image in case.images.values()]


def _masks(case, loaded, of_images, lesions, facts):
    """{(eye, label): its mask in the field of view} of a case, where there is any.

    `facts` counts all.
    """
    found = {}
    wanted = {name for names in lesions.values() for name in names}
    for eye, seen in loaded.items():
        facts["photographs"] += 1
        shape, signs, resized = seen.photograph.shape[:2], {}, {}
        inside = field_on_photograph(seen.field, *shape).numpy()
        files = of_images[case.images[eye]]
        for name in wanted:  # once each, though labels share signs
            mask, resized[name] = read_mask(files.get(name, ()), case.paths[eye], shape)
            if mask.any():
                signs[name] = mask
        for label, names in lesions.items():
            facts["resized_masks"] += any(resized[name] for name in names)
            there = [signs[name] for name in names if name in signs]
            mask = np.any(there, axis=0) & inside if there else np.zeros(shape, bool)
            kind = "scored" if mask.any() else "outside_field" if there else "without_lesion"
            facts[kind][label] = facts[kind].get(label, 0) + 1
            if mask.any():
                found[eye, label] = mask
    return found


def _explained(run, case, loaded, layers, settings, labels):
    """A case explained for some labels, without the filters.

    Not in one batch: in the company of others a sum ends in another digit, and of cells that are
    all but equal another one is the peak.
    """
    numbers = [k for k, label in enumerate(run.labels) if label in labels]
    unfiltered = replace(settings, median=0, adaptive=False, batch_size=1)
    (found,) = explain_batch(run, [(case, loaded)], layers, unfiltered, [numbers], together=True)
    return found


def _targets(run, found, masks, settings, tolerance):
    """(`Target`, `_variants`) of each mask of an explained case."""
    case, loaded = found["case"], found["loaded"]
    baselines = {eye: blurred(seen.picture) for eye, seen in loaded.items()}
    fields = {eye: field_on_photograph(x.field, *x.photograph.shape[:2]).numpy()
              for eye, x in loaded.items()}  # fmt: skip
    for (eye, label), mask in masks.items():
        k = found["labels"].index(label)
        where = {"image": case.images[eye], "patient": case.patient or case.images[eye]}
        where |= {"eye": eye, "label": label}
        target = Target(
            picture=loaded[eye].picture,
            baseline=baselines[eye],
            box=loaded[eye].box,
            seen=found["inside"][eye],
            inside=fields[eye],
            mask=mask,
            near=localization.within(mask, tolerance * max(mask.shape)),
            predict=_predictor(run, loaded, eye, run.labels.index(label), settings.batch_size),
            probability=float(found["probability"][k]),
            where=where,
        )
        yield target, _variants(found, eye, k, settings)


def _variants(found, eye, k, settings):
    """(method, filter, map (h, w), its `Grid`) of every method: as it is, and by the filters.

    The two controls follow.
    """
    kinds = [replace(settings, adaptive=False), settings]
    kinds = {x.filter_name: x.filters for x in kinds if x.filter_name != "none"}
    for method, maps in found["fused"].items():
        map, grid = maps[eye][k], found["grids"][method]
        yield method, "none", map, grid
        for name, filters in kinds.items():
            yield method, name, clean(map, **filters), grid
    grid = pixels(len(found["inside"][eye]))
    for name, control in CONTROLS.items():
        yield name, "none", control(grid.shape), grid


def _predictor(run, loaded, eye, number, batch_size):
    """Pictures (n, S, S, 3) of one eye to the probability of a label, the other eye as it is."""
    others = {other: seen.picture for other, seen in loaded.items()}

    def predict(pictures):
        images, mask = stack_pictures(run, [others | {eye: picture} for picture in pictures])
        return run.predict(images, mask, batch_size=batch_size)[:, number]

    return predict


def _randomised(run, drawn, labels, layers, settings, seed):
    """Table of the sanity check: mean correlation per label, method and block randomised so far.

    Over the cells that have a part in the field of view. `drawn`: ({eye: its picture}, {eye: (S, S)
    bool, its field}) of each photograph or pair.
    """
    if not drawn:
        return pd.DataFrame()
    images, mask = stack_pictures(run, [pictures for pictures, _ in drawn])
    inside = stack_fields(run, [fields for _, fields in drawn])
    numbers = [run.labels.index(x) for x in labels]

    def draw(method):
        options = settings.options | {"mask": mask, "batch_size": settings.batch_size}
        options["inside"] = inside
        found = explainer.maps(run.model, images, method, numbers, layers[method], **options)
        grid = explainer.grid_of(run.model, method, layers[method])
        there = laying.reached(inside.reshape(-1, *inside.shape[-2:]), grid).numpy()
        # Of each picture, or eye, all labels.
        eyes = zip(found.reshape(-1, len(numbers), *found.shape[-2:]), there, strict=True)
        return [map[cells] for maps, cells in eyes if cells.any() for map in maps]

    draws = {method: functools.partial(draw, method) for method in layers}
    inputs = explainer.model_inputs(run.model, images, mask)
    rows = []
    for stage, found in cascade(run.model, inputs, draws, seed):
        for method, values in found.items():
            for label, own in zip(labels, values.reshape(-1, len(labels)).T, strict=True):
                known = own[~np.isnan(own)]
                rows.append(
                    {
                        "label": label,
                        "method": method,
                        "randomised_from_head_to": stage,
                        "correlation": known.mean() if known.size else np.nan,
                        "maps": len(own),
                        "undefined": len(own) - len(known),
                    }
                )
    return pd.DataFrame(rows)


def _zeros(table):
    counts = table.groupby(["label", "method", "filter"], sort=False)["zero"].sum()
    return counts.rename("zero_maps").reset_index()


def _write(out, summary, stages, curves, facts):
    write_csv(out / "faithfulness.csv", summary)
    write_csv(out / "randomised.csv", stages)
    write_json(out / "faithfulness.json", facts)
    for label, methods in curves.items():
        drawn = {}
        for method, found in methods.items():
            drawn[method] = {k: np.stack([c[k] for c in found]) for k in ("deletion", "insertion")}
            drawn[method]["shares"] = found[0]["shares"]
        for name, content in curve_files(drawn).items() if drawn else ():
            write_bytes(out / name.format(file_name(label)), content)
