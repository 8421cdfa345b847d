"""The documents of an export: labels, thresholds, configuration, model card, checksums."""

import datetime
from pathlib import Path

from fundus_diag.data.labels import label_text
from fundus_diag.metrics.calibration import notes
from fundus_diag.models.weights.load import weight_terms
from fundus_diag.runs.run import WEIGHTS
from fundus_diag.runs.run_files import is_drawn, leaks
from fundus_diag.runs.segmenter import Segmenter
from fundus_diag.utils.files import read_json, sha256, write_json, write_text
from fundus_diag.utils.version import __version__

DOCUMENTS = (
    "labels.txt",
    "thresholds.json",
    "config.json",
    "export.json",
    "model_card.md",
    "SHA256SUMS",
)
# Of config.json: names of somebody's photographs, and places, of which the last part is kept.
PRIVATE = ("bad_images", "manifest", "image_root")
PLACES = ("manifest", "image_root", "run_dir", "cache_dir", "weights")


def write_documents(out, folder, run, record):
    """Writes `DOCUMENTS` into `out`, last the checksums of all else in `folder`.

    Args:
        out: `folder` or a folder in it.
        folder: with the model.
        run: `run.Run`.
        record: facts about the export, for export.json.
    """
    facts = {
        "version": __version__,
        "run": run.run_dir.resolve().name,
        "weights_sha256": sha256(run.run_dir / WEIGHTS),
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **record,
    }
    write_text(out / "labels.txt", "\n".join(run.labels) + "\n")
    write_json(out / "thresholds.json", run.points)
    write_json(out / "config.json", _public(run.config))
    write_json(out / "export.json", facts)
    card = segmenter_card if isinstance(run, Segmenter) else model_card
    write_text(out / "model_card.md", card(run, facts))
    files = sorted(x for x in folder.rglob("*") if x.is_file())
    up = Path(*[".."] * len(out.relative_to(folder).parts))
    lines = [f"{sha256(x)}  {up / x.relative_to(folder)}" for x in files]
    write_text(out / "SHA256SUMS", "\n".join(lines) + "\n")


def _public(config):
    """`config.json` of the run without the places and names of its photographs."""
    flags = {k: _last(v) if k in PLACES else v for k, v in config["flags"].items()}
    data = {k: v for k, v in config["data"].items() if k not in PRIVATE}
    return {**config, "flags": flags, "data": data, "weights": _last(config["weights"])}


def _last(path):
    return Path(path).name if isinstance(path, str) else path


def model_card(run, facts=None):
    """What a run is, was trained on and reaches: Markdown.

    Args:
        run: `run.Run`.
        facts: of export.json, for the card of an export.
    """
    config, points = run.config, run.points
    train = config["data"]["splits"]["train"]
    grade = config["task"] == "grade"
    unit = "both eyes of a patient" if config["unit"] == "patient" else "single eyes"
    weights = weight_terms(config["encoder"], config["weights"])
    chosen = "Calibrated" if grade else "Calibrated, and thresholds chosen"
    how = "" if grade else f" by {points['criterion']}"
    own = {x: e["criterion"] for x, e in points["labels"].items() if e.get("criterion")}
    how += "".join(f", {label} by {criterion}" for label, criterion in own.items())
    lines = [
        f"# {run.run_dir.resolve().name}",
        "",
        "A research tool: not a medical device, not for clinical use.",
        "",
        f"- Network: {config['encoder']} at {config['image_size']} px, {unit}.",
        f"- Weights that it started from: {weights}.",
        f"- Trained on {train['rows']} rows of {train['patients']} patients, with fundus_diag "
        f"{config.get('version', '(unknown)')}.",
        f"- {chosen}, on {points['split']}{how}.",
        *([f"- {_exported(facts)}."] if facts else []),
        "- `gradable` says that a photograph decodes and is not blank, `quality_reason` what of it "
        "lies beyond the limits of the training photographs, `unfamiliar` that it looks unlike "
        "them to the network. None of them says that the answer is right.",
        *(f"- Beware: {line}." for line in (*leaks(config.get("weights_record")), *notes(points))),
        *(["- Beware: the photographs are drawn: it knows no real eye."] * is_drawn(config)),
        "",
    ]
    if points.get("referable"):
        lines.insert(-1, _referable(points["referable"]))
    metrics = _metrics(run)
    head = ["label", "threshold", "positive in training", *(f"ROC AUC, {x}" for x in metrics)]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for label in run.labels:
        threshold = points["labels"][label]["threshold"]
        text = "the likeliest" if grade else "none: never called"
        text = text if threshold is None else f"{threshold:.3f}"
        cells = [label_text(label), text, str(train["positives"].get(label, ""))]
        cells += [_figure(found, label) for found in metrics.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _referable(point):
    at = "never called" if point["threshold"] is None else f"at {point['threshold']:.3f}"
    return (
        f"- To be referred, grade {point['cut']} and above: {at}, by {point['criterion']}, on the "
        "sum of their probabilities."
    )


def segmenter_card(run, facts):
    """As `model_card`, of a `segmenter.Segmenter`."""
    config = run.config
    train = config["data"]["splits"]["train"]
    weights = weight_terms(config["encoder"], config["weights"])
    lines = [
        f"# {run.run_dir.resolve().name}",
        "",
        "A research tool: not a medical device, not for clinical use.",
        "",
        f"- Network: {config['network']} on {config['encoder']}; pictures of "
        f"{config['image_size']} px, seen in windows of {config['patch_size']} px.",
        f"- Weights that it started from: {weights}.",
        f"- Trained on {train['rows']} photographs of {train['patients']} patients, with "
        f"fundus_diag {config.get('version', '(unknown)')}.",
        f"- {_exported(facts)}.",
        "- `gradable` says that a photograph decodes and is not blank, not that its masks are "
        "right.",
        *(f"- Beware: {line}." for line in leaks(config.get("weights_record"))),
        "",
        "| class | threshold | photographs looked at in training |",
        "|---|---|---|",
    ]
    for name, threshold in zip(run.classes, run.thresholds, strict=True):
        lines.append(f"| {name} | {threshold:.3f} | {train['looked_at'].get(name, '')} |")
    return "\n".join(lines) + "\n"


def _exported(facts):
    drawn = facts["drawn"]
    return (
        f"Exported as {facts['format']} in {facts['precision']}; largest difference of a "
        f"probability from the run on {drawn['photographs']} drawn cases: "
        f"{drawn['largest_difference']:.2g}"
    )


def _metrics(run):
    """{split: metrics} of the splits that the run has been scored on."""
    paths = {split: run.run_dir / f"metrics_{split}.json" for split in ("val", "test")}
    return {split: read_json(path) for split, path in paths.items() if path.is_file()}


def _figure(metrics, label):
    entry = metrics["labels"][label]
    if entry.get("roc_auc") is None:
        return "undefined"
    low, high = entry.get("roc_auc_ci") or (None, None)
    interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
    return f"{entry['roc_auc']:.3f}{interval}"
