"""Pretraining: from photographs without labels to the weights of an encoder."""

from fundus_diag.data.inputs import load_inputs, settle_bad, warn_of_blank
from fundus_diag.data.manifest import read_photographs, resolve_images
from fundus_diag.data.pipeline import naming_failures
from fundus_diag.models.encoders import build_encoder
from fundus_diag.models.masked_autoencoder import copy_to_encoder, masked_autoencoder, vit_settings
from fundus_diag.models.weights import h5
from fundus_diag.runs import directory, photographs
from fundus_diag.runs.contents import ENCODER_WEIGHTS
from fundus_diag.runs.log import logged
from fundus_diag.runs.run_files import PRETRAINING
from fundus_diag.training.devices import at_work, check_shares, start
from fundus_diag.training.epochs import say
from fundus_diag.training.first_screen import first_screen, steps_of
from fundus_diag.training.pretraining.loop import fit, prepare
from fundus_diag.utils.errors import DataError, UsageError, counted


def pretrain(config, dry_run=False):
    """Pretrains an encoder; see `config.PretrainConfig` for every choice.

    Writes config.json, history.csv, checkpoint/, loss.png and reconstructions/ along the way, and
    at the end encoder.weights.h5, which `ENCODERS[encoder](image_size)` loads.

    Args:
        config: `PretrainConfig`.
        dry_run: say what would be done, and do nothing; the photographs are not opened.

    Returns:
        The path of the weights.

    Raises:
        DataError: the manifest or photographs cannot be read.
        UsageError: flags are wrong, or the run directory is in use.
    """
    with logged("pretrain") as into:
        return _checked(config.resolved(), dry_run, into)


def _checked(config, dry_run, into):
    manifest = read_photographs(config.manifest)
    images = manifest.table["image"]
    resolve_images(manifest, config.image_root, missing_ok=True)  # the root, and ways out of it
    claim = directory.check_only if dry_run else directory.claimed
    with claim(config, manifest.sha256, PRETRAINING, images) as before:
        if before and before["finished"]:
            say(f"{config.run_dir}: this run is finished")
        else:
            _pretrain(config, manifest, before, into, dry_run)
    return config.run_dir / ENCODER_WEIGHTS


def _pretrain(config, manifest, before, into, dry_run):
    strategy = start(config)
    check_shares(strategy, config.batch_size)
    with at_work(config, strategy) as arithmetic:
        model = build(config)
    wanted = wanted_splits(config, manifest)
    say("\n".join(_first_screen(config, manifest.table, wanted, model, arithmetic)))
    if dry_run:
        return
    pictures, splits, bad = load_photographs(config, manifest, wanted)
    run = prepare(config, model, pictures, splits)
    counts = {
        name: {"rows": len(x.table), "patients": int(x.table["patient"].nunique())}
        for name, x in splits.items()
    }
    learned = [x for x in splits if x in config.splits] if "all" not in splits else None
    seen = photographs.take(manifest.table, config.image_root, learned, {x for x, _ in bad})
    facts = {"kind": PRETRAINING, **directory.describe(config, manifest, counts, bad, model)}
    facts["precision"] = arithmetic
    if before and not before.get(directory.REPLACING):
        photographs.check_same(config.run_dir, seen)
    facts = directory.begin(config, facts, before)
    into(config.run_dir)
    photographs.write(config.run_dir, seen)
    with naming_failures(pictures), at_work(config, strategy):
        fit(run)
        encoder = build_encoder(config.encoder, config.image_size)
        copy_to_encoder(model, encoder)
        record = photographs.learned_from(config, manifest, learned or ["all"])
        h5.save(encoder, config.run_dir / ENCODER_WEIGHTS, record, photographs.numbers(seen))
    directory.finish(config, facts | {"seconds": round(run.state["seconds"], 1)})


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


def _first_screen(config, table, wanted, model, arithmetic):
    """Lines of what is to be done; rows are those of the table, all of which may be readable."""
    counts = {}
    for split in wanted or ("all",):
        rows = table if wanted is None else table[table["split"] == split]
        counts[split] = {"rows": len(rows), "patients": int(rows["patient"].nunique())}
    learned = sum(x["rows"] for split, x in counts.items() if split in (*config.splits, "all"))
    batch = max(1, min(config.batch_size, learned))
    warmup = f", after {counted(config.warmup_epochs, 'epoch')} of warm-up"
    rest = [
        ("task", f"to paint {config.mask_ratio:.0%} of each picture, which is hidden"),
        ("schedule", f"{counted(config.epochs, 'epoch')}, rate {config.rate:.3g}{warmup}"),
        ("steps", steps_of(learned // batch, config.epochs, batch)),
    ]
    return first_screen(config, counts, model, arithmetic, rest)


def wanted_splits(config, manifest):
    """Names of the splits that are read, or None: the table has none, and all of it is.

    Raises:
        UsageError: val is asked for and there is none.
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
        say(f"note: {config.manifest}: {counted(unknown, 'row')} without a split left out")
    return splits


def load_photographs(config, manifest, splits):
    """(`Pictures`, {split: `Rows`}, bad ones) of `wanted_splits`; the others are not opened.

    Raises:
        DataError: photographs cannot be read, or a split has none.
    """
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
