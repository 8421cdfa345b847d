"""What `report` is asked, looked at before any work."""

import re

from fundus_diag.utils.errors import UsageError

MIN_RESAMPLES = 100


def check_arguments(split, predictions, out, resamples):
    """Refuses, with a UsageError, arguments that contradict each other."""
    if not re.fullmatch(r"[\w-]{1,40}", split, re.ASCII):
        raise UsageError(f"--split {split!r}: not the name of a split")
    if resamples < MIN_RESAMPLES:
        raise UsageError(f"--resamples {resamples}: an interval needs at least {MIN_RESAMPLES}")
    if predictions is not None and out is None:
        raise UsageError("--predictions needs --out: the run's own report stays as it is")
