"""The papers of an export: labels, thresholds, configuration, model card, checksums."""

import datetime
import hashlib
from pathlib import Path

import fundus_diag
from fundus_diag.files import write_json, write_text
from fundus_diag.page.parts import label_text
from fundus_diag.run_files import read_json
from fundus_diag.runs import WEIGHTS

SUMS = "SHA256SUMS"
PRIVATE = {"bad_images", "manifest", "image_root"}  # paths and names of somebody's photographs


def write_papers(papers, folder, run, record, name):
    """Writes what belongs to a model into `papers`, and last the checksums of all of `folder`.

    Args:
        papers: folder for labels.txt, thresholds.json, config.json, model_card.md, SHA256SUMS and
            `record` under `name`.
        folder: of the export.
        run: `runs.Run`.
        record: facts about the export.
        name: of its file.
    """
    facts = {
        "version": fundus_diag.__version__,
        "run": run.run_dir.resolve().name,
        "weights_sha256": _sha256(run.run_dir / WEIGHTS),
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **record,
    }
    write_text(papers / "labels.txt", "\n".join(run.labels) + "\n")
    write_json(papers / "thresholds.json", run.points)
    write_json(papers / "config.json", _public(run.config))
    write_json(papers / name, facts)
    write_text(papers / "model_card.md", _card(run, facts))
    files = sorted(x for x in folder.rglob("*") if x.is_file())
    up = Path(*[".."] * len(papers.relative_to(folder).parts))
    lines = [f"{_sha256(x)}  {up / x.relative_to(folder)}" for x in files]
    write_text(papers / SUMS, "\n".join(lines) + "\n")


def _public(config):
    """`config.json` of the run without the places and names of its photographs."""
    hidden = {"manifest", "image_root", "run_dir", "cache_dir", "weights"}
    flags = {k: Path(str(v)).name if k in hidden and v else v for k, v in config["flags"].items()}
    data = {k: v for k, v in config["data"].items() if k not in PRIVATE}
    weights = Path(str(config["weights"])).name
    return {**config, "flags": flags, "data": data, "weights": weights}


def _card(run, facts):
    config, points = run.config, run.points
    train = config["data"]["splits"]["train"]
    lines = [
        f"# {facts['run']}",
        "",
        "A research tool: not a medical device, not for clinical use.",
        "",
        f"- Network: {config['encoder']} at {config['image_size']} px, "
        + ("both eyes of a patient" if config["unit"] == "patient" else "single eyes")
        + f", {'pretrained' if config['pretrained'] else 'trained from scratch'}.",
        f"- Trained on {train['rows']} rows of {train['patients']} patients, with fundus_diag "
        f"{config.get('version', '(unknown)')}.",
        f"- Calibrated, and thresholds chosen, on {points['split']} by {points['criterion']}.",
        f"- Exported as {facts['format']} in {facts['precision']}; largest difference of a "
        f"probability from the run on {facts['drawn']['photographs']} drawn photographs: "
        f"{facts['drawn']['largest_difference']:.2g}.",
        "- `gradable` says that a photograph decodes and is not blank. It does not judge "
        "sharpness, nor whether a fundus is shown at all.",
        "",
        "| label | threshold | positive in training |"
        + "".join(f" ROC AUC, {split} |" for split, _ in _scores(run)),
        "|---|---|---|" + "---|" * len(_scores(run)),
    ]
    for label in run.labels:
        threshold = points["labels"][label]["threshold"]
        text = "the likeliest" if config["task"] == "grade" else "none"
        text = text if threshold is None else f"{threshold:.3f}"
        cells = [label_text(label), text, str(train["positives"].get(label, ""))]
        cells += [_figure(found, label) for _, found in _scores(run)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _scores(run):
    """[(split, metrics)] of the splits that the run has been scored on."""
    paths = {split: run.run_dir / f"metrics_{split}.json" for split in ("val", "test")}
    return [(split, read_json(path)) for split, path in paths.items() if path.is_file()]


def _figure(metrics, label):
    entry = metrics["labels"][label]
    if entry.get("roc_auc") is None:
        return "undefined"
    low, high = entry.get("roc_auc_ci") or (None, None)
    interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
    return f"{entry['roc_auc']:.3f}{interval}"


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
