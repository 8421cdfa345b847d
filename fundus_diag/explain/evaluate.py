"""`explain-eval`: how good a run's maps are, against masks of lesions and the run itself."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.labels import EYES
from fundus_diag.data.masks import check_folders, read_lesions, read_mask
from fundus_diag.data.synthetic.eye import PLACED
from fundus_diag.explain import explainer
from fundus_diag.explain.explain import Settings, explain_batch
from fundus_diag.explain.metrics import localization
from fundus_diag.explain.metrics.deletion import deletion_insertion
from fundus_diag.explain.metrics.randomization import cascade
from fundus_diag.explain.output import laid_back
from fundus_diag.explain.overlay import curves_png
from fundus_diag.imaging.preprocess import load_photograph
from fundus_diag.metrics.summary import summarise
from fundus_diag.runs.cases import load_cases
from fundus_diag.runs.run import load_run
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import atomic, write_csv, write_json
from fundus_diag.utils.progress import track

FIGURES = (
    "pointing", "energy", "overlap", "overlap_as_planned", "iou_best", "iou",
    "deletion", "insertion",
)  # fmt: skip
CONTROLS = {
    "uniform": localization.uniform_map,
    "centred_gaussian": localization.centred_gaussian,
}


def explain_eval(
    run_dir,
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
):
    """Scores every method, with and without the filters, beside two controls.

    Writes faithfulness.csv (mean and 95 % interval over patients per label, method and filter),
    faithfulness_images.csv (each map), randomised.csv (the sanity check, block by block),
    deletion_insertion_<label>.png and faithfulness.json (what was done, and what was left out).

    Args:
        run_dir: a finished run.
        masks: folder of `data.masks`.
        cases: function of the run to a list of `Case`.
        out: folder to write to.
        lesions: texts "LABEL=FOLDER,FOLDER"; by default the signs of the drawn photographs.
        settings: `Settings`; its filters are compared with none.
        tolerance: how far beside a lesion a peak still hits, as a share of the photograph's
            longer side.
        steps: of deletion and insertion.
        randomised: photographs in the sanity check; 0 leaves it out.
        resamples: of the bootstrap.
        seed: of the bootstrap and the random weights.

    Returns:
        (summary table, facts), as written.

    Raises:
        DataError: the run, photographs or masks cannot be read, or nothing is left to score.
        UsageError: a flag is wrong.
    """
    if not 0 <= tolerance < 1 or steps < 1 or randomised < 0 or resamples < 100:
        raise UsageError(
            f"--tolerance {tolerance} in [0, 1), --steps {steps} from 1, --randomised {randomised} "
            f"from 0, --resamples {resamples} from 100"
        )
    run, settings = load_run(run_dir), settings or Settings()
    layers = settings.check(run.model)
    lesions = read_lesions(lesions, run.labels) or {x: PLACED[x] for x in run.labels if x in PLACED}
    lesions = {label: names for label, names in lesions.items() if names}
    if not lesions:
        raise UsageError("--lesions: which folders show the signs of which label?")
    check_folders(masks, lesions)
    targets, facts = _targets(run, cases(run), masks, lesions)
    if not targets:
        raise DataError(f"{masks}: no mask of a lesion for any of the photographs")
    unfiltered = replace(settings, median=0, adaptive=False)
    rows, curves = [], {label: {} for label in lesions}
    for label, case, eye in track(targets, "scoring maps", len(targets)):
        number = run.labels.index(label)
        (found,) = explain_batch(run, [case], layers, unfiltered, [number])
        photo = found["loaded"][eye][2]
        mask, _ = read_mask(masks, lesions[label], case.paths[eye], photo.shape[:2])
        predict = _predictor(run, found, eye, number, settings.batch_size)
        for method, name, map in _variants(found, eye, settings):
            where = {"image": case.images[eye], "patient": case.patient or case.images[eye]}
            where |= {"eye": eye, "label": label, "method": method, "filter": name}
            picture, box, _ = found["loaded"][eye]
            figures, curve = score(
                map, picture, box, mask, predict, settings.level, tolerance, steps
            )
            rows.append({**where, "probability": float(found["probability"][0]), **figures})
            if name == "none":
                curves[label].setdefault(method, []).append(curve)
    table = pd.DataFrame(rows)
    summary = summarise(table, ["label", "method", "filter"], list(FIGURES), resamples, seed)
    summary = summary.merge(_zeros(table), on=["label", "method", "filter"])
    stages = _randomised(run, targets, layers, settings, randomised, seed)
    if len(stages):
        whole = stages[
            stages["randomised_from_head_to"] == stages["randomised_from_head_to"].iloc[-1]
        ]
        whole = whole.rename(columns={"correlation": "randomised_correlation"})
        whole = whole[["label", "method", "randomised_correlation"]]
        summary = summary.merge(whole, on=["label", "method"], how="left")
    facts |= {
        "run": str(Path(run_dir).resolve().name), "level": settings.level, "steps": steps,
        "tolerance": tolerance, "baseline": "the photograph blurred, sigma a tenth of its side",
        "lesions": {x: list(names) for x, names in lesions.items()}, "seed": seed,
        "resamples": resamples, "layers": {m: list(names) for m, names in layers.items()},
        "median": settings.median, "adaptive": settings.adaptive,
        "adaptive_block": settings.adaptive_block, "adaptive_offset": settings.adaptive_offset,
        "head_fusion": settings.head_fusion, "discard_ratio": settings.discard_ratio,
    }  # fmt: skip
    _write(Path(out), summary, table, stages, curves, facts)
    return summary, facts


def score(map, picture, box, mask, predict, level, tolerance, steps):
    """All figures of one map.

    Args:
        map: (h, w) in [0, 1] over the square picture.
        picture, box: of `preprocess`.
        mask: (H, W) bool over the photograph.
        predict: pictures (n, S, S, 3) to probabilities (n,) of the label.
        level, tolerance, steps: see `explain_eval`.

    Returns:
        ({figure: value}, curves of `deletion_insertion`).
    """
    wide = np.clip(laid_back(map, box, mask.shape), 0, 1)
    curve = deletion_insertion(picture, map, predict, steps)
    figures = {
        "pointing": localization.pointing_game(wide, mask, tolerance * max(mask.shape)),
        "energy": localization.energy_inside(wide, mask),
        "overlap": localization.overlap(wide, mask),
        "overlap_as_planned": localization.overlap_as_planned(wide, mask),
        "iou_best": localization.best_iou(wide, mask)[0],
        "iou": localization.iou(wide, mask, level),
        "deletion": curve["deletion_area"],
        "insertion": curve["insertion_area"],
        "zero": int(not wide.any()),
    }
    return figures, curve


def _targets(run, cases, masks, lesions):
    """[(label, case, eye)] with a mask that is not empty, and what was left out."""
    found, facts = [], {"photographs": 0, "scored": {}, "without_lesion": {}, "resized_masks": 0}
    for case in track(cases, "reading masks", len(cases)):
        for eye, path in case.paths.items():
            shape = load_photograph(path, run.config["image_size"], "none")[2].shape[:2]
            facts["photographs"] += 1
            for label, names in lesions.items():
                mask, resized = read_mask(masks, names, path, shape)
                facts["resized_masks"] += resized
                kind = "scored" if mask.any() else "without_lesion"
                facts[kind][label] = facts[kind].get(label, 0) + 1
                if mask.any():
                    found.append((label, case, eye))
    return found, facts


def _variants(found, eye, settings):
    """(method, filter, map (h, w)) of every method: as it is, by the median, by both filters.

    The two controls follow.
    """
    shape = None
    filters = {x.filter_name: x.clean for x in (replace(settings, adaptive=False), settings)}
    filters.pop("none", None)
    for method, maps in found["fused"].items():
        map = maps[eye][0]
        shape = map.shape if shape is None else shape
        yield method, "none", map
        for name, clean in filters.items():
            yield method, name, clean(map)
    for name, control in CONTROLS.items():
        yield name, "none", control(shape)


def _predictor(run, found, eye, number, batch_size):
    """Pictures (n, S, S, 3) of one eye to the probability of a label, the other eye as it is."""
    if run.config["unit"] == "eye":
        return lambda x: run.predict(x, batch_size=batch_size)[:, number]
    place = EYES.index(eye)
    other = found["loaded"].get(EYES[1 - place])

    def predict(x):
        pairs = np.zeros((len(x), 2, *x.shape[1:]), np.float32)
        mask = np.ones((len(x), 2), np.float32)
        pairs[:, place] = x
        if other is None:
            mask[:, 1 - place] = 0
        else:
            pairs[:, 1 - place] = other[0]
        return run.predict(pairs, mask, batch_size=batch_size)[:, number]

    return predict


def _randomised(run, targets, layers, settings, count, seed):
    """Table of the sanity check: mean correlation per label, method and block randomised so far."""
    cases = list({case.name: case for _, case, _ in targets}.values())[:count]
    if not cases:
        return pd.DataFrame()
    _, images, mask = load_cases(run, cases)

    labels = list(dict.fromkeys(label for label, _, _ in targets))
    numbers = [run.labels.index(x) for x in labels]

    def draw(method):
        options = settings.options | {"mask": mask, "batch_size": settings.batch_size}
        found = explainer.maps(run.model, images, method, numbers, layers[method], **options)
        return found.reshape(-1, *found.shape[-2:])  # of each picture, or eye, all labels

    draws = {method: functools.partial(draw, method) for method in layers}
    rows = []
    for stage, found in cascade(
        run.model, explainer.model_inputs(run.model, images, mask), draws, seed
    ):
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


def _write(out, summary, table, stages, curves, facts):
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be made a folder: {error.strerror}") from error
    write_csv(out / "faithfulness.csv", summary)
    write_csv(out / "faithfulness_images.csv", table)
    write_csv(out / "randomised.csv", stages)
    write_json(out / "faithfulness.json", facts)
    for label, methods in curves.items():
        drawn = {
            method: {k: np.stack([c[k] for c in found]) for k in ("deletion", "insertion")}
            | {"shares": found[0]["shares"]}
            for method, found in methods.items()
        }
        if drawn:
            with atomic(out / f"deletion_insertion_{label}.png") as partial:
                partial.write_bytes(curves_png(drawn))
