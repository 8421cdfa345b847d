"""`fundus-diag pretrain`: an encoder learns from photographs without labels."""

import tyro

from fundus_diag.cli.paths import check_file, check_folder
from fundus_diag.cli.quiet import import_tensorflow
from fundus_diag.cli.resume import with_switches
from fundus_diag.training.pretraining.config import PretrainConfig


def pretrain(config: tyro.conf.OmitArgPrefixes[PretrainConfig], dry_run: bool = False):
    """Pretrain an encoder on photographs without labels, as a masked autoencoder.

    Args:
        config: Of the run.
        dry_run: Say what would be trained, on what and how, and stop: nothing is written.

    Example:
        fundus-diag pretrain --manifest all.csv --image-root PHOTOS --run-dir reports/mae
    """
    config = with_switches(config)
    check_file(config.manifest)
    check_folder(config.image_root)
    import_tensorflow()
    from fundus_diag.training.pretraining.pretrain import pretrain as pretrain_run

    weights = pretrain_run(config, dry_run)
    if dry_run:
        return
    start = f"--encoder {config.encoder} --image-size {config.image_size} --weights {weights}"
    start += " --crop none" if config.crop == "none" else ""
    print(f"train a classifier from it with: {start}")
