"""Paths of a command line, looked at before TensorFlow is imported, which takes seconds."""

from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import reason


def check_file(path):
    """Raises DataError where a file cannot be opened."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from error


def check_folder(path, what="the image root"):
    """Raises DataError where there is no such folder."""
    if not path.is_dir():
        raise DataError(f"{path}: {what} is not a folder")
