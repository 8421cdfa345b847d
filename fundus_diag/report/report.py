"""`report`: predictions of a split, made when they are not there yet, then scored and drawn."""

import json
from pathlib import Path

from fundus_diag.report.page import write_report
from fundus_diag.runs.predict import predict
from fundus_diag.runs.run_files import read_config
from fundus_diag.utils.errors import DataError


def report_run(run_dir, predictions=None, out=None, split="test", resamples=1000):
    """Scores a split of a run's own manifest, or a table of other predictions of it.

    Args:
        run_dir: a finished run.
        predictions: CSV of `predict`; None scores the split of the run's own manifest, predicting
            it first if that was not done before.
        out: folder for the report; None is the run directory.
        split: name of the split.
        resamples: of the bootstrap.

    Returns:
        (path of the page, metrics as written).

    Raises:
        DataError: files are missing or wrong, or the manifest has changed since the training.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir)
    if predictions is None and not (run_dir / f"predictions_{split}.csv").exists():
        data = config["data"]
        if _sha256(data["manifest"]) != data["sha256"]:
            raise DataError(f"{data['manifest']}: has changed since this run was trained on it")
        predict(
            run_dir,
            data["manifest"],
            data["image_root"],
            run_dir / f"predictions_{split}.csv",
            split=split,
            on_bad_image=config["flags"]["on_bad_image"],
        )
    page = write_report(run_dir, split, predictions, out, resamples)
    metrics = json.loads((page.parent / f"metrics_{split}.json").read_text(encoding="utf-8"))
    return page, metrics


def _sha256(path):
    import hashlib

    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
