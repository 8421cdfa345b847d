"""`fundus-diag train`: a classifier in two phases."""

import tyro

from fundus_diag.cli.paths import check_start
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.cli.resume import with_switches
from fundus_diag.training.config import TrainConfig
from fundus_diag.training.jax_hosts import Hosts, watched


def train(
    config: tyro.conf.OmitArgPrefixes[TrainConfig],
    dry_run: bool = False,
    hosts: int = 1,
    host_index: int = 0,
    coordinator: str | None = None,
):
    """Train a classifier in two phases: the head alone, then everything.

    --config FILE takes flags from a file: the config.json of any run, or what `search` chose; those
    on the command line count more. With KERAS_BACKEND=jax it is trained by JAX.

    Args:
        config: Of the run.
        dry_run: Say what would be trained, on what and how, and stop: nothing is written.
        hosts: Machines that train it together, by JAX: the same command on each, with its number,
            and with --run-dir on a disk that all of them share.
        host_index: Number of this machine, from 0; the first one writes the run.
        coordinator: ADDRESS:PORT of the first machine, a port that is free there.

    Example:
        fundus-diag train --manifest odir_split.csv --image-root ODIR --run-dir reports/odir
        fundus-diag train --run-dir reports/odir --resume
    """
    machines = Hosts(hosts, host_index, coordinator)
    machines.check()
    if hosts > 1:
        status = watched(machines)
        if status is not None:
            return status
    config = with_switches(config)
    check_start(config)
    import_tensorflow(("tensorflow", "jax"))
    from fundus_diag.report.report import report_run
    from fundus_diag.training.train import train as train_run

    run_dir = train_run(config, machines, dry_run)
    if dry_run or not machines.first:
        return 0
    page, _, _ = report_run(run_dir, split="val")
    print(f"validation report: {page}")
    print(f"score test, once, with: fundus-diag report {run_dir}")
    return 0
