"""What words say of labels, of phrases, and of phrases that were kept out of training.

    python benchmarks/words.py --words RUN --classifier RUN --without RUN --manifest words.csv \
        --image-root ODIR [--split test]

Both runs are of the same people; their predictions of the split are those that `fundus-diag report`
wrote. A label's score from words alone is the highest of the probabilities of its findings. Chance
is the share of positives for average precision, .5 for ROC AUC. Intervals are of the bootstrap over
patients; the difference of both macro ROC AUCs is DeLong's by patient.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from fundus_diag.data.findings import find, read_vocabulary
from fundus_diag.data.labels import LABELS
from fundus_diag.metrics import bootstrap
from fundus_diag.metrics.classification import statistic
from fundus_diag.metrics.comparison import auc_difference
from fundus_diag.runs.run_files import read_config, read_predictions

RESAMPLES = 1000
POSITIVES = 10  # in train, of a phrase that is scored
ENOUGH = 5  # in the split, of one that counts in the mean: of fewer, some resamples have none


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--words", "--classifier", "--without", "--manifest", "--image-root"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    words, phrases = predictions(args.words, args.split)
    both, labels = predictions(args.classifier, args.split)
    both = words[["image"]].merge(both, on="image", validate="1:1")
    if len(both) < len(words) or set(labels) != set(LABELS):
        sys.exit(f"{args.classifier}: not ODIR's labels of the same photographs")
    of_labels(words, phrases, both)
    table = pd.read_csv(args.manifest, dtype=str, keep_default_na=False)
    train = table[table["split"] == "train"]
    often = [x for x in phrases if (train[x] == "1").sum() >= POSITIVES]
    print(f"\nphrases with {POSITIVES} positives in train at least")
    mean_of(words, {x: words[f"p_{x}"] for x in often})
    of_unseen(args, table, words)


def of_labels(words, phrases, both):
    """Macro and single ROC AUCs of labels: from words alone, and of the classifier."""
    vocabulary = read_vocabulary()
    label_of = {x: find(vocabulary, x).label for x in phrases}
    said = [
        np.max([words[f"p_{x}"] for x in phrases if label_of[x] == label], axis=0)
        for label in LABELS
    ]
    said, learned = np.stack(said, axis=1), both[[f"p_{x}" for x in LABELS]].to_numpy()
    truth, patients = both[[f"y_{x}" for x in LABELS]].to_numpy(), both["patient"]
    for name, score in (("words alone", said), ("classifier", learned)):
        area = figures(truth, score, patients, "roc_auc")
        each = ", ".join(f"{k} {x[0]:.3f}" for k, x in zip(LABELS, area[1], strict=True))
        print(f"{name}: macro ROC AUC {shown(area[0])}; {each}")
    found = auc_difference(truth, said[None], learned[None], patients)
    print("difference {difference:+.3f} ({low:+.3f} to {high:+.3f}, p = {p:.3f})".format(**found))


def of_unseen(args, table, words):
    """Phrases that a training never saw, asked of it, beside the one that learned them."""
    unseen = list(read_config(args.without)["flags"]["without_labels"])
    with tempfile.TemporaryDirectory() as folder:
        rows, out = Path(folder) / "rows.csv", Path(folder) / "found"
        table[table["split"] == args.split].to_csv(rows, index=False)
        ask = ["retrieve", args.without, rows, "--image-root", args.image_root, "--out", out]
        command = [sys.executable, "-m", "fundus_diag", *ask, "--phrases", *unseen]
        subprocess.run([str(x) for x in command], check=True)
        asked = pd.read_csv(out / "retrieved.csv")
    asked = asked.pivot(index="image", columns="phrase", values="score").loc[words["image"]]
    print("\nkept out of training")
    mean_of(words, {x: asked[x].to_numpy() for x in unseen})
    print("the same phrases, learned")
    mean_of(words, {x: words[f"p_{x}"] for x in unseen})


def mean_of(rows, scores):
    """Average precision and ROC AUC of each phrase and their means, beside chance."""
    truth = np.stack([rows[f"y_{x}"] for x in scores], axis=1)
    scores, names = np.stack(list(scores.values()), axis=1), list(scores)
    precision, area = (
        figures(truth, scores, rows["patient"], x) for x in ("average_precision", "roc_auc")
    )
    chance = truth.mean(axis=0)
    for k, name in enumerate(names):
        print(
            f"{name}: {truth[:, k].sum():.0f} positives; average precision "
            f"{shown(precision[1][k])}, chance {chance[k]:.3f}; ROC AUC {shown(area[1][k])}"
        )
    often = truth.sum(axis=0) >= ENOUGH
    precision, area = (
        figures(truth[:, often], scores[:, often], rows["patient"], x)[0]
        for x in ("average_precision", "roc_auc")
    )
    print(
        f"mean of the {often.sum()} with {ENOUGH} positives at least: average precision "
        f"{shown(precision)}, chance {chance[often].mean():.3f}; ROC AUC {shown(area)}"
    )


def figures(truth, score, patients, name):
    """(mean over labels, [of each label]) of a figure, each (value, low, high)."""
    counted = statistic(truth, score, np.full_like(score, np.nan), [name])
    value = counted(np.ones((len(truth), 1), int))[f"labels.{name}"][0]
    drawn = bootstrap.distribution(counted, patients, RESAMPLES, 0, truth.shape[1])
    drawn = drawn[f"labels.{name}"]
    defined = ~np.isnan(value)
    mean = (value[defined].mean(), drawn[:, defined].mean(axis=1))
    each = list(zip(value, drawn.T, strict=True))
    (mean, *each) = [(x, *(bootstrap.interval(y)[0] or (np.nan, np.nan))) for x, y in (mean, *each)]
    return mean, each


def shown(figure):
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def predictions(run, split):
    """(table of predictions, labels) of a run."""
    config = read_config(run)
    path = run / f"predictions_{split}.csv"
    return read_predictions(path, config["labels"], config["unit"]), config["labels"]


if __name__ == "__main__":
    main()
