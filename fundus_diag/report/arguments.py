"""What `report` is asked, looked at before any work."""

import re

from fundus_diag.utils.errors import UsageError

MIN_RESAMPLES = 100


def check_arguments(split, predictions, out, resamples, several=False):
    """Refuses, with a UsageError, arguments that contradict each other.

    Args:
        several: whether several runs are compared.
    """
    if several and predictions is not None:
        raise UsageError("--predictions: of one run; several are compared on a split of their own")
    if several and out is None:
        raise UsageError("several runs are compared in a folder of its own: --out DIR")
    if not re.fullmatch(r"[\w-]{1,40}", split, re.ASCII):
        raise UsageError(f"--split {split!r}: not the name of a split")
    if resamples < MIN_RESAMPLES:
        raise UsageError(f"--resamples {resamples}: an interval needs at least {MIN_RESAMPLES}")
    if predictions is not None and out is None:
        raise UsageError("--predictions needs --out: the run's own report stays as it is")
