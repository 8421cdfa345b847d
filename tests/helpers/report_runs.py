"""Writes the files of a finished run, with made-up predictions, for the tests of the report."""

import csv
import itertools
import json

import numpy as np

from fundus_diag.metrics.calibration import apply_calibration, fit_operating_points
from fundus_diag.runs.thresholds import save_operating_points

LABELS = ["N", "D", "G", "C", "H"]
STRENGTH = [1.2, 2.5, 0.3, 5.0, 1.0]  # weak, strong, nearly blind, nearly perfect, undefined on val
PREVALENCE = [0.45, 0.3, 0.15, 0.1, 0.06]


def write_run(run, unit="eye", n_patients=120, image_names=None, task="multi_label", seed=0):
    """Writes config.json, history.csv, thresholds.json and predictions of val and test."""
    run.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    labels = LABELS if task == "multi_label" else [f"grade_{k}" for k in range(5)]
    rows = {split: _rows(rng, labels, unit, n_patients, task, split) for split in ("val", "test")}
    y, logits = rows["val"][1:]
    if task == "multi_label":
        y[:, labels.index("H")] = np.where(y[:, labels.index("H")] == 1, np.nan, y[:, 4])
    points = fit_operating_points(y, logits, labels, task=task)
    save_operating_points(run / "thresholds.json", points)
    for split, (table, y, logits) in rows.items():
        p = apply_calibration(logits, points, labels)
        if image_names:
            names = itertools.cycle(image_names)
            for row in table:
                for column in {"image", "image_left", "image_right"} & set(row):
                    row[column] = next(names) if row[column] else ""
        for k, label in enumerate(labels):
            for row, truth, probability in zip(table, y[:, k], p[:, k], strict=True):
                row[f"y_{label}"] = "" if np.isnan(truth) else int(truth)
                row[f"p_{label}"] = repr(float(probability))
        write_csv(run / f"predictions_{split}.csv", table)
    splits = {split: _summary(table, labels) for split, (table, _, _) in rows.items()}
    splits = {"train": _summary(_train_rows(rows), labels)} | splits
    write_csv(run / "history.csv", _history(task))
    config = {
        "version": "0.1.0",
        "encoder": "se_xception",
        "image_size": 128,
        "unit": unit,
        "task": task,
        "labels": labels,
        "crop": "fundus",
        "pretrained": False,
        "weights": "none",
        "seed": 0,
        "precision": "bfloat16",
        "parameters": 20_123_456,
        "flags": {"manifest": "odir.csv", "image_size": 128, "batch_size": 32, "seed": 0},
        "data": {
            "manifest": "odir.csv",
            "sha256": "0123456789abcdef" * 4,
            "image_root": str(run / "images"),
            "bad_images": [["x.jpg", "truncated"]],
            "splits": splits,
            "repeat_factors": {labels[-1]: 2.5},
            "pos_weight": dict.fromkeys(labels, 1.25),
        },
        "versions": {"python": "3.11.2", "tensorflow": "2.21", "keras": "3.15", "numpy": "2.4"},
        "device": "CPU, 2 cores",
        "started": "2026-01-01T10:00:00",
        "finished": "2026-01-01T10:34:00",
        "best_epoch": 9,
        "seconds": 2040.0,
    }
    (run / "config.json").write_text(json.dumps(config, indent=2))
    return run


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _rows(rng, labels, unit, n_patients, task, split):
    """Rows without scores, (N, L) truth with gaps, (N, L) logits with ties."""
    table = []
    for k in range(n_patients):
        who = {"patient": f"{split}-{k:03d}", "age": "" if k % 9 == 0 else 20 + (7 * k) % 65}
        who |= {"sex": ("female", "male")[k % 2], "dataset": "made_up"}
        names = [f"{k}_left.jpg", f"{k}_right.jpg"]
        if unit == "patient":
            pair = names if k % 5 else [names[0], ""]
            table.append({"image_left": pair[0], "image_right": pair[1]} | who)
        else:
            eyes = zip(names, ("left", "right"), strict=True)
            table += [{"image": n, "eye": e} | who for n, e in list(eyes)[: 2 if k % 5 else 1]]
    shape = (len(table), len(labels))
    if task == "grade":
        grade = rng.choice(5, len(table), p=[0.4, 0.1, 0.25, 0.15, 0.1])
        y = np.eye(5)[grade]
        distance = np.abs(np.arange(5) - grade[:, None])
        return table, y, np.round(rng.normal(size=shape) - 0.9 * distance, 1)
    y = (rng.random(shape) < PREVALENCE).astype(float)
    logits = rng.normal(size=shape) + y * STRENGTH - 1
    y[rng.random(shape) < 0.05] = np.nan
    return table, y, np.round(logits, 1)


def _train_rows(rows):
    return [row for table, _, _ in rows.values() for row in table] * 2


def _summary(table, labels):
    def count(value):
        return {x: sum(str(row[f"y_{x}"]) == value for row in table) for x in labels}

    out = {"rows": len(table), "patients": len({row["patient"] for row in table})}
    return out | {"positives": count("1"), "negatives": count("0"), "ungraded": count("")}


def _history(task):
    rows = []
    for epoch in range(1, 13):
        gain = 1 - np.exp(-epoch / 4)
        row = {"epoch": epoch, "phase": 1 if epoch < 4 else 2, "learning_rate": 1e-3 / epoch}
        row |= {"loss": 0.6 - 0.4 * gain, "val_loss": 0.62 - 0.3 * gain + 0.008 * epoch}
        row |= {"val_macro_f1": 0.3 + 0.3 * gain, "val_macro_recall": 0.4 + 0.2 * gain}
        row |= {"val_accuracy": 0.7 + 0.1 * gain, "val_composite": 0.5 + 0.2 * gain}
        last = "val_kappa" if task == "grade" else "val_macro_roc_auc"
        rows.append(row | {last: 0.55 + 0.27 * gain, "seconds": 60.0})
    return rows
