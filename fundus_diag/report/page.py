"""The report of a run: metrics as JSON and CSV, figures as PNG, one self-contained HTML page.

Everything is computed from the files of the run directory; no model is loaded. The page asks
nothing of the network: pictures are data URLs, fonts are the reader's own, there is no script.
"""

import csv
import io
import json
import sys
from pathlib import Path

from markupsafe import Markup

from fundus_diag.data.datasets.descriptions import dataset_facts
from fundus_diag.data.labels import LABELS, label_text
from fundus_diag.data.patients import own_patients_of_run
from fundus_diag.metrics import classification, evaluate
from fundus_diag.models.weights.load import weight_terms
from fundus_diag.report import figures, parts, pictures
from fundus_diag.report.environment import environment
from fundus_diag.report.selection import worst_errors
from fundus_diag.runs import run_files
from fundus_diag.runs.contents import HISTORY
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import make_folder, write_bytes

COLUMNS = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "f1": "F1",
    "recall": "Sensitivity (recall)",
    "specificity": "Specificity",
    "false_positive_rate": "False-positive rate",
    "precision": "Precision",
    "mcc": "MCC",
    "brier": "Brier",
    "ece": "ECE",
}
PANELS = {
    "roc": figures.roc_panel,
    "precision_recall": figures.precision_recall_panel,
    "reliability": figures.reliability_panel,
}


def write_report(run_dir, config, split="test", predictions=None, out=None, resamples=1000):
    """Scores a run's predictions and writes the report.

    Args:
        run_dir: a finished run: history.csv, thresholds.json, and predictions_<split>.csv unless
            `predictions` is given.
        config: its config.json, as `read_config` gives it.
        split: which split the predictions are of; it names the files that are written.
        predictions: another table of predictions of this run, from other photographs; with `out`.
        out: folder to write into; the run directory by default.
        resamples: of the bootstrap over patients; at least 100.

    Returns:
        (path of the page, metrics). The page is report.html, or report_<split>.html for another
        split than test in the run directory itself. Beside it: metrics_<split>.json,
        metrics_<split>.csv, figures/.

    Raises:
        DataError: a file is missing or wrong.
    """
    run_dir = Path(run_dir)
    labels = config["labels"]
    history = run_files.read_history(run_dir / HISTORY)
    points = load_operating_points(run_dir / "thresholds.json")
    absent = [label for label in labels if label not in points["labels"]]
    if absent:
        raise DataError(f"{run_dir / 'thresholds.json'}: nothing about label {absent[0]}")
    source = Path(predictions or run_dir / f"predictions_{split}.csv")
    table = run_files.read_predictions(source, labels, config["unit"])

    splits = config["data"]["splits"]
    metrics = {"split": split, "task": config["task"], "unit": config["unit"]}
    metrics |= evaluate.score_table(
        table,
        labels,
        points,
        splits["train"],
        resamples,
        config.get("seed") or 0,
        grade=config["task"] == "grade",
        official=set(labels) == set(LABELS),
    )
    if "quality_reason" in table:
        metrics["quality"] = parts.poor_photographs(table, labels)
    if "unfamiliar" in table:
        unlike = int((table["unfamiliar"] == "1").sum())
        metrics["familiarity"] = {"rows": len(table), "unfamiliar": unlike}
    if predictions is not None:
        metrics |= parts.about_table(source, table, run_dir, config)
        for line in parts.what_was_seen(metrics):
            print(f"warning: {source}: {line}", file=sys.stderr)
    images = _draw(table, labels, metrics, history, config, split)
    page = _page(run_dir, config, points, table, metrics, images, split, source)

    name = "report.html" if split == "test" or out is not None else f"report_{split}.html"
    out = Path(out or run_dir)
    contents = {f"figures/{figure}.png": png for figure, png in images["files"].items()}
    contents[f"metrics_{split}.csv"] = _metrics_csv(metrics, labels).encode()
    text = json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    contents[f"metrics_{split}.json"] = text.encode()
    contents[name] = page.encode()
    make_folder(out / "figures")
    for path, content in contents.items():
        write_bytes(out / path, content)
    return out / name, metrics


def _draw(table, labels, metrics, history, config, split):
    """All pictures: {"files": {name: PNG}, "panels": {kind: [(label, PNG)]}, "curves": [..]}."""
    items = parts.panel_items(table, labels, metrics, metrics["bootstrap"]["seed"])
    grade = config["task"] == "grade"
    panels = {kind: [(x, figures.panel_png(draw, item))
                     for x, item in zip(labels, items, strict=True)]
              for kind, draw in PANELS.items()}  # fmt: skip
    files = {f"{kind}_{split}": figures.grid_png(draw, items) for kind, draw in PANELS.items()}
    if grade:
        names = [label.removeprefix("grade_") for label in labels]
        files[f"confusion_{split}"] = figures.matrix_png(metrics["grade"]["confusion"], names)
    else:
        files[f"confusion_{split}"] = figures.grid_png(figures.confusion_panel, items)
    rows = [(label_text(x)[:34], e["roc_auc"], e.get("roc_auc_ci"))
            for x, e in metrics["labels"].items()]  # fmt: skip
    files[f"overview_{split}"] = figures.overview_png(rows)
    curves = parts.training_curves(history, config["task"], config.get("best_epoch"))
    return {"files": files | dict(curves), "panels": panels, "curves": curves}


def _page(run_dir, config, points, table, metrics, images, split, source):
    grade = config["task"] == "grade"
    errors = worst_errors(table, config["labels"], metrics, grade)
    own = run_files.own_photographs(config)
    note = parts.add_pictures(errors, own, config.get("crop", "fundus"))
    pages = environment()
    pages.globals |= {
        "fig": lambda path, digits=3: _number(metrics, path, digits),
        "ci": lambda path: _interval(metrics, path),
        "count": lambda path: _count(metrics, path),
        "data_count": lambda path: _count({"data": config["data"]["splits"]}, path),
        "file_name": _file_name,
        "duration": _duration,
        "label_text": label_text,
        "url": pictures.data_url,
        "lookup": lambda path: _lookup(metrics, path),
    }
    return pages.get_template("report.html.j2").render(
        name=run_dir.resolve().name,
        config={**config, "flags": run_files.all_flags(config)},
        labels=config["labels"],
        splits=list(config["data"]["splits"]),
        points=points,
        metrics=metrics,
        columns=COLUMNS,
        panels=images["panels"],
        curves=images["curves"],
        overview=images["files"][f"overview_{split}"],
        split=split,
        errors=errors,
        errors_note=note,
        datasets=dataset_facts(table),
        own_patients=own_patients_of_run(config),
        weight_terms=weight_terms(config["encoder"], config["weights"]),
        leaks=run_files.leaks(config.get("weights_record")),
        source=source.name,
        foreign="table" in metrics,
        seen=parts.what_was_seen(metrics) if "table" in metrics else (),
        drawn=run_files.is_drawn(config) and "table" not in metrics,
        few=parts.few_in_val(points, config),
        grade=grade,
        ece_bins=classification.ECE_BINS,
        min_class=evaluate.MIN_CLASS,
    )


def _duration(seconds):
    """Seconds in words: "50 seconds", "1.5 minutes", "34 minutes"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.{int(seconds < 600)}f} minutes"


def _file_name(value):
    """A path without its folders, which are nobody's business but the owner's; else the value."""
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _metrics_csv(metrics, labels):
    """The table per label, one row per label, undefined cells empty."""
    names = ["support", "graded", "threshold", "tn", "fp", "fn", "tp"]
    for name in classification.FIGURES:
        names += [name, f"{name}_low", f"{name}_high", f"prior_only_{name}"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", *names])
    for label in labels:
        entry, prior = metrics["labels"][label], metrics["prior_only"]["labels"][label]
        row = dict(entry)
        for name in classification.FIGURES:
            row[f"{name}_low"], row[f"{name}_high"] = entry.get(f"{name}_ci") or (None, None)
            row[f"prior_only_{name}"] = prior[name]
        writer.writerow([label, *(row[name] for name in names)])
    return text.getvalue()


def _lookup(tree, path):
    """The value at a path such as "labels.D.roc_auc"; a list is entered by its index.

    The names of labels may hold a dot, so the longest key that fits is taken at each step.
    """
    parts = path.split(".")
    while parts:
        for n in range(len(parts), 0, -1):
            key = ".".join(parts[:n])
            if isinstance(tree, list) and n == 1:
                tree, parts = tree[int(key)], parts[1:]
                break
            if isinstance(tree, dict) and key in tree:
                tree, parts = tree[key], parts[n:]
                break
        else:
            raise KeyError(path)
    return tree


def _number(tree, path, digits):
    value = _lookup(tree, path)
    text = "–" if value is None else f"{value:.{digits}f}"
    title = Markup(' title="undefined"') if value is None else ""
    return Markup('<span class="n" data-figure="{}"{}>{}</span>').format(path, title, text)


def _interval(tree, path):
    try:
        pair = _lookup(tree, f"{path}_ci")
    except KeyError:  # a figure without intervals
        return ""
    if pair is None:
        return Markup('<span class="ci">no interval</span>')
    text = f"{pair[0]:.3f} to {pair[1]:.3f}"
    return Markup('<span class="ci" data-figure="{}_ci">{}</span>').format(path, text)


def _count(tree, path):
    text = f"{_lookup(tree, path):,}"
    return Markup('<span class="n" data-figure="{}">{}</span>').format(path, text)
