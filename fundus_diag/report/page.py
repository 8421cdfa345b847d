"""The report of a run: metrics as JSON and CSV, figures as PNG and PDF, one self-contained page.

Everything is computed from the files of the run directory; no model is loaded. The page asks
nothing of the network: figures are SVG in it, photographs data URLs, fonts the reader's own, and
its one script is its own; without that only what a reader types in does nothing.
"""

import json
import sys
from pathlib import Path

from fundus_diag.data.datasets.descriptions import dataset_facts
from fundus_diag.data.labels import LABELS, label_text
from fundus_diag.data.patients import own_patients_of_run
from fundus_diag.metrics import classification, evaluate
from fundus_diag.models.weights.load import weight_terms
from fundus_diag.report import figures, parts, pictures, shown
from fundus_diag.report.environment import environment
from fundus_diag.report.selection import worst_errors
from fundus_diag.report.verdicts import reached_on_val, verdicts
from fundus_diag.runs import run_files
from fundus_diag.runs.contents import HISTORY
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.utils import plotting
from fundus_diag.utils.errors import DataError
from fundus_diag.utils.files import make_folder, write_bytes

COLUMNS = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "f1": "F1",
    "recall": "Sensitivity (recall)",
    "specificity": "Specificity",
    "false_positive_rate": "False-positive rate",
    "precision": "Precision (PPV)",
    "npv": "NPV",
    "mcc": "MCC",
    "brier": "Brier",
    "ece": "ECE",
}
PANELS = {
    "roc": figures.roc_panel,
    "precision_recall": figures.precision_recall_panel,
    "reliability": figures.reliability_panel,
}
OPEN = 8  # panels of a kind that are seen at once; of more labels the others open
DRAWN = "drawn photographs, of nobody"  # on each figure of them


def write_report(
    run_dir,
    config,
    split="test",
    predictions=None,
    out=None,
    resamples=1000,
    scored=None,
    explained=False,
):
    """Scores a run's predictions and writes the report.

    Args:
        run_dir: a finished run: history.csv, thresholds.json, and predictions_<split>.csv unless
            `predictions` is given.
        config: its config.json, as `read_config` gives it.
        split: which split the predictions are of; it names the files that are written.
        predictions: another table of predictions of this run, from other photographs; with `out`.
        out: folder to write into; the run directory by default.
        resamples: of the bootstrap over patients; at least 100.
        scored: function of nothing that counts this scoring and says how many there were, of
            `scored.count_scoring`; asked when all is read, before anything is written.
        explained: whether a page of explanations will lie beside this one.

    Returns:
        (path of the page, metrics, with "scored" as that function says). The page is report.html,
        or report_<split>.html for another split than test in the run directory itself. Beside it:
        metrics_<split>.json, metrics_<split>.csv, figures/.

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
    metrics["chosen_on"] = reached_on_val(run_dir, config, points)
    if "quality_reason" in table:
        metrics["quality"] = parts.poor_photographs(table, labels)
    if "unfamiliar" in table:
        unlike = int((table["unfamiliar"] == "1").sum())
        metrics["familiarity"] = {"rows": len(table), "unfamiliar": unlike}
    if predictions is not None:
        metrics |= parts.about_table(source, table, run_dir, config)
        for line in parts.what_was_seen(metrics):
            print(f"warning: {source}: {line}", file=sys.stderr)
    drawn = run_files.is_drawn(config) and predictions is None
    images = _draw(table, labels, metrics, history, config, split, DRAWN if drawn else "")
    text = json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    if scored is not None:  # in no file of figures: they are the same each time
        metrics["scored"] = scored()
    page = _page(run_dir, config, points, table, metrics, images, split, source, drawn, explained)

    name = "report.html" if split == "test" or out is not None else f"report_{split}.html"
    out = Path(out or run_dir)
    contents = {f"figures/{figure}": content for figure, content in images["files"].items()}
    contents[f"metrics_{split}.csv"] = shown.metrics_csv(metrics, labels).encode()
    contents[f"metrics_{split}.json"] = text.encode()
    contents[name] = page.encode()
    make_folder(out / "figures")
    for path, content in contents.items():
        write_bytes(out / path, content)
    return out / name, metrics


def _draw(table, labels, metrics, history, config, split, note):
    """All figures: {"files": {name: bytes}, "panels": {kind: [SVG]}, "curves": [SVG], "overview"}.

    `note` stands on each of them.
    """
    items = parts.panel_items(table, labels, metrics, metrics["bootstrap"]["seed"])
    drawn = {f"{kind}_{split}": figures.grid(draw, items) for kind, draw in PANELS.items()}
    if config["task"] == "grade":
        names = [label.removeprefix("grade_") for label in labels]
        drawn[f"confusion_{split}"] = figures.matrix_alone(metrics["grade"]["confusion"], names)
    else:
        drawn[f"confusion_{split}"] = figures.grid(figures.confusion_panel, items)
    rows = [(label_text(x)[:34], e["roc_auc"], e.get("roc_auc_ci"))
            for x, e in metrics["labels"].items()]  # fmt: skip
    overview = figures.overview(rows)
    curves = parts.training_curves(history, config["task"], config.get("best_epoch"))
    files = {}
    for name, figure in (drawn | {f"overview_{split}": overview} | curves).items():
        made = plotting.figure_files(*figure, ("png", "pdf"), note)
        files |= {f"{name}.{kind}": content for kind, content in made.items()}

    def inline(figure, title, key, note=note):
        svg = plotting.figure_files(*figure, ("svg",), note)["svg"]
        return pictures.inline_svg(svg, title, key)

    panels = {
        kind: [
            inline(figures.alone(draw, item), f"{kind.replace('_', ' ')}, {item['title']}",
                   f"{kind}-{k}", "")
            for k, item in enumerate(items)
        ]
        for kind, draw in PANELS.items()
    }  # fmt: skip
    return {
        "files": files,
        "panels": panels,
        "curves": [inline(figure, name, name) for name, figure in curves.items()],
        "overview": inline(overview, "ROC AUC of each with its interval", "overview"),
    }


def _page(run_dir, config, points, table, metrics, images, split, source, drawn, explained):
    grade = config["task"] == "grade"
    errors = worst_errors(table, config["labels"], metrics, grade)
    own = run_files.own_photographs(config)
    note = parts.add_pictures(errors, own, config.get("crop", "fundus"))
    pages = environment()
    about = {"data": config["data"]["splits"]}
    pages.globals |= {
        "fig": lambda path, digits=3: shown.number(metrics, path, digits),
        "ci": lambda path: shown.interval(metrics, path),
        "count": lambda path: shown.count(metrics, path),
        "data_count": lambda path: shown.count(about, path),
        "lookup": lambda path: shown.lookup(metrics, path),
        "file_name": shown.file_name,
        "duration": shown.duration,
        "label_text": label_text,
    }
    end = "" if split == "test" else f"_{split}"
    return pages.get_template("report.html.j2").render(
        name=run_dir.resolve().name,
        config={**config, "flags": run_files.all_flags(config)},
        labels=config["labels"],
        splits=list(config["data"]["splits"]),
        points=points,
        metrics=metrics,
        verdicts=verdicts(metrics, points, config),
        columns=COLUMNS,
        panels=images["panels"],
        curves=images["curves"],
        overview=images["overview"],
        open=OPEN,
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
        drawn=drawn,
        thin=parts.thin_in_val(points, config),
        explanations=f"explanations{end}.html" if explained else None,
        grade=grade,
        ece_bins=classification.ECE_BINS,
        min_class=evaluate.MIN_CLASS,
    )
