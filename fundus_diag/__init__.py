"""Multi-label diagnosis of fundus photographs. A research tool, not for clinical use."""

import os

# TensorFlow reads this once, when it is first imported: its start-up notices are not ours to print.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__version__ = "0.1.0"


def load_run(run_dir):
    """Opens a finished run; see `fundus_diag.runs.load_run`."""
    from fundus_diag.runs import load_run  # Keras takes seconds to import: only when it is needed

    return load_run(run_dir)
