"""Training of a segmenter: from a manifest with masks to a finished run directory.

The epochs, phases, state and everything that survives a kill are those of classification: see
`loop`, of which segmentation is a task.
"""

import dataclasses

import numpy as np

from fundus_diag.data.labels import SPLITS
from fundus_diag.data.manifest import check_splits, read_photographs, resolve_images
from fundus_diag.data.outlined import WHOLE, classes_of
from fundus_diag.data.patches import patch_batches, places
from fundus_diag.metrics.segmentation import average_precision_of, best_threshold_of
from fundus_diag.models.options import parse_options
from fundus_diag.models.segmenter import set_shares
from fundus_diag.models.weights import h5
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.runs import directory, photographs
from fundus_diag.runs.contents import THRESHOLDS, WEIGHTS
from fundus_diag.runs.freeze import inference
from fundus_diag.runs.log import logged
from fundus_diag.runs.run_files import SEGMENTER, leaks
from fundus_diag.runs.segmenter import build_from
from fundus_diag.runs.thresholds import check_possible, save_operating_points
from fundus_diag.runs.windows import over_windows
from fundus_diag.training.devices import at_work, check_shares, start
from fundus_diag.training.epochs import say
from fundus_diag.training.first_screen import first_screen, mask_counts, two_phases
from fundus_diag.training.loop import STATISTICS_BATCHES, Fitting, Learner, Task, fit
from fundus_diag.training.losses import OverlapCrossentropy
from fundus_diag.training.phases import check_block
from fundus_diag.training.seen import learned_by, start_record
from fundus_diag.training.segment_inputs import check_masks, load_splits, shares
from fundus_diag.utils.mixed_precision import precision

JUDGE = "val_dice"


def train_segmenter(config, dry_run=False):
    """Trains a run and returns its directory; see `segment_config.SegmentConfig` for every choice.

    Writes config.json, history.csv, checkpoint/, tensorboard/ along the way, and at the end
    model.weights.h5 and thresholds.json, chosen on `val`. `test` is read once, to know that it can
    be, and not scored.

    Args:
        config: `SegmentConfig`.
        dry_run: say what would be done, and do nothing; the photographs are not opened.

    Raises:
        DataError: the manifest, photographs or masks are not fit for training, or the folder cannot
            be written.
        UsageError: flags are wrong, or the run directory is in use.
    """
    with logged("segment train") as into:
        return _checked(config.resolved(), dry_run, into)


def _checked(config, dry_run, into):
    manifest = read_photographs(config.manifest)
    table, path = manifest.table, config.manifest
    classes = classes_of(table, config.classes, path)
    for warning in check_splits(manifest):
        say(f"warning: {warning}")
    check_possible(config.run_dir / THRESHOLDS, classes, "f1")
    resolve_images(manifest, config.image_root, missing_ok=config.on_bad_image == "skip")
    images = table["image"]
    claim = directory.check_only if dry_run else directory.claimed
    with claim(config, manifest.sha256, SEGMENTER, images) as before:
        if before and before["finished"]:
            say(f"{config.run_dir}: this run is finished")
        else:
            _train(config, manifest, classes, before, into, dry_run)
    return config.run_dir


def _train(config, manifest, classes, before, into, dry_run):
    strategy = start(config)
    check_shares(strategy, config.batch_size)
    with at_work(config, strategy, decoder=True) as arithmetic:
        model, pretrained = _build(config, classes)
    check_block(model, config.unfreeze_from)
    say("\n".join(_first_screen(config, manifest.table, classes, model, arithmetic)))
    if dry_run:
        return
    splits, counts, bad = load_splits(config, manifest, classes)
    seen = photographs.take(manifest.table, config.image_root, SPLITS, {x for x, _ in bad})
    facts = {
        "kind": SEGMENTER,
        **directory.describe(config, manifest, counts, bad, model),
        "pretrained": pretrained,
        "precision": arithmetic,
        "weights_record": start_record(config, manifest, seen),
    }
    facts = {**_network(config, classes), **facts}
    learned = learned_by(config, manifest, seen)
    for warning in leaks(facts["weights_record"]):
        say(f"warning: {warning}")
    if before and not before.get(directory.REPLACING):
        photographs.check_same(config.run_dir, seen)
        check_masks(config.run_dir, before["data"]["splits"], counts)
    facts = directory.begin(config, facts, before)
    into(config.run_dir)
    photographs.write(config.run_dir, seen)
    with at_work(config, strategy, decoder=True):
        set_shares(model, shares(counts["train"], config.image_size))
        task = segmentation(config, model, splits["train"], splits["val"])
        state = fit(Fitting(config, model, pretrained, task))
        h5.save(model, config.run_dir / WEIGHTS, *learned)
    with precision("float32"):
        exact = build_from(facts)
    exact.set_weights(model.get_weights())
    _set_thresholds(config, exact, splits["val"])
    facts |= {"best_epoch": state["best_epoch"], "seconds": round(state["seconds"], 1)}
    directory.finish(config, facts)


def _first_screen(config, table, classes, model, arithmetic):
    """Lines of what is to be done."""
    counts = mask_counts(table, classes)
    patches = f"{config.patches} of each photograph an epoch, {config.patch_size} px"
    steps = steps_of(config, counts["train"]["rows"])
    rest = two_phases(config, steps, "Dice", ("the decoder", "everything"))
    return first_screen(config, counts, model, arithmetic, [("patches", patches), *rest])


def _build(config, classes):
    """(segmenter, pretrained)."""
    options = parse_options(config.encoder, config.encoder_options)
    encoder, pretrained = load_encoder(config.encoder, config.patch_size, config.weights, **options)
    return build_from(_network(config, classes), encoder), pretrained


def _network(config, classes):
    """What `config.json` says of the network; see `segmenter.build_from`."""
    names = ("encoder", "network", "patch_size", "overlap", "soft_masks")
    own = {name: getattr(config, name) for name in names}
    return {**own, "classes": list(classes), "flags": dataclasses.asdict(config)}


def segmentation(config, model, train, val):
    """The `loop.Task` of a segmenter, of `Segments`."""
    found = places(train, config.seed)
    loss = OverlapCrossentropy(config.miss_weight)

    def batches(epoch):
        seed = [config.seed, epoch]
        options = {"share": config.patch_share, "augment": config.augment}
        side, count = config.patch_size, config.patches
        return patch_batches(train, found, side, count, config.batch_size, seed, **options)

    def pictures():
        return batches(0).map(lambda pictures, masks: pictures).take(STATISTICS_BATCHES)

    return Task(
        loss=loss,
        steps=steps_of(config, len(train.rows)),
        learner=lambda phase: Learner(model, batches, (), pictures(), inference(model)),
        score=lambda learner: _score(config, learner.score, val),
        judge=JUDGE,
        judged="Dice",
        line=_line,
        bar=lambda history: f"Dice {history[-1][JUDGE]:.3f}" if history else "",
        first_look=pictures,
    )


def steps_of(config, rows):
    """Steps of an epoch over so many photographs."""
    return max(1, rows * config.patches // config.batch_size)


def _score(config, score, val):
    """The figures of val, on the pictures' own pixels: of each class and their means."""
    losses, figures = [], {}
    levels = np.clip(np.arange(WHOLE + 1) / WHOLE, 1e-3, 1 - 1e-3)  # a level of 255 is no certainty
    for name, hits, every in zip(val.classes, *_counts(config, score, val), strict=True):
        if every.any():
            others = every - hits
            entropy = -(hits @ np.log(levels) + others @ np.log(1 - levels)) / every.sum()
            soft = 2 * hits @ levels / (every @ levels + hits.sum())
            losses.append(entropy - (np.log(soft) if hits.any() else 0))
        figures[f"{JUDGE}_{name}"] = best_threshold_of(hits, every)[1]
        figures[f"val_average_precision_{name}"] = average_precision_of(hits, every)
    each = [figures[f"{JUDGE}_{name}"] for name in val.classes]
    mean = float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")
    return {"val_loss": float(np.mean(losses)), JUDGE: mean, **figures}


def _counts(config, score, val):
    """How many pixels of val have each probability, in 255ths: of the class, and in all.

    Only pixels that count, of photographs that were looked at for the class; photograph by
    photograph, so that memory does not grow with their number.

    Returns:
        Two (K, 256) int64.
    """
    hits, every = np.zeros((2, len(val.classes), WHOLE + 1), np.int64)
    for array, known in zip(val.array, val.known, strict=True):
        said = over_windows(
            score, array[..., :3], config.patch_size, config.overlap, config.batch_size
        )
        said, inside = np.rint(said * WHOLE).astype(np.uint8), array[..., -1] > 0
        for k in np.flatnonzero(known):
            of_class = inside & (array[..., 3 + k] >= WHOLE / 2)
            hits[k] += np.bincount(said[of_class, k], minlength=WHOLE + 1)
            every[k] += np.bincount(said[inside, k], minlength=WHOLE + 1)
    return hits, every


def _set_thresholds(config, model, val):
    """Writes the thresholds of best Dice over the pixels of val, in float32 as `predict` is."""
    points = {}
    with precision("float32"):
        counted = _counts(config, inference(model), val)
    for name, hits, every in zip(val.classes, *counted, strict=True):
        threshold, _ = best_threshold_of(hits, every)
        if np.isnan(threshold):
            say(f"warning: class {name}: no pixel in split 'val': its threshold is .5, unproven")
            threshold = (WHOLE + 1) / 2
        points[name] = {
            # Levels are rounded probabilities: from here up they round to the one that was chosen.
            "threshold": (threshold - 0.5) / WHOLE,
            "slope": 1.0,
            "intercept": 0.0,
            "positives": int(hits.sum()),
            "negatives": int(every.sum() - hits.sum()),
        }
    points = {"split": "val", "criterion": "f1", "labels": points}
    save_operating_points(config.run_dir / THRESHOLDS, points)


def _line(row):
    names = [x.removeprefix(f"{JUDGE}_") for x in row if x.startswith(f"{JUDGE}_")]
    each = " ".join(f"{name} {row[f'{JUDGE}_{name}']:.3f}" for name in names)
    return f"loss {row['loss']:.4f}, val loss {row['val_loss']:.4f}, Dice {row[JUDGE]:.3f}: {each}"
