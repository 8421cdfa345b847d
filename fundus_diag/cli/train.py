"""`fundus-diag train`: a classifier in two phases."""

import tyro

from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.training.config import TrainConfig


def train(config: tyro.conf.OmitArgPrefixes[TrainConfig]):
    """Train a classifier in two phases: the head alone, then everything."""
    import_tensorflow()
    from fundus_diag.report.report import report_run
    from fundus_diag.training.train import train as train_run

    run_dir = train_run(config)
    page, _, _ = report_run(run_dir, split="val")
    print(f"validation report: {page}")
    print(f"score test, once, with: fundus-diag report {run_dir}")
