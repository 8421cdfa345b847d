"""Training of a segmenter: from a manifest with masks to a finished run directory.

The epochs, phases, state and everything that survives a kill are those of classification: see
`loop`, of which segmentation is a task.
"""

import dataclasses

import numpy as np

from fundus_diag.data.inputs import settle_bad
from fundus_diag.data.labels import SPLITS
from fundus_diag.data.manifest import read_photographs, resolve_images
from fundus_diag.data.patches import patch_batches, places
from fundus_diag.data.segments import WHOLE, classes_of, load_segments, outlined
from fundus_diag.metrics.segmentation import average_precision, best_threshold, call, overlap
from fundus_diag.models.options import parse_options
from fundus_diag.models.weights import h5
from fundus_diag.models.weights.load import load_encoder
from fundus_diag.runs import directory, photographs
from fundus_diag.runs.contents import THRESHOLDS, WEIGHTS
from fundus_diag.runs.freeze import inference
from fundus_diag.runs.run_files import SEGMENTER, leaks
from fundus_diag.runs.segmenter import build_from
from fundus_diag.runs.thresholds import check_possible, save_operating_points
from fundus_diag.runs.windows import over_windows
from fundus_diag.training.devices import at_work, check_shares, start
from fundus_diag.training.epochs import say
from fundus_diag.training.loop import STATISTICS_BATCHES, Fitting, Learner, Task, fit
from fundus_diag.training.losses import OverlapCrossentropy
from fundus_diag.training.phases import check_block
from fundus_diag.training.seen import learned_by, start_record
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.mixed_precision import precision

GRID = np.arange(1, WHOLE + 1)  # thresholds that are tried, of probabilities in 255ths
JUDGE = "val_dice"


def train_segmenter(config):
    """Trains a run and returns its directory; see `segment_config.SegmentConfig` for every choice.

    Writes config.json, history.csv, checkpoint/, tensorboard/ along the way, and at the end
    model.weights.h5 and thresholds.json, chosen on `val`. `test` is read once, to know that it can
    be, and not scored.

    Raises:
        DataError: the manifest, photographs or masks are not fit for training, or the folder cannot
            be written.
        UsageError: flags are wrong, or the run directory is in use.
    """
    config = config.resolved()
    manifest = read_photographs(config.manifest)
    table, path = manifest.table, config.manifest
    classes = classes_of(table, config.classes, path)
    for split in ("train", "val"):
        if "split" not in table or not (table["split"] == split).any():
            raise DataError(f"{path}: no row in split {split!r}")
    if "test" not in set(table["split"]):
        say(f"warning: {path}: no row in split 'test'")
    check_possible(config.run_dir / THRESHOLDS, classes, "f1")
    resolve_images(manifest, config.image_root, missing_ok=config.on_bad_image == "skip")
    images = table["image"]
    with directory.claimed(config, manifest.sha256, SEGMENTER, images) as before:
        if before and before["finished"]:
            say(f"{config.run_dir}: this run is finished")
        else:
            _train(config, manifest, classes, before)
    return config.run_dir


def _train(config, manifest, classes, before):
    strategy = start(config)
    check_shares(strategy, config.batch_size)
    with at_work(config, strategy) as arithmetic:
        model, pretrained = _build(config, classes)
    check_block(model, config.unfreeze_from)
    splits, counts, bad = _load(config, manifest, classes)
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
    facts = directory.begin(config, facts, before)
    photographs.write(config.run_dir, seen)
    with at_work(config, strategy):
        task = segmentation(config, model, splits["train"], splits["val"])
        state = fit(Fitting(config, model, pretrained, task))
        h5.save(model, config.run_dir / WEIGHTS, *learned)
    with precision("float32"):
        exact = build_from(facts)
    exact.set_weights(model.get_weights())
    _set_thresholds(config, exact, splits["val"])
    facts |= {"best_epoch": state["best_epoch"], "seconds": round(state["seconds"], 1)}
    directory.finish(config, facts)


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


def _load(config, manifest, classes):
    """({"train", "val": `Segments`}, counts of all splits for config.json, what is bad)."""
    splits, counts, bad, table = {}, {}, [], manifest.table
    for split in SPLITS:
        rows = table[table["split"] == split]
        if not len(rows):
            continue
        files = outlined(rows, config.image_root, classes, config.manifest)
        reading = config.reading
        if split == "test":  # read once, not kept
            reading = reading | {"cache": "ram"}
        splits[split], wrong = load_segments(
            files, classes, config.image_size, soft=config.soft_masks, **reading
        )
        bad += wrong
        counts[split] = _counted(rows, splits[split])
    settle_bad(bad, config.on_bad_image)
    for split in ("train", "val"):
        if not len(splits[split].rows):
            raise DataError(f"{config.manifest}: no readable photograph in split {split!r}")
    for name, pixels in counts["train"]["pixels"].items():
        if not pixels:
            raise DataError(f"{config.manifest}: class {name!r} has no pixel in split 'train'")
    splits.pop("test", None)
    return splits, counts, bad


def _counted(rows, segments):
    """What config.json says of a split: rows, patients, of each class photographs and pixels."""
    masks = segments.array[..., 3:-1] >= WHOLE / 2
    pixels = masks.sum(axis=(0, 1, 2), dtype=np.int64) if len(segments.rows) else ()
    names = segments.classes
    return {
        "rows": len(segments.rows),
        "patients": int(rows["patient"].nunique()),
        "looked_at": dict(zip(names, segments.known.sum(axis=0).tolist(), strict=True)),
        "pixels": dict(zip(names, map(int, pixels), strict=True)),
    }


def segmentation(config, model, train, val):
    """The `loop.Task` of a segmenter, of `Segments`."""
    found = places(train, config.seed)
    total = len(train.rows) * config.patches
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
        steps=max(1, total // config.batch_size),
        learner=lambda phase: Learner(model, batches, (), pictures(), inference(model)),
        score=lambda learner: _score(config, learner.score, val),
        judge=JUDGE,
        line=_line,
        bar=lambda history: f"Dice {history[-1][JUDGE]:.3f}" if history else "",
        first_look=pictures,
    )


def _score(config, score, val):
    """The figures of val, on the pictures' own pixels; see `_figures`."""
    said = _predicted(config, score, val)
    losses, figures = [], {}
    for k, name in enumerate(val.classes):
        truth, scores, where = _of_class(val, said, k)
        if not where:
            figures |= {f"{JUDGE}_{name}": np.nan, f"val_average_precision_{name}": np.nan}
            continue
        p = np.concatenate([x[w] for x, w in zip(scores, where, strict=True)])
        y = np.concatenate([x[w] for x, w in zip(truth, where, strict=True)])
        sure = np.clip(p / WHOLE, 1e-3, 1 - 1e-3)  # a level of 255 is no certainty
        entropy = -np.mean(np.where(y, np.log(sure), np.log(1 - sure)))
        soft = (2 * sure[y].sum() + 1) / (sure.sum() + y.sum() + 1)
        losses.append(entropy + 1 - soft)
        threshold = best_threshold(truth, scores, where, GRID)
        dice = np.nan if np.isnan(threshold) else overlap(y, call(p, threshold))["dice"]
        figures[f"{JUDGE}_{name}"] = dice
        figures[f"val_average_precision_{name}"] = average_precision(y, p)
    all_dice = [figures[f"{JUDGE}_{name}"] for name in val.classes]
    mean = float(np.nanmean(all_dice)) if np.isfinite(all_dice).any() else float("nan")
    return {"val_loss": float(np.mean(losses)) if losses else 0.0, JUDGE: mean, **figures}


def _predicted(config, score, segments):
    """Probabilities of all classes over all pictures, in 255ths: (n, S, S, K) uint8."""
    side, overlapping = config.patch_size, config.overlap
    found = [
        over_windows(score, array[..., :3], side, overlapping, config.batch_size)
        for array in segments.array
    ]
    return np.rint(np.stack(found) * WHOLE).astype(np.uint8)


def _of_class(segments, said, k):
    """(truths, scores, wheres) of a class, lists of (S, S), of the photographs looked at for it."""
    rows = np.flatnonzero(segments.known[:, k])
    truth = [segments.array[i, ..., 3 + k] >= WHOLE / 2 for i in rows]
    return truth, [said[i, ..., k] for i in rows], [segments.array[i, ..., -1] > 0 for i in rows]


def _set_thresholds(config, model, val):
    """Writes the thresholds of best Dice over the pixels of val, in float32 as `predict` is."""
    said, points = _predicted(config, inference(model), val), {}
    for k, name in enumerate(val.classes):
        truth, scores, where = _of_class(val, said, k)
        threshold = best_threshold(truth, scores, where, GRID) if truth else float("nan")
        positives = int(sum((x & w).sum() for x, w in zip(truth, where, strict=True)))
        counted = int(sum(w.sum() for w in where))
        if np.isnan(threshold):
            say(f"warning: class {name}: no pixel in split 'val': its threshold is .5, unproven")
            threshold = WHOLE / 2
        points[name] = {
            "threshold": threshold / WHOLE,
            "slope": 1.0,
            "intercept": 0.0,
            "positives": positives,
            "negatives": counted - positives,
        }
    points = {"split": "val", "criterion": "f1", "labels": points}
    save_operating_points(config.run_dir / THRESHOLDS, points)


def _line(row):
    names = [x.removeprefix(f"{JUDGE}_") for x in row if x.startswith(f"{JUDGE}_")]
    each = " ".join(f"{name} {row[f'{JUDGE}_{name}']:.3f}" for name in names)
    return f"loss {row['loss']:.4f}, val loss {row['val_loss']:.4f}, Dice {row[JUDGE]:.3f}: {each}"
