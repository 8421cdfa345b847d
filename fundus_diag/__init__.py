"""Multi-label diagnosis of fundus photographs. A research tool, not for clinical use."""

import os

# TensorFlow reads this once, when it is first imported. Its start-up lines (no CUDA here, oneDNN is
# on) would bury the one line that says what a user did wrong; real errors are raised as well.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"


def load_run(run_dir):
    """Opens a finished run; see `fundus_diag.runs.load_run`."""
    from fundus_diag.runs import load_run  # Keras takes seconds to import: only when it is needed

    return load_run(run_dir)
