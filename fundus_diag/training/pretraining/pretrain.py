"""Pretraining: from photographs without labels to the weights of an encoder."""

from fundus_diag.data.inputs import load_inputs, settle_bad, warn_of_blank
from fundus_diag.data.manifest import read_photographs
from fundus_diag.models.encoders import build_encoder
from fundus_diag.models.masked_autoencoder import copy_to_encoder, masked_autoencoder, vit_settings
from fundus_diag.models.weights import h5
from fundus_diag.runs import directory
from fundus_diag.runs.run_files import ENCODER_WEIGHTS, PRETRAINING
from fundus_diag.training.devices import at_work, start
from fundus_diag.training.epochs import say
from fundus_diag.training.pretraining.loop import fit, prepare
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.version import __version__


def pretrain(config):
    """Pretrains an encoder; see `config.PretrainConfig` for every choice.

    Writes config.json, history.csv, checkpoint/, loss.png and reconstructions/ along the way, and
    at the end encoder.weights.h5, which `ENCODERS[encoder](image_size)` loads.

    Returns:
        The path of the weights.

    Raises:
        DataError: the manifest or photographs cannot be read.
        UsageError: flags are wrong, or the run directory is in use.
    """
    config = config.resolved()
    manifest = read_photographs(config.manifest)
    weights = config.run_dir / ENCODER_WEIGHTS
    before = directory.claim(config, manifest.sha256, PRETRAINING)
    if before and before["finished"]:
        say(f"{config.run_dir}: this run is finished")
        return weights
    strategy = start(config)
    with at_work(config, strategy) as arithmetic:
        model = build(config)
    pictures, splits, bad = load_photographs(config, manifest)
    run = prepare(config, model, pictures, splits)
    counts = {
        name: {"rows": len(x.table), "patients": int(x.table["patient"].nunique())}
        for name, x in splits.items()
    }
    facts = {"kind": PRETRAINING, **directory.describe(config, manifest, counts, bad, model)}
    facts["precision"] = arithmetic
    directory.begin(config, facts)
    with at_work(config, strategy):
        fit(run)
        encoder = build_encoder(config.encoder, config.image_size)
        copy_to_encoder(model, encoder)
        h5.save(encoder, weights, _record(config, manifest))
    directory.finish(config, facts | {"seconds": round(run.state["seconds"], 1)})
    return weights


def build(config):
    """The network of a `PretrainConfig`, resolved."""
    return masked_autoencoder(
        config.image_size,
        **vit_settings(config.encoder),
        mask_ratio=config.mask_ratio,
        decoder_depth=config.decoder_depth,
        decoder_width=config.decoder_width,
        normalise_target=config.normalise_target,
    )


def load_photographs(config, manifest):
    """(`Pictures`, {split: `Rows`}, bad ones) of the splits wanted; the others are not opened.

    Raises:
        DataError: photographs cannot be read, or a split has none.
    """
    splits, table = config.splits, manifest.table
    if "split" not in table:
        if config.val_loss:
            raise UsageError(f"--val-loss: {config.manifest} has no column split")
        say(f"note: {config.manifest}: no column split, all {len(table)} rows taken")
        splits = None
    elif config.val_loss:
        splits = (*splits, "val")
    if {"val", "test"} & set(config.splits) and splits:
        say("warning: learning from val or test: later scores on it mislead")
    unknown = int((table["split"] == "").sum()) if splits else 0
    if unknown:
        say(f"note: {config.manifest}: {unknown} rows without a split left out")
    inputs = load_inputs(
        manifest,
        config.image_root,
        image_size=config.source_size,
        unit="eye",
        splits=splits,
        **config.reading,
    )
    settle_bad(inputs.bad, config.on_bad_image)
    warn_of_blank(inputs.pictures)
    for split, rows in inputs.splits.items():
        if not len(rows.table):
            where = "" if split == "all" else f" in split {split!r}"
            raise DataError(f"{config.manifest}: no readable photograph{where}")
    return inputs.pictures, inputs.splits, inputs.bad


def _record(config, manifest):
    """What the weights were learned from; a run that starts from them repeats it."""
    return {
        "pretrained_on": {
            "manifest": config.manifest.name,
            "sha256": manifest.sha256,
            "splits": list(config.splits),
        },
        "encoder": config.encoder,
        "image_size": config.image_size,
        "version": __version__,
    }
