"""Paths of a command line, looked at before TensorFlow is imported, which takes seconds."""

from pathlib import Path

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


def check_start(config):
    """Raises DataError where the table, the photographs or the weights of a training are not."""
    check_file(config.manifest)
    check_folder(config.image_root)
    if config.weights not in ("none", "imagenet") and not Path(config.weights).is_file():
        raise DataError(
            f"{config.weights}: no such weights file (--weights imagenet | none | FILE)"
        )
