"""Multi-label diagnosis of fundus photographs. A research tool, not for clinical use."""

from fundus_diag.utils.version import __version__

__all__ = ["__version__", "load_run"]


def load_run(run_dir):
    """Opens a finished run; see `fundus_diag.runs.run.load_run`."""
    from fundus_diag.runs.run import load_run

    return load_run(run_dir)
