"""Reads a report's page and recounts its figures from the predictions file, by other routes."""

import copy
import html.parser
import json

import numpy as np
import pandas as pd
from scipy import stats

from fundus_diag.metrics import bootstrap


class Page(html.parser.HTMLParser):
    """Collects the texts of all elements with `data-figure`, every src and href, all tags."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.links, self.tags, self.pictures, self._open = [], [], [], 0, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.pictures += tag == "svg"
        self.links += [v for k, v in attrs.items() if k in ("src", "href", "srcset", "action")]
        if "data-figure" in attrs:
            self._open = [attrs["data-figure"], ""]

    def handle_data(self, data):
        if self._open:
            self._open[1] += data

    def handle_endtag(self, tag):
        if self._open and tag == "span":
            self.figures.append(tuple(self._open))
            self._open = None


class Recount:
    """Every figure of the page once more, from the predictions file, by another route."""

    def __init__(self, run, split="test"):
        self.table = pd.read_csv(run / f"predictions_{split}.csv", dtype={"patient": str})
        self.config = json.loads((run / "config.json").read_text())
        self.run, self.points = run, json.loads((run / "thresholds.json").read_text())
        points = self.points["labels"]
        self.labels, self.grade = self.config["labels"], self.config["task"] == "grade"
        self.truth = self.table[[f"y_{x}" for x in self.labels]].to_numpy(float)
        self.score = self.table[[f"p_{x}" for x in self.labels]].to_numpy(float)
        thresholds = [points[x]["threshold"] for x in self.labels]
        self.thresholds = np.array([np.nan if t is None else t for t in thresholds])
        self.patients = self.table["patient"].to_numpy()
        self.call = np.where(np.isnan(self.thresholds), np.nan, self.score >= self.thresholds)
        if self.grade:
            self.call = np.eye(5)[self.score.argmax(axis=1)]
        self.everything = np.arange(len(self.table))
        self._found, self._samples = {}, {}

    def value(self, path, rows=None):
        rows = self.everything if rows is None else rows
        head, *rest = path.split(".")
        if head == "data":
            return self.data(*rest)
        if head == "prior_only":
            return self.prior().value(".".join(rest))
        if path.startswith("grade.referable."):
            return self.referable().label(rows, "referable", rest[1])
        if head == "chosen_on":  # of the rows that the thresholds were chosen on
            other = Recount(self.run, self.points["split"])
            other = other.referable() if self.grade else other
            return other.label(other.everything, rest[1], rest[2])
        if path in ("rows", "patients"):
            return len(rows) if path == "rows" else len(set(self.patients[rows]))
        if head == "labels":
            return self.label(rows, rest[0], rest[1])
        if head == "macro" and rest[0].endswith("_n_labels"):
            return len(self.defined(rest[0].removesuffix("_n_labels")))
        if head == "macro":
            values = [self.in_mean(rows, x, rest[0]) for x in self.defined(rest[0])]
            return float(np.mean(values)) if values else np.nan
        if head == "grade":
            return self.grades(rows, *rest)
        if head == "subgroups":
            return self.subgroup(*rest, rows)
        truth, score, call = self.truth[rows], self.score[rows], self.call[rows]
        decided = ~np.isnan(truth) & ~np.isnan(call)
        if path == "exact_match":
            used = ~np.isnan(call).all(axis=0)
            whole = decided[:, used].all(axis=1)
            return (truth == call)[:, used][whole].all(axis=1).mean()
        if path == "hamming":
            return (truth != call)[decided].mean()
        assert head == "micro", path
        graded = ~np.isnan(truth)
        return figure(rest[0], truth[graded], score[graded], truth[decided], call[decided])

    def label(self, rows, label, name):
        """A figure of one label, counted once for itself and for the means it is in."""
        key = rows.tobytes(), label, name
        if key not in self._found:
            self._found[key] = self._label(rows, label, name)
        return self._found[key]

    def _label(self, rows, label, name):
        k = self.labels.index(label)
        truth, score, call = self.truth[rows, k], self.score[rows, k], self.call[rows, k]
        graded, decided = ~np.isnan(truth), ~np.isnan(truth) & ~np.isnan(call)
        if name == "support":
            return int((truth == 1).sum())
        if name == "graded":
            return int(graded.sum())
        if name == "threshold":
            return self.thresholds[k]
        if name in ("tn", "fp", "fn", "tp"):
            want = {"tn": (0, 0), "fp": (0, 1), "fn": (1, 0), "tp": (1, 1)}[name]
            return int(((truth == want[0]) & (call == want[1])).sum())
        return figure(name, truth[graded], score[graded], truth[decided], call[decided])

    def in_mean(self, rows, label, name):
        """What a label adds to a macro mean: 0 where it could have been called rightly and was not.

        Without a positive among the rows there is no such call, and nothing to mean.
        """
        value = self.label(rows, label, name)
        if name not in ("precision", "mcc", "npv"):
            return value
        found = {x: self.label(rows, label, x) for x in ("tn", "fp", "fn", "tp")}
        possible = found["tn"] + found["fp"] > 0
        if name != "npv":
            possible = found["tp"] + found["fn"] > 0
        if name == "mcc":
            possible = possible and found["tn"] + found["fp"] > 0
        if not possible:
            return np.nan
        return 0.0 if np.isnan(value) else value

    def defined(self, name):
        values = {x: self.in_mean(self.everything, x, name) for x in self.labels}
        return [x for x, value in values.items() if not np.isnan(value)]

    def referable(self):
        """The same rows, and the one label whether somebody is to be referred."""
        point = self.points["referable"]
        other = copy.copy(self)
        other._found, other.labels, other.grade = {}, ["referable"], False
        other.truth = self.truth[:, point["cut"] :].sum(axis=1, keepdims=True)
        other.score = self.score[:, point["cut"] :].sum(axis=1, keepdims=True)
        other.thresholds = np.array([point["threshold"]])
        other.call = (other.score >= point["threshold"]).astype(float)
        return other

    def prior(self):
        """The same table with constant scores, all called (of grades the commonest one)."""
        train = self.config["data"]["splits"]["train"]
        counts = [[train[key][x] for x in self.labels] for key in ("positives", "negatives")]
        share = np.array(counts[0]) / np.sum(counts, axis=0)
        other = copy.copy(self)
        other._found = {}
        other.score = np.tile(share, (len(self.truth), 1))
        other.call = np.where(np.isnan(self.call), np.nan, 1.0)
        if self.grade:
            other.call = np.eye(5)[other.score.argmax(axis=1)]
        return other

    def grades(self, rows, name, *cell):
        truth, call = self.truth[rows].argmax(axis=1), self.call[rows].argmax(axis=1)
        if name == "confusion":
            return int(((truth == int(cell[0])) & (call == int(cell[1]))).sum())
        if name == "accuracy":
            return (truth == call).mean()
        if name == "kappa":
            chance = np.mean((truth[:, None] - call) ** 2)  # every pair of a truth and a call
            return 1 - np.mean((truth - call) ** 2) / chance
        return self.value(f"macro.{name.replace('_n_grades', '_n_labels')}", rows)

    def members(self, column, index):
        if column == "sex":
            return np.flatnonzero(self.table["sex"] == ["female", "male"][int(index)])
        age = self.table["age"]
        decade = np.where(age < 40, 0, np.where(age < 70, age // 10 - 3, 4))
        return np.flatnonzero(np.where(age.isna(), 5, decade) == int(index))

    def subgroup(self, column, index, name, rows):
        here = self.members(column, index)
        if name in ("rows", "patients"):
            return self.value(name, here)
        truth = self.truth[here]
        classes = zip((truth == 1).sum(axis=0), (truth == 0).sum(axis=0), strict=True)
        used = [x for x, n in zip(self.labels, classes, strict=True) if min(n) >= 5]
        if name == "n_labels":
            return len(used)
        rows = here if rows is self.everything else rows
        return np.mean([self.label(rows, x, name) for x in used])

    def interval(self, path, resamples):
        """Percentiles over resamples of patients, each made of repeated rows."""
        rows = self.everything
        if path.startswith("subgroups"):
            rows = self.members(*path.split(".")[1:3])
        key = rows.tobytes(), resamples
        if key not in self._samples:
            drawn = bootstrap.resamples(self.patients[rows], resamples, self.config["seed"])
            weights = np.concatenate(list(drawn), axis=1)
            self._samples[key] = [np.repeat(rows, w) for w in weights.T]
        values = [self.value(path, again) for again in self._samples[key]]
        return np.nanpercentile(values, [2.5, 97.5])

    def data(self, split, kind, label=None):
        part = self.config["data"]["splits"][split]
        if split != "test":  # its photographs are not in the file
            return part[kind] if label is None else part[kind][label]
        if label is None:
            return self.value(kind)
        y = self.table[f"y_{label}"]
        return int({"positives": y == 1, "negatives": y == 0, "ungraded": y.isna()}[kind].sum())


def figure(name, truth, score, decided, call):
    """One figure: `truth` and `score` of graded entries, `decided` and `call` of called ones."""
    n_positive, n_negative = (truth == 1).sum(), (truth == 0).sum()
    if name in ("roc_auc", "average_precision") and not (n_positive and n_negative):
        return np.nan
    if name == "roc_auc":  # Mann and Whitney's U
        ranks = stats.rankdata(score)[truth == 1].sum()
        return (ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
    if name == "average_precision":  # the precision at each positive: what scores as high or higher
        order = np.argsort(-score)
        up_to = np.searchsorted(-score[order], -score[truth == 1], side="right")
        return np.mean(np.cumsum(truth[order])[up_to - 1] / up_to)
    if name == "brier":
        return np.mean((truth - score) ** 2)
    if name == "ece":
        place = np.minimum((score * 15).astype(int), 14)
        return sum(abs((score - truth)[place == b].sum()) for b in range(15)) / truth.size
    yes, no = call[decided == 1], call[decided == 0]  # calls among positives, among negatives
    if name == "mcc":
        flat = call.size == 0 or call.std() == 0 or decided.std() == 0
        return np.nan if flat else np.corrcoef(decided, call)[0, 1]
    if name == "precision":
        return decided[call == 1].mean() if (call == 1).any() else np.nan
    if name == "npv":
        return (decided[call == 0] == 0).mean() if (call == 0).any() else np.nan
    if name == "recall":
        return yes.mean() if yes.size else np.nan
    if name == "f1":  # Dice's overlap of the two sets
        return 2 * yes.sum() / (yes.size + call.sum()) if yes.size else np.nan
    share = no.mean() if no.size else np.nan
    return {"false_positive_rate": share, "specificity": 1 - share}[name]
