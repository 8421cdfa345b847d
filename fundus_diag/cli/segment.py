"""`fundus-diag segment`: networks that outline lesions, vessels, discs."""

from pathlib import Path

import tyro

from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.cli.resume import with_switches
from fundus_diag.training.segment_config import SegmentConfig
from fundus_diag.utils.errors import DataError


def train(config: tyro.conf.OmitArgPrefixes[SegmentConfig]):
    """Train a segmenter in two phases: the decoder alone, then everything.

    The table has a column mask_<name> for each class: a file per photograph; none: somebody looked
    and there is none; nothing: nobody looked. --config FILE takes flags from the config.json of
    another one.

    Args:
        config: Of the run.
    """
    config = with_switches(config)
    check_file(config.manifest)
    check_folder(config.image_root)
    if config.weights not in ("none", "imagenet") and not Path(config.weights).is_file():
        raise DataError(
            f"{config.weights}: no such weights file (--weights imagenet | none | FILE)"
        )
    import_tensorflow()
    from fundus_diag.training.segment import train_segmenter

    run_dir = train_segmenter(config)
    print(f"run: {run_dir}")
    return 0


COMMANDS = {"train": train}
