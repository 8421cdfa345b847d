"""The first screen of a report: how well each disease is found, in words and at what threshold."""

import numpy as np

from fundus_diag.data.labels import label_text
from fundus_diag.metrics import classification, grades
from fundus_diag.metrics.calibration import thresholds_array
from fundus_diag.metrics.thresholds import parse_criterion
from fundus_diag.runs.run_files import read_predictions

# Of a criterion: the figure that it asks for, and what that is called.
ASKED = {"f1": ("f1", "F1"), "sensitivity": ("recall", "sensitivity"),
         "specificity": ("specificity", "specificity")}  # fmt: skip
# From which share on so many are "found": the words of a first look.
SHARES = ((0.9, "finds nearly all,"), (0.7, "finds most,"), (0.5, "finds more than half,"),
          (0.3, "misses more than half, finds"), (0.0, "misses most, finds"))  # fmt: skip
CHANCE = 0.5  # of the area under the ROC curve


def reached_on_val(run_dir, config, points):
    """What the thresholds reach where they were chosen: {"split", "labels": {label: figures}}.

    Returns:
        Figures as of `metrics["labels"]` without intervals, of grades those of "referable"; None
        where the predictions of that split are not here.
    """
    path = run_dir / f"predictions_{points['split']}.csv"
    if not path.is_file():
        return None
    labels = config["labels"]
    table = read_predictions(path, labels, config["unit"])
    truth, score = (table[[f"{k}_{x}" for x in labels]].to_numpy("float64") for k in "yp")
    if config["task"] == "grade":
        if "referable" not in points:
            return None
        own = grades.referable(truth, score, points["referable"]["cut"])
        truth, score = (x[:, None] for x in own)
        labels, points = ["referable"], points | {"labels": {"referable": points["referable"]}}
    called = classification.call(score, thresholds_array(points, labels))
    wanted = [figure for figure, _ in ASKED.values()]
    found = classification.statistic(truth, score, called, wanted)(np.ones((len(truth), 1)))
    values = {x: found[f"labels.{x}"][0] for x in wanted}
    figures = {
        label: {x: None if np.isnan(v[k]) else float(v[k]) for x, v in values.items()}
        for k, label in enumerate(labels)
    }
    return {"split": points["split"], "labels": figures}


def verdicts(metrics, points, config):
    """A row of the first screen for each disease, of grades for who is referred and each grade.

    Returns:
        List of {"title", "at": path of its figures in `metrics`, "words": [sentence, ..], "better":
        whether it is shown to be ranked better than chance, "share": of positives or None,
        "target": see `_target`, or None}.
    """
    grade = config["task"] == "grade"
    rows = []
    if grade and "referable" in metrics["grade"]:
        entry = metrics["grade"]["referable"]
        row = _row(f"grade {entry['cut']} and above", "grade.referable", entry)
        rows.append(row | {"target": _target(metrics, points["referable"], "referable", entry)})
    for label in config["labels"]:
        entry = metrics["labels"][label]
        row = _row(label_text(label), f"labels.{label}", entry, grade)
        point = {"criterion": points["criterion"]} | points["labels"][label]
        rows.append(row | {"target": None if grade else _target(metrics, point, label, entry)})
    return rows


def _row(title, at, entry, likeliest=False):
    support, graded = entry["support"], entry["graded"]
    row = {"title": title, "at": at, "words": _words(entry, likeliest)}
    ends = entry.get("roc_auc_ci")
    row["better"] = bool(ends and ends[0] > CHANCE)
    return row | {"share": support / graded if graded else None}


def _words(entry, likeliest):
    """Sentences about one label: what it finds, and how much a call means."""
    support = entry["support"]
    if not entry["graded"]:
        return ["nobody graded it here"]
    if entry["threshold"] is None and not likeliest:
        return ["never called: there was no threshold to choose"]
    words = []
    if support:
        share = next(text for least, text in SHARES if entry["recall"] >= least)
        if entry["tp"] == support:
            share = "finds all,"
        words.append(f"{share} {entry['tp']} of {support}")
    else:
        words.append("nobody has it here")
    called = entry["tp"] + entry["fp"]
    if called:
        words.append(f"{in_ten(entry['precision'])} of those called have it")
    else:
        words.append("never called here")
    return words


def in_ten(share):
    """A share as people say it: "3 in 10", "hardly any", "nearly all", "all", "none"."""
    if share in (0, 1):
        return ("none", "all")[int(share)]
    tenths = round(10 * share)
    return {0: "hardly any", 10: "nearly all"}.get(tenths, f"{tenths} in 10")


def _target(metrics, point, label, entry):
    """What was asked of a threshold beside what it reached.

    Returns:
        {"asked": text, "name", "here", "val": paths of the figure or None, "met": whether it is
        reached here, None where no share was asked for, or nothing is known, "within": whether the
        interval holds what was asked for}.
    """
    kind, least = parse_criterion(point["criterion"])
    figure, name = ASKED[kind]
    chosen = metrics.get("chosen_on")
    at = f"labels.{label}" if label != "referable" else "grade.referable"
    target = {"name": name, "here": f"{at}.{figure}", "val": None, "met": None, "within": None}
    target["asked"] = "the best F1" if least is None else f"{name} {least:g}"
    if chosen and label in chosen["labels"]:
        target["val"] = f"chosen_on.labels.{label}.{figure}"
    value, ends = entry[figure], entry.get(f"{figure}_ci")
    if least is not None and value is not None:
        target["met"] = value >= least
        target["within"] = bool(ends and ends[0] <= least <= ends[1])
    return target
