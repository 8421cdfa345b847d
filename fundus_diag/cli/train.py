"""`fundus-diag train`: a classifier in two phases."""

from pathlib import Path

import tyro

from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.cli.resume import with_switches
from fundus_diag.training.config import TrainConfig
from fundus_diag.utils.errors import DataError


def train(config: tyro.conf.OmitArgPrefixes[TrainConfig]):
    """Train a classifier in two phases: the head alone, then everything.

    --config FILE takes flags from a file: the config.json of any run, or what `search` chose; those
    on the command line count more.
    """
    config = with_switches(config)
    check_file(config.manifest)
    check_folder(config.image_root)
    if config.weights not in ("none", "imagenet") and not Path(config.weights).is_file():
        raise DataError(
            f"{config.weights}: no such weights file (--weights imagenet | none | FILE)"
        )
    import_tensorflow()
    from fundus_diag.report.report import report_run
    from fundus_diag.training.train import train as train_run

    run_dir = train_run(config)
    page, _, _ = report_run(run_dir, split="val")
    print(f"validation report: {page}")
    print(f"score test, once, with: fundus-diag report {run_dir}")
