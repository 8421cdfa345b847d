"""Training: from a manifest to a finished run directory. The epochs themselves are in `loop`."""

from fundus_diag.data.inputs import Inputs, load_inputs, settle_bad, warn_of_blank
from fundus_diag.data.manifest import check_trainable, read_manifest, summary
from fundus_diag.metrics import calibration
from fundus_diag.models.options import parse_options
from fundus_diag.models.weights.load import load_encoder, weights_record
from fundus_diag.runs import directory
from fundus_diag.runs.predict import predict_logits, prediction_table
from fundus_diag.runs.run import OWN_FLAGS, WEIGHTS, build_model
from fundus_diag.runs.run_files import CLASSIFIER, leaks
from fundus_diag.runs.thresholds import save_operating_points
from fundus_diag.training.devices import at_work, start
from fundus_diag.training.epochs import say
from fundus_diag.training.loop import fit, prepare
from fundus_diag.training.sampling import sampling_plan
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import atomic, write_csv


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
        say(f"warning: {warning}")
    if config.task != manifest.task:
        raise UsageError(f"--task {config.task}: {config.manifest} holds {manifest.task} labels")
    before = directory.claim(config, manifest.sha256, CLASSIFIER)
    if before and before["finished"]:
        say(f"{config.run_dir}: this run is finished")
        return config.run_dir
    strategy = start(config)
    with at_work(config, strategy) as arithmetic:
        model, pretrained = _build(config, manifest.labels)
    inputs, test = load_training_inputs(config, manifest)
    plan = sampling_plan(config, inputs.splits["train"].y)
    facts = _describe(config, manifest, inputs, test, model, pretrained, plan)
    facts["precision"] = arithmetic
    for warning in leaks(facts["weights_record"]):
        say(f"warning: {warning}")
    directory.begin(config, facts)
    with at_work(config, strategy):
        state = fit(prepare(config, model, inputs, manifest.labels, pretrained, plan))
        with atomic(config.run_dir / WEIGHTS) as file:
            model.save_weights(file)
    _set_operating_points(config, model, inputs)
    facts |= {"best_epoch": state["best_epoch"], "seconds": round(state["seconds"], 1)}
    directory.finish(config, facts)
    return config.run_dir


def load_training_inputs(config, manifest):
    """(`Inputs` of train and val, table of test's rows).

    The photographs of test are read once, to know that they can be, and not kept.

    Raises:
        DataError: photographs cannot be read (all splits' named at once), or, with
            --on-bad-image skip, none is left in train or val.
    """
    wanted = {"image_size": config.image_size, "unit": config.unit, **config.reading}
    inputs = load_inputs(manifest, config.image_root, splits=("train", "val"), **wanted)
    wanted["cache"] = "none"
    tested = load_inputs(manifest, config.image_root, splits=("test",), **wanted)
    bad = [*inputs.bad, *tested.bad]
    settle_bad(bad, config.on_bad_image)
    warn_of_blank(inputs.pictures, tested.pictures)
    for split, rows in inputs.splits.items():
        if not len(rows.table):
            raise DataError(f"{config.manifest}: no readable photograph in split {split!r}")
    return Inputs(inputs.pictures, inputs.splits, bad), tested.splits["test"].table


def _build(config, labels):
    """(classifier, pretrained); the size and name of the encoder are checked on the way."""
    options = parse_options(config.encoder, config.encoder_options)
    encoder, pretrained = load_encoder(config.encoder, config.image_size, config.weights, **options)
    return _classifier(config, len(labels), weights=encoder), pretrained


def _classifier(config, num_labels, **more):
    own = {name: getattr(config, name) for name in OWN_FLAGS}
    return build_model(config.encoder, config.image_size, num_labels, config.unit, **own, **more)


def _describe(config, manifest, inputs, test, model, pretrained, plan):
    """`config.json` of a run that starts. `test`: its rows, which are counted, nothing more."""
    factors, repeats, weights = plan
    labels = list(manifest.labels)
    tables = {name: rows.table for name, rows in inputs.splits.items()}
    if len(test):
        tables["test"] = test
    splits = {
        name: summary(table.assign(split=name), labels)[name] for name, table in tables.items()
    }
    facts = directory.describe(config, manifest, splits, inputs.bad, model)
    facts["data"] |= {
        "rows_per_epoch": round(float(factors.sum()), 1),
        "repeat_factors": dict(zip(labels, repeats.round(4).tolist(), strict=True)),
        "pos_weight": dict(zip(labels, weights.round(4).tolist(), strict=True)),
    }
    own = {"labels": labels, "pretrained": pretrained}
    return {**facts, **own, "weights_record": weights_record(config.weights)}


def _set_operating_points(config, model, inputs):
    """Fits calibration and thresholds on `val`, in float32 as `predict` will compute."""
    rows = inputs.splits["val"]
    logits = predict_logits(_in_float32(model, config, len(rows.labels)), inputs.pictures, rows)
    points = calibration.fit_operating_points(
        rows.y, logits, rows.labels, criterion=config.criterion, task=config.task
    )
    save_operating_points(config.run_dir / "thresholds.json", points)
    probabilities = calibration.apply_calibration(logits, points, rows.labels)
    table = prediction_table(rows, rows.labels, probabilities)
    write_csv(config.run_dir / "predictions_val.csv", table)


def _in_float32(model, config, num_labels):
    """The trained network itself, or where layers of it compute in less, another of its weights."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    exact = _classifier(config, num_labels)
    exact.set_weights(model.get_weights())
    return exact
