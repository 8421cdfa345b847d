"""`fundus-diag report`: scores of a run, and the page that shows them."""

import sys
from pathlib import Path

import tyro

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.utils.errors import UsageError


def report(
    run: File,
    others: tyro.conf.Positional[tuple[Path, ...]] = (),
    /,
    predictions: Path | None = None,
    out: Path | None = None,
    split: str = "test",
    resamples: int = 1000,
    explain: bool = True,
    mean: bool = False,
):
    """Score a split of a run (test, once) or other predictions, and write the report.

    Of several runs, one page that compares them on the same photographs: ROC curves over each
    other, paired differences from the first.

    Args:
        run: Run directory.
        others: More of them, to compare with.
        predictions: Predictions of this run on other photographs, scored instead; needs --out.
        out: Folder to write to. Default: the run; of several it has to be given.
        split: Split of the run's own manifest.
        resamples: Of the bootstrap over patients, for the 95 % intervals.
        explain: The page of explanations: the surest hits, the worst errors.
        mean: Of several runs: show what the mean of their probabilities reaches, too, an ensemble
            with thresholds of its own from val.

    Example:
        fundus-diag report reports/odir
        fundus-diag report reports/a reports/b --out reports/a_and_b
    """
    from fundus_diag.report.arguments import check_arguments
    from fundus_diag.runs.run_files import read_config

    check_arguments(split, predictions, out, resamples, bool(others))
    # What is mistyped is said before TensorFlow is imported.
    configs = [(one, read_config(one)) for one in (run, *others)]
    places = [one.resolve() for one, _ in configs]
    for place, (one, _) in zip(places, configs, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"{one}: stands twice")
    if others:
        return _compared(configs, out, split, resamples, mean)
    if mean:
        raise UsageError("--mean: of several runs only")
    if predictions is not None:
        check_file(predictions)
    import_tensorflow()
    from fundus_diag.report.report import report_run
    from fundus_diag.runs.scored import said

    own = predictions is None and out is None
    page, metrics, explanations = report_run(run, predictions, out, split, resamples, explain)
    if explain and own:
        print(explanations or f"no page of explanations: the photographs of {run} are not here")
    print(headline(page, metrics))
    again = said(metrics["scored"]) if "scored" in metrics else None
    if again:
        print(f"warning: {run}: {again}", file=sys.stderr)
    return None


def _compared(configs, out, split, resamples, mean):
    import_tensorflow()
    from fundus_diag.report.comparison import compare
    from fundus_diag.runs.variants import Variant, check_same

    for name in dict.fromkeys((split, "val") if mean else (split,)):
        check_same(configs, name)
    from fundus_diag.report.report import report_run

    for run, _ in configs:
        for name in dict.fromkeys((split, "val") if mean else (split,)):
            if not (run / f"predictions_{name}.csv").is_file():
                page, metrics, _ = report_run(run, None, None, name, resamples)
                print(headline(page, metrics))
    names = [run.resolve().name for run, _ in configs]
    if len(set(names)) < len(names):  # of the same name in several folders
        names = [str(run) for run, _ in configs]
    facts = [{"parameters": config.get("parameters")} for _, config in configs]
    variants = [
        Variant(name, (run,), fact)
        for name, (run, _), fact in zip(names, configs, facts, strict=True)
    ]
    if mean:
        total = sum(x["parameters"] or 0 for x in facts) or None
        runs = tuple(run for run, _ in configs)
        note = "the mean of their probabilities, with thresholds chosen for it on val"
        name = f"all {len(runs)} together"
        variants.append(Variant(name, runs, {"parameters": total}, note=note, together=True))
    page, figures, _ = compare(variants, split, out, resamples=resamples)
    areas = figures[figures["figure"] == "roc_auc"]
    for name, value in zip(areas["variant"], areas["mean"], strict=True):
        print(f"{name}: macro ROC AUC {value:.3f}")
    print(page)


def headline(page, metrics):
    """The last line of a report: where it lies and its first figure."""
    macro = metrics["macro"]
    if macro["roc_auc"] is None:
        return f"{page}: macro ROC AUC undefined (no label with both classes)"
    figure = f"macro ROC AUC {macro['roc_auc']:.3f}"
    if macro.get("roc_auc_ci"):
        figure += " (95 % interval {:.3f} to {:.3f})".format(*macro["roc_auc_ci"])
    return f"{page}: {figure}"
