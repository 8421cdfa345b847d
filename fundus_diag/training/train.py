"""Training: from a manifest to a finished run directory. The epochs themselves are in `loop`."""

import contextlib
from dataclasses import replace

import numpy as np

from fundus_diag.data.findings import texts_of, unknown_of
from fundus_diag.data.inputs import Inputs, load_inputs, settle_bad, warn_of_blank
from fundus_diag.data.labels import SPLITS
from fundus_diag.data.manifest import (
    check_trainable,
    pair_eyes,
    read_manifest,
    resolve_images,
    summary,
    without,
)
from fundus_diag.data.patients import own_patients
from fundus_diag.data.pipeline import naming_failures
from fundus_diag.metrics import calibration
from fundus_diag.metrics.grades import cut_of
from fundus_diag.models.options import parse_options
from fundus_diag.models.weights import h5
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.runs import directory, photographs
from fundus_diag.runs.contents import CONFIG, THRESHOLDS, WEIGHTS
from fundus_diag.runs.familiarity import fit_familiarity, save_familiarity, with_limit
from fundus_diag.runs.log import logged
from fundus_diag.runs.predict import predict_rows, prediction_table
from fundus_diag.runs.quality import fit_quality, why_poor_rows
from fundus_diag.runs.run import OWN_FLAGS, build_model
from fundus_diag.runs.run_files import CLASSIFIER, all_flags, leaks, read_config
from fundus_diag.runs.same_flags import FREE_FLAGS, flags
from fundus_diag.runs.thresholds import check_possible, save_operating_points
from fundus_diag.training import jax_hosts
from fundus_diag.training.classify import classification, steps_of
from fundus_diag.training.devices import at_work, check_shares, start
from fundus_diag.training.epochs import say
from fundus_diag.training.first_screen import first_screen, two_phases
from fundus_diag.training.jax_hosts import ALONE
from fundus_diag.training.loop import Fitting, fit
from fundus_diag.training.phases import check_block
from fundus_diag.training.sampling import draw_epoch, held_back, sampling_plan
from fundus_diag.training.seen import learned_by, start_record
from fundus_diag.training.validation import JUDGED, JUDGES
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.files import write_csv
from fundus_diag.utils.mixed_precision import on_jax


def train(config, hosts=ALONE, dry_run=False):
    """Trains a run and returns its directory; see `config.TrainConfig` for every choice.

    Writes config.json, history.csv, checkpoint/, tensorboard/ along the way, and at the end
    model.weights.h5, thresholds.json (fitted on `val`) and predictions_val.csv. `test` is not
    touched: `report` scores it, once.

    Args:
        config: `TrainConfig`.
        hosts: `jax_hosts.Hosts` that train it together; the first one writes.
        dry_run: say what would be done, and do nothing; the photographs are not opened.

    Raises:
        DataError: the manifest or photographs are not fit for training, or the folder cannot be
            written.
        UsageError: flags are wrong, or the run directory is in use.
    """
    with logged("train") as into:
        return _checked(config.resolved(), hosts, dry_run, into)


def _checked(config, hosts, dry_run, into):
    hosts.check()
    check_backend_can(config)
    manifest = without(read_manifest(config.manifest, need_split=True), config.without_labels)
    for warning in check_trainable(manifest, config.unit):
        say(f"warning: {warning}")
    if config.task == "findings" and (unknown := unknown_of(manifest.labels)):
        say(f"warning: {config.manifest}: no finding of the vocabulary: {', '.join(unknown)}")
    words = config.task == "findings" and manifest.task == "multi_label"
    if config.task != manifest.task and not words:
        raise UsageError(
            f"--task {config.task}: {config.manifest} is a table for --task {manifest.task}"
        )
    if config.task == "grade":
        cut_of(len(manifest.labels), config.referable_cut)
    check_possible(config.run_dir / THRESHOLDS, manifest.labels, config.criterion)
    images = manifest.table["image"]
    # Missing ones are said now; where they are left out they are found by reading.
    resolve_images(manifest, config.image_root, missing_ok=config.on_bad_image == "skip")
    with jax_hosts.together(hosts):
        told = {"the manifest": manifest.sha256, "what its flags say": _told(config)}
        jax_hosts.agree(hosts, told)
        if dry_run:
            claim = directory.check_only(config, manifest.sha256, CLASSIFIER, images)
        elif hosts.first:
            claim = directory.claimed(config, manifest.sha256, CLASSIFIER, images)
        else:  # the first holds the folder; what is in it does not change before all are here
            claim = contextlib.nullcontext(_begun(config))
        with claim as before:
            if before and before["finished"]:
                say(f"{config.run_dir}: this run is finished")
            else:
                config = config.going_on(before and all_flags(before))
                _train(config, manifest, before, hosts, into, dry_run)
    return config.run_dir


def _begun(config):
    """The `config.json` of the run to go on with, or None, for a host that does not hold it."""
    there = config.resume and (config.run_dir / CONFIG).is_file()
    return read_config(config.run_dir, CLASSIFIER, finished=False) if there else None


def _told(config):
    """All flags of a training that each of its hosts has to be told alike."""
    said = flags(config)
    return repr(sorted((x, y) for x, y in said.items() if x not in FREE_FLAGS))


def _train(config, manifest, before, hosts, into, dry_run):
    strategy = start(config)
    check_shares(strategy, config.batch_size)
    with at_work(config, strategy) as arithmetic:
        model, pretrained = _build(config, manifest.labels)
    check_block(model, config.unfreeze_from)
    if hosts.first:
        say("\n".join(_first_screen(config, manifest, model, arithmetic)))
    if dry_run:
        return
    inputs, test = load_training_inputs(config, manifest)
    plan = sampling_plan(config, inputs.splits["train"].y)
    if config.resampled_val_on_purpose:
        say("warning: val is scored with its rare rows repeated, on purpose: its figures mislead")
        inputs.splits["val"] = _resampled(config, inputs.splits["val"])
    for warning in held_back(config, inputs.splits["train"].y, manifest.labels):
        say(f"warning: {warning}")
    if not hosts.first:
        jax_hosts.wait(hosts)  # until the folder is ready
        with naming_failures(inputs.pictures), at_work(config, strategy):
            task = classification(config, model, inputs, manifest.labels, pretrained, plan, hosts)
            fit(Fitting(config, model, pretrained, task, hosts=hosts))
        return
    seen = photographs.take(manifest.table, config.image_root, SPLITS, {x for x, _ in inputs.bad})
    facts = _describe(config, manifest, inputs, test, model, pretrained, plan)
    facts |= {"precision": arithmetic, "weights_record": start_record(config, manifest, seen)}
    learned = learned_by(config, manifest, seen)
    for warning in leaks(facts["weights_record"]):
        say(f"warning: {warning}")
    if before and not before.get(directory.REPLACING):
        photographs.check_same(config.run_dir, seen)
    facts = directory.begin(config, facts, before)
    into(config.run_dir)
    photographs.write(config.run_dir, seen)
    jax_hosts.wait(hosts)
    with naming_failures(inputs.pictures):
        with at_work(config, strategy):
            task = classification(config, model, inputs, manifest.labels, pretrained, plan, hosts)
            state = fit(Fitting(config, model, pretrained, task, hosts=hosts))
            h5.save(model, config.run_dir / WEIGHTS, *learned)
        limits = fit_quality(config.run_dir, inputs.pictures, inputs.splits["train"])
        _set_operating_points(config, model, inputs, limits)
    facts |= {"best_epoch": state["best_epoch"], "seconds": round(state["seconds"], 1)}
    directory.finish(config, facts)


def _first_screen(config, manifest, model, arithmetic):
    """Lines of what is to be done; rows are those of the table, all of which may be readable."""
    rows = manifest if config.unit == "eye" else pair_eyes(manifest)
    train = rows.table[rows.table["split"] == "train"]
    factors, _, _ = sampling_plan(config, train[list(rows.labels)].to_numpy("float32"))
    what = f"{config.task.replace('_', ' ')}, {len(rows.labels)} labels"
    if len(train) != round(factors.sum()):
        what += f"; with rare ones repeated {round(factors.sum()):,} rows an epoch"
    parts = (
        "the head",
        "everything" if not config.unfreeze_from else f"{config.unfreeze_from} and on",
    )
    judged = JUDGED[JUDGES[config.select]]
    rest = [("labels", what), *two_phases(config, steps_of(config, factors), judged, parts)]
    counts = summary(rows.table, rows.labels)
    unit = "photograph" if config.unit == "eye" else "row"
    return first_screen(config, counts, model, arithmetic, rest, unit)


def check_backend_can(config):
    """Raises UsageError where flags are asked for that Keras on JAX does not do."""
    if on_jax() and config.reweight:
        raise UsageError("--reweight: the weights of a compiled step on JAX stay as they are")
    if on_jax() and config.deterministic:
        raise UsageError("--deterministic: of TensorFlow")


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
    return _classifier(config, labels, weights=encoder), pretrained


def _classifier(config, labels, **more):
    own = {name: getattr(config, name) for name in OWN_FLAGS}
    if config.task == "findings":
        own["phrases"] = list(texts_of(labels).values())
    return build_model(config.encoder, config.image_size, len(labels), config.unit, **own, **more)


def _resampled(config, rows):
    """`Rows` with those of rare labels repeated, as an epoch of train has them."""
    factors, _, _ = sampling_plan(config, rows.y)
    order = np.sort(draw_epoch(factors, config.seed, 0))
    table = rows.table.iloc[order].reset_index(drop=True)
    return replace(rows, table=table, pictures=rows.pictures[order], y=rows.y[order])


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
        "own_patients": own_patients(manifest.table),
        "rows_per_epoch": round(float(factors.sum()), 1),
        "repeat_factors": dict(zip(labels, repeats.round(4).tolist(), strict=True)),
        "pos_weight": dict(zip(labels, weights.round(4).tolist(), strict=True)),
    }
    words = {"phrases": texts_of(labels)} if config.task == "findings" else {}
    return {**facts, "labels": labels, **words, "pretrained": pretrained}


def _set_operating_points(config, model, inputs, limits):
    """Fits calibration, thresholds and what is unfamiliar on `val`, in float32 as `predict` is.

    `limits`: of `fit_quality`, by which photographs of val are called poor.
    """
    rows = inputs.splits["val"]
    exact = _in_float32(model, config, rows.labels)
    fitted = fit_familiarity(exact, inputs.pictures, inputs.splits["train"])
    logits, distance = predict_rows(exact, fitted, inputs.pictures, rows)
    fitted, distance = with_limit(fitted, distance)
    save_familiarity(config.run_dir, fitted)
    how = {"criterion": config.criterion, "task": config.task, "cut": config.referable_cut}
    points = calibration.fit_operating_points(rows.y, logits, rows.labels, **how)
    for note in calibration.notes(points):
        say(f"warning: {note}")
    save_operating_points(config.run_dir / THRESHOLDS, points)
    probabilities = calibration.apply_calibration(logits, points, rows.labels)
    poor = why_poor_rows(inputs.pictures, rows.pictures, limits)
    table = prediction_table(rows, rows.labels, probabilities, poor, distance)
    write_csv(config.run_dir / "predictions_val.csv", table)


def _in_float32(model, config, labels):
    """The trained network itself, or where layers of it compute in less, another of its weights."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    exact = _classifier(config, labels)
    exact.set_weights(model.get_weights())
    return exact
