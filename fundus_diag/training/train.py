"""Training: from a manifest to a finished run directory. The epochs themselves are in `loop`."""

import dataclasses
import sys
from functools import partial

import keras
import tensorflow as tf

from fundus_diag.data.inputs import Inputs, load_inputs, settle_bad
from fundus_diag.data.manifest import check_trainable, read_manifest
from fundus_diag.metrics import calibration
from fundus_diag.models.options import parse_options
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.runs import directory
from fundus_diag.runs.predict import predict_logits, prediction_table
from fundus_diag.runs.run import WEIGHTS, build_model, load_run
from fundus_diag.runs.run_files import leaks, read_config
from fundus_diag.runs.thresholds import save_operating_points
from fundus_diag.training.distributed import device_strategy
from fundus_diag.training.loop import fit, prepare
from fundus_diag.training.sampling import sampling_plan
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import atomic, write_csv, write_json
from fundus_diag.utils.mixed_precision import precision


def train(config):
    """Trains a run and returns its directory; see `config.TrainConfig` for every choice.

    Writes config.json, history.csv, checkpoint/, tensorboard/ along the way, and at the end
    model.weights.h5, thresholds.json (fitted on `val`) and predictions_val.csv. `test` is not
    touched: `report` scores it, once.

    Raises:
        DataError: the manifest or photographs are not fit for training.
        UsageError: flags are wrong, or the run directory is in use.
    """
    config = config.resolved()
    manifest = read_manifest(config.manifest, need_split=True)
    for warning in check_trainable(manifest):
        print(f"warning: {warning}", file=sys.stderr)
    if config.task != manifest.task:
        raise UsageError(f"--task {config.task}: {config.manifest} holds {manifest.task} labels")
    before = directory.claim(config, manifest.sha256, partial(read_config, finished=False))
    if before and before["finished"]:
        print(f"{config.run_dir}: this run is finished", file=sys.stderr)
        return config.run_dir
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    strategy = device_strategy()
    with precision(config.precision) as arithmetic, strategy.scope():
        model, pretrained = _build(config, manifest.labels)
    # Outside: reduced precision is for the network, never for the pictures.
    inputs, test = load_training_inputs(config, manifest)
    plan = sampling_plan(config, inputs.splits["train"].y)
    facts = directory.describe(config, manifest, inputs, test, model, pretrained, plan)
    for warning in leaks(facts["weights_record"]):
        print(f"warning: {warning}", file=sys.stderr)
    facts["precision"] = arithmetic
    directory.make_room(config)
    write_json(config.run_dir / "config.json", facts)
    with precision(config.precision), strategy.scope():
        state = fit(prepare(config, model, inputs, manifest.labels, pretrained, plan))
        with atomic(config.run_dir / WEIGHTS) as file:
            model.save_weights(file)
    facts |= {"best_epoch": state["best_epoch"], "seconds": round(state["seconds"], 1)}
    _set_operating_points(config, manifest, inputs)
    write_json(config.run_dir / "config.json", {**facts, "finished": directory.now()})
    return config.run_dir


def load_training_inputs(config, manifest):
    """(`Inputs` of train and val, table of test's rows).

    The photographs of test are read once, to know that they can be, and not kept.

    Raises:
        DataError: photographs cannot be read (all splits' named at once), or, with
            --on-bad-image skip, none is left in train or val.
    """
    common = {
        "image_size": config.image_size,
        "crop": config.crop,
        "unit": config.unit,
    }
    kept = {
        "cache": config.cache,
        "cache_dir": config.cache_dir or config.run_dir.parent / ".pictures",
    }
    inputs = load_inputs(manifest, config.image_root, splits=("train", "val"), **kept, **common)
    tested = load_inputs(manifest, config.image_root, splits=("test",), **common)
    bad = [*inputs.bad, *tested.bad]
    settle_bad(bad, config.on_bad_image)
    for split, rows in inputs.splits.items():
        if not len(rows.table):
            raise DataError(f"{config.manifest}: no readable photograph in split {split!r}")
    return Inputs(inputs.pictures, inputs.splits, bad), tested.splits["test"].table


def _build(config, labels):
    """(classifier, pretrained); the size and name of the encoder are checked on the way."""
    options = parse_options(config.encoder, config.encoder_options)
    encoder, pretrained = load_encoder(config.encoder, config.image_size, config.weights, **options)
    facts = {**dataclasses.asdict(config), "labels": labels}
    return build_model({**facts, "flags": facts}, weights=encoder), pretrained


def _set_operating_points(config, manifest, inputs):
    """Fits calibration and thresholds on `val`, in float32 as `predict` will compute."""
    run = load_run(config.run_dir, finished=False)
    rows = inputs.splits["val"]
    logits = predict_logits(run.model, inputs.pictures, rows)
    labels = list(manifest.labels)
    points = calibration.fit_operating_points(
        rows.y, logits, labels, criterion=config.criterion, task=config.task
    )
    save_operating_points(config.run_dir / "thresholds.json", points)
    probabilities = calibration.apply_calibration(logits, points, labels)
    table = prediction_table(rows, labels, labels, probabilities)
    write_csv(config.run_dir / "predictions_val.csv", table)
