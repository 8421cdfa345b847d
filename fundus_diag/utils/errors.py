"""The two mistakes a user can make; the command line prints either as one line."""


class DataError(ValueError):
    """A file, row or image is wrong; the message names it. Exit status 1."""


class UsageError(ValueError):
    """A flag is wrong or two flags contradict each other; the message names them. Exit status 2."""
