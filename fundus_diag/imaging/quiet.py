"""Libraries that read files say nothing while they do: what is wrong is said in one line of ours.

Their warnings and logs may hold what stands in a file: names, dates, numbers of people.
"""

import contextlib
import logging
import threading
import warnings

_LOCK = threading.RLock()  # warnings and loggers are the whole process's


@contextlib.contextmanager
def quiet(logger: str = "PIL"):
    """Context without warnings and without what the logger called `logger` says; for short work."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = logging.getLogger(logger)
        before, log.disabled = log.disabled, True
        try:
            yield
        finally:
            log.disabled = before
