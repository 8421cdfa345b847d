"""`report`: predictions of a split, made when they are not there yet, then scored and drawn."""

import functools
from pathlib import Path

from fundus_diag.report.arguments import check_arguments
from fundus_diag.report.explanations import write_explanations
from fundus_diag.report.page import write_report
from fundus_diag.runs.lock import locked
from fundus_diag.runs.predict import predict
from fundus_diag.runs.run import load_run
from fundus_diag.runs.run_files import own_photographs, own_table, read_config
from fundus_diag.runs.scored import count_scoring
from fundus_diag.utils.errors import DataError


def report_run(run_dir, predictions=None, out=None, split="test", resamples=1000, explain=False):
    """Scores a split of a run's own manifest, or a table of other predictions of it.

    Args:
        run_dir: a finished run.
        predictions: CSV of `predict`; None scores the split of the run's own manifest, predicting
            it first if that was not done before.
        out: folder for the report; None is the run directory.
        split: name of the split.
        resamples: of the bootstrap.
        explain: whether the page of explanations is written too: of the run's own split, in its
            own folder.

    Returns:
        (path of the page, metrics as written, path of the explanations or None where the
        photographs are not here or they were not asked for).

    Raises:
        DataError: files are missing or wrong or cannot be written, or the manifest has changed
            since the training.
        UsageError: the arguments contradict each other, or another process is writing there.
    """
    check_arguments(split, predictions, out, resamples)
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise DataError(f"{run_dir}: not a directory")
    config, run = read_config(run_dir), None
    own = run_dir / f"predictions_{split}.csv"
    if predictions is None and not own.exists():
        table, root, reason = own_table(config)
        if reason:
            where = config["data"].get("manifest")
            at = f" ({where})" if where else ""
            raise DataError(f"{own}: not here, and cannot be made: {reason}{at}")
    else:
        table = root = None
    with locked(out or run_dir):
        if table is not None:
            run, skip_or_fail = load_run(run_dir, config), config["flags"]["on_bad_image"]
            predict(run, table, root, own, split=split, on_bad_image=skip_or_fail)
        count, explanations = None, None
        if split == "test" and predictions is None:
            count = functools.partial(count_scoring, run_dir, split)
        explain = explain and predictions is None and out is None
        explain = explain and own_photographs(config) is not None
        page, metrics = write_report(
            run_dir, config, split, predictions, out, resamples, count, explain
        )
        if explain:
            explanations = write_explanations(run or load_run(run_dir, config), split)
    return page, metrics, explanations
