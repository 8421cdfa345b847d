"""`fundus-diag report`: scores of a run, and the page that shows them."""

from pathlib import Path

from fundus_diag.cli.parsing import File
from fundus_diag.cli.paths import check_file
from fundus_diag.cli.quiet import import_tensorflow


def report(
    run: File,
    /,
    predictions: Path | None = None,
    out: Path | None = None,
    split: str = "test",
    resamples: int = 1000,
    explain: bool = True,
):
    """Score a split of a run (test, once) or other predictions, and write the report.

    Args:
        run: Run directory.
        predictions: Predictions of this run on other photographs, scored instead; needs --out.
        out: Folder to write to. Default: the run.
        split: Split of the run's own manifest.
        resamples: Of the bootstrap over patients, for the 95 % intervals.
        explain: Write the page of explanations too: the surest hits, the worst errors.
    """
    from fundus_diag.report.arguments import check_arguments
    from fundus_diag.runs.run_files import read_config

    check_arguments(split, predictions, out, resamples)
    read_config(run)  # what is mistyped is said before TensorFlow is imported
    if predictions is not None:
        check_file(predictions)
    import_tensorflow()
    from fundus_diag.report.report import report_run

    own = predictions is None and out is None
    page, metrics, explanations = report_run(run, predictions, out, split, resamples, explain)
    if explain and own:
        print(explanations or f"no page of explanations: the photographs of {run} are not here")
    print(headline(page, metrics))


def headline(page, metrics):
    """The last line of a report: where it lies and its first figure."""
    macro = metrics["macro"]
    if macro["roc_auc"] is None:
        return f"{page}: macro ROC AUC undefined (no label with both classes)"
    figure = f"macro ROC AUC {macro['roc_auc']:.3f}"
    if macro.get("roc_auc_ci"):
        figure += " (95 % interval {:.3f} to {:.3f})".format(*macro["roc_auc_ci"])
    return f"{page}: {figure}"
