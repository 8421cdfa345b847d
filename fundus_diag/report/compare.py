"""`compare`: the trainings of a plan, and the page that holds them against each other."""

import json
from pathlib import Path

from fundus_diag.report.comparison import compare as compare_runs
from fundus_diag.runs.run import build_model, network
from fundus_diag.runs.run_files import read_config
from fundus_diag.runs.speed import milliseconds
from fundus_diag.runs.variants import Variant
from fundus_diag.training.pretraining.config import PretrainConfig
from fundus_diag.training.trainings import run_all, trainings
from fundus_diag.utils.errors import DataError

SPLIT_EYES = (
    "made on purpose: split by eyes instead of patients, so that both eyes of a person may stand "
    "in train and here; scored on its own rows"
)
RESAMPLED = (
    "made on purpose: the rare rows of its val are repeated, and its epoch, thresholds and "
    "calibration were chosen by that; scored on those rows"
)


def compare(plan, out, resamples=1000):
    """Runs a plan's trainings and compares what came of them.

    Args:
        plan: `plan.Plan`.
        out: folder: `runs/` with a folder a run, the tables, the page.
        resamples: of the bootstrap over patients.

    Returns:
        (path of the page, table of figures, table of differences, [`Training`]).

    Raises:
        DataError: the table is not fit to train on, nothing can be written, or no run came to its
            end.
    """
    out = Path(out)
    found = trainings(plan, out)
    run_all(found, plan.split)
    variants = []
    for variant in plan.variants:
        done = [
            x
            for x in found
            if x.name == variant.name
            and x.state in ("done", "reused")
            and not isinstance(x.config, PretrainConfig)
        ]
        if not done:
            continue
        runs = tuple(x.run_dir for x in done)
        seeds = tuple(x.config.seed for x in done)
        flags = variant.flags
        mistakes = [SPLIT_EYES] if variant.split_eyes else []
        own_val = flags.get("resampled_val_on_purpose") and plan.split == "val"
        mistakes += [RESAMPLED] if own_val else []
        facts = {"parameters": read_config(runs[0]).get("parameters")}
        note = "; ".join(x for x in (variant.note, *mistakes) if x)
        own = {"apart": bool(mistakes), "seeds": seeds, "against": variant.against}
        variants.append(Variant(variant.name, runs, facts, note, **own))
    if not variants:
        raise DataError(f"{plan.path}: no run came to its end: {found[0].reason}")
    for variant, ms in zip(variants, _milliseconds(variants), strict=True):
        variant.facts["ms a picture"] = ms
    names = [x.name for x in variants if not x.apart]
    baseline = plan.baseline if plan.baseline in names else None
    page, figures, differences = compare_runs(
        variants,
        *(plan.split, out),
        baseline=baseline,
        resamples=resamples,
        title=plan.title,
    )
    return page, figures, differences, found


def _milliseconds(variants):
    """Of each variant's network; equal networks are measured once."""
    networks = [network(read_config(variant.runs[0])) for variant in variants]
    names = [json.dumps(x, sort_keys=True) for x in networks]
    distinct = dict(zip(names, networks, strict=True))
    found = milliseconds([build_model(**x) for x in distinct.values()])
    taken = dict(zip(distinct, found, strict=True))
    return [taken[name] for name in names]
