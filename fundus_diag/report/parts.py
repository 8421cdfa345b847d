"""What the report shows beside its figures of merit: panels, thumbnails, the model card."""

from collections import Counter

import numpy as np

from fundus_diag.data.labels import label_text
from fundus_diag.data.paths import inside
from fundus_diag.metrics import classification, curves
from fundus_diag.metrics.calibration import too_few
from fundus_diag.report.pictures import jpeg_url
from fundus_diag.runs import photographs
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.plotting import curve

THUMBNAIL = 176  # px


def panel_items(predictions, labels, metrics, seed=0):
    """One dict per label for the panels of `figures`: title, rows, band and figures."""
    items = []
    for label in labels:
        entry = metrics["labels"][label]
        graded = predictions[f"y_{label}"].notna().to_numpy()
        truth = predictions[f"y_{label}"].to_numpy()[graded] == 1
        score = predictions[f"p_{label}"].to_numpy("float64")[graded]
        decided = entry["threshold"] is not None
        item = {key: entry[key] for key in (*classification.RANKED, "recall", "precision")}
        item["false_positive_rate"] = entry["false_positive_rate"]
        item |= {"title": label_text(label)[:30], "truth": truth, "score": score, "band": None}
        cells = [[entry["tn"], entry["fp"]], [entry["fn"], entry["tp"]]]
        item["confusion"] = cells if decided else None
        if entry["roc_auc"] is not None:
            patients = predictions["patient"].to_numpy()[graded]
            item["band"] = curves.roc_band(truth, score, patients, seed)
        items.append(item)
    return items


def training_curves(history, task, best_epoch):
    """The curves of both phases: {name: figure}, only what the history holds."""
    # Not recall: at the threshold of the best F1 it is highest before anything is learned.
    score = {"val_macro_f1": "macro F1", "val_macro_average_precision": "macro average precision"}
    last, title = {"val_macro_roc_auc": "macro ROC AUC"}, "Validation: ROC AUC"
    if task == "grade":
        score |= {"val_accuracy": "accuracy"}
        last, title = {"val_kappa": "quadratic kappa"} | last, "Validation: kappa"
    plots = {
        "loss": ({"loss": "train", "val_loss": "val"}, "Loss"),
        "f1": (score, "Validation: F1 and average precision"),
        "auc": (last, title),
    }
    drawn = {
        f"curve_{name}": curve(history, columns, title, best_epoch)
        for name, (columns, title) in plots.items()
    }
    return {name: figure for name, figure in drawn.items() if figure}


def about_table(source, table, run_dir, config):
    """What `metrics` says of predictions that are not of the run's own split.

    Args:
        source: file of the predictions.
        table: its rows, of `read_predictions`.
        run_dir, config: of the run.

    Returns:
        {"table": its name, "split": the one that all rows stand in, or None, "splits": {name: rows}
        by its column split ("" is none), "seen": `photographs.shared`}.
    """
    counts = table["split"].value_counts(sort=False) if "split" in table else {}
    splits = {str(name): int(n) for name, n in counts.items()}
    only = next(iter(splits)) if len(splits) == 1 else ""
    seen = photographs.shared(run_dir, config, table)
    return {"table": source.name, "split": only or None, "splits": splits, "seen": seen}


def what_was_seen(metrics):
    """Lines on how far the run knows the rows of another table: was trained on them, or fitted."""
    seen, rows = metrics["seen"], metrics["rows"]
    if seen is None:
        return ["whether the run was trained on these photographs is not known: it does not say"]
    why = {
        "train": "they say how well it remembers, not how well it diagnoses",
        "val": "epoch, thresholds and calibration were chosen on those",
    }
    return [
        f"{count} of {rows} rows name photographs or patients of the run's own {split}: "
        f"{why[split]}"
        for split, count in seen.items()
        if count
    ]


def poor_photographs(table, labels):
    """How many photographs (or pairs) are poor by the run's limits, and of which labels.

    Returns:
        {"rows", "poor": numbers, "reasons": {reason: number}, "labels": {label: [poor, positives]}}
    """
    why = table["quality_reason"]
    parts = (x.partition("eye: ")[2] or x for row in why if row for x in row.split("; "))
    reasons = Counter(reason for part in parts for reason in part.split(", "))
    ill = {label: table[f"y_{label}"] == 1 for label in labels}
    return {
        "rows": len(table),
        "poor": int((why != "").sum()),
        "reasons": dict(reasons.most_common()),
        "labels": {x: [int((why[y] != "").sum()), int(y.sum())] for x, y in ill.items()},
    }


def thin_in_val(points, config):
    """What validation says too little of: [(title, why)], of labels and of who is referred."""
    grade, found = config["task"] == "grade", []
    for label, entry in points["labels"].items():
        # Runs of earlier versions have no note.
        note = entry.get("note") or (not grade and too_few(entry["positives"], points["split"]))
        if note:
            found.append((label_text(label), note))
    referable = points.get("referable") or {}
    if referable.get("note"):
        found.append((f"grade {referable['cut']} and above", referable["note"]))
    return found


def add_pictures(errors, image_root, crop):
    """Puts a thumbnail (JPEG as a data URL) of every photograph into `errors`.

    `image_root`: their folder, None where it is not here.
    Returns a note for the page where some or all could not be read, else None.
    """
    if not errors:
        return None
    if image_root is None:
        return "The photographs are not shown: their folder is not on this machine."
    from fundus_diag.imaging.preprocess import load_picture  # TensorFlow: only where it is needed

    failed = 0
    for error in errors:
        for name in error["images"]:
            path = inside(image_root, name)
            try:
                if path is None:
                    raise DataError(f"{name}: not inside the image root")
                picture = np.asarray(load_picture(path, THUMBNAIL, crop))
            except (OSError, ValueError):
                failed += 1
                continue
            pixels = np.clip(np.rint(picture), 0, 255).astype("uint8")
            error["pictures"].append(jpeg_url(pixels))
    return f"Photographs that could not be read and are not shown: {failed}." if failed else None
