"""How a report's page shows what `metrics_<split>.json` holds: each figure with its path."""

import csv
import io
from pathlib import Path

from markupsafe import Markup

from fundus_diag.metrics import classification
from fundus_diag.metrics.evaluate import AT_HALF


def duration(seconds):
    """Seconds in words: "50 seconds", "1.5 minutes", "34 minutes"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.{int(seconds < 600)}f} minutes"


def file_name(value):
    """A path without its folders, which are nobody's business but the owner's; else the value."""
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def metrics_csv(metrics, labels):
    """The table per label, one row per label, undefined cells empty."""
    names = ["support", "graded", "threshold", "tn", "fp", "fn", "tp"]
    for name in classification.FIGURES:
        names += [name, f"{name}_low", f"{name}_high", f"prior_only_{name}"]
    for name in AT_HALF:
        names += [name, f"{name}_low", f"{name}_high"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", *names])
    for label in labels:
        entry, prior = metrics["labels"][label], metrics["prior_only"]["labels"][label]
        row = dict(entry)
        for name in (*classification.FIGURES, *AT_HALF):
            row[f"{name}_low"], row[f"{name}_high"] = entry.get(f"{name}_ci") or (None, None)
            row[f"prior_only_{name}"] = prior.get(name)
        writer.writerow([label, *(row[name] for name in names)])
    return text.getvalue()


def lookup(tree, path):
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


def number(tree, path, digits=3):
    """The figure at a path; a dash where it is undefined."""
    value = lookup(tree, path)
    text = "–" if value is None else f"{value:.{digits}f}"
    title = Markup(' title="undefined"') if value is None else ""
    return Markup('<span class="n" data-figure="{}"{}>{}</span>').format(path, title, text)


def interval(tree, path):
    """The interval of the figure at a path; nothing where it has none."""
    try:
        pair = lookup(tree, f"{path}_ci")
    except KeyError:  # a figure without intervals
        return ""
    if pair is None:
        return Markup('<span class="ci">no interval</span>')
    text = f"{pair[0]:.3f} to {pair[1]:.3f}"
    return Markup('<span class="ci" data-figure="{}_ci">{}</span>').format(path, text)


def count(tree, path):
    """The whole number at a path."""
    text = f"{lookup(tree, path):,}"
    return Markup('<span class="n" data-figure="{}">{}</span>').format(path, text)
