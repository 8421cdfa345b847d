"""Multi-label diagnosis of fundus photographs. A research tool, not for clinical use."""

__version__ = "0.1.0"


def load_run(run_dir):
    """Opens a finished run; see `fundus_diag.runs.load_run`."""
    from fundus_diag.runs import load_run  # Keras takes seconds to import: only when it is needed

    return load_run(run_dir)
