"""`fundus-diag search`: settings that are drawn, tried, and chosen on validation."""

from pathlib import Path

import tyro

from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow


def search(
    plan: tyro.conf.Positional[str],
    /,
    out: Path,
    manifest: Path | None = None,
    image_root: Path | None = None,
    trials: int | None = None,
    storage: str | None = None,
    choose: int | None = None,
):
    """Try settings of a training by Optuna, several objectives at once, and choose among them.

    The same command goes on with a search that was stopped; several machines share one by the same
    --storage.

    Args:
        plan: TOML file (objectives, flags that stay, and the space of those that are drawn), or
            the name of a search that comes along (one that is unknown lists them).
        out: Folder of the runs and of the page.
        manifest: Table, in place of the plan's.
        image_root: Folder that its image paths start from, in place of the plan's.
        trials: How many trials the study shall have, in place of the plan's.
        storage: URL of the database of the study. Default: a file of SQLite in --out.
        choose: Number of the trial whose settings are written to best.toml, for `train --config`.
            Default: the best in the first objective.

    Example:
        fundus-diag search efficientnet_lite --manifest odir_split.csv --image-root ODIR \\
            --out reports/search
    """
    from fundus_diag.training.plan import SEARCHES, find_plan

    path = find_plan(plan, SEARCHES)
    import_tensorflow()  # what a network is called is known there
    from fundus_diag.report.search import write_search
    from fundus_diag.training.search import best_configuration, import_optuna
    from fundus_diag.training.search import search as run_search
    from fundus_diag.training.search_plan import OBJECTIVES, read_search
    from fundus_diag.utils.files import make_folder, write_text

    found = read_search(path, manifest, image_root, trials)
    import_optuna()
    check_file(found.manifest)
    check_folder(found.image_root)
    make_folder(out)
    study = run_search(found, out, storage or f"sqlite:///{(out / 'study.db').resolve()}")
    page = write_search(found, study, out)
    for trial in study.best_trials[:20]:
        pairs = zip(found.objectives, trial.values, strict=True)
        said = ", ".join(f"{OBJECTIVES[name][0]} {value:.4g}" for name, value in pairs)
        print(f"trial {trial.number}: {said}")
    text = best_configuration(found, study, choose)
    write_text(out / "best.toml", text)
    print(f"{out / 'best.toml'}: {text.splitlines()[0].removeprefix('# ')}")
    print(page)
