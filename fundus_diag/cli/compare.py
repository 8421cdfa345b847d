"""`fundus-diag compare`: a plan of trainings, run and held against each other."""

from pathlib import Path

import tyro

from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.report.arguments import check_arguments
from fundus_diag.utils.errors import counted


def compare(
    plan: tyro.conf.Positional[str],
    /,
    out: Path,
    manifest: Path | None = None,
    image_root: Path | None = None,
    seeds: tuple[int, ...] = (),
    split: str | None = None,
    resamples: int = 1000,
    dry_run: bool = False,
):
    """Train the variants of a plan, each with every seed, and compare them.

    Runs that are there are used again, one that was killed goes on, one that fails does not lose
    the rest: give the same command again.

    Args:
        plan: TOML file, or the name of a plan that comes along (one that is unknown lists them).
        out: Folder of the runs and of the page.
        manifest: Table, in place of the plan's.
        image_root: Folder that its image paths start from, in place of the plan's.
        seeds: In place of the plan's.
        split: That is compared, in place of the plan's: val, or test once all choices are made.
        resamples: Of the bootstrap over patients, for the 95 % intervals.
        dry_run: Say what would run, and run nothing.

    Example:
        fundus-diag compare phases --manifest odir_split.csv --image-root ODIR --out reports/phases
    """
    from fundus_diag.training.plan import find_plan, read_plan

    path = find_plan(plan)
    import_tensorflow()  # what a network is called is known there
    found = read_plan(path, manifest, image_root, seeds or None, split)
    check_arguments(found.split, None, None, resamples)
    check_file(found.manifest)
    check_folder(found.image_root)
    if dry_run:
        return _would_run(found, out)
    from fundus_diag.report.compare import compare as compare_plan

    page, figures, _, done = compare_plan(found, out, resamples)
    for name in dict.fromkeys(figures["variant"]):
        row = figures[(figures["variant"] == name) & (figures["figure"] == "roc_auc")].iloc[0]
        ends = f"{row['low']:.3f} to {row['high']:.3f}"
        print(f"{name}: macro ROC AUC {row['mean']:.3f} ({ends}), {counted(row['runs'], 'run')}")
    failed = [x for x in done if x.state == "failed"]
    for one in failed:
        print(f"{one.name}, seed {one.config.seed}: failed: {one.reason} ({one.log})")
    print(page)
    return 1 if failed else 0


def _would_run(plan, out):
    from fundus_diag.training.trainings import look, trainings

    for one in trainings(plan, out):
        look(one)
        left = "there" if one.over else f"{one.done} of {one.epochs} epochs are there"
        print(f"{one.name}, seed {one.config.seed}: {left}: {one.run_dir}")
