"""Speed of the bootstrap over patients, against a loop over scikit-learn.

    python benchmarks/bootstrap.py [--rows 10000 --labels 8 --resamples 1000 --loop 2 --repeats 3]

Both compute ROC AUC, average precision, precision, recall, F1, specificity, MCC and Brier score of
every label, and the micro-averaged areas, on the same resamples. The loop gets the repeated rows
and only `--loop` resamples per repeat; its time is scaled to all of them. Ours computes ECE, exact
match, Hamming loss and the ODIR figures besides.
"""

import argparse
import resource
import time

import numpy as np
from sklearn import metrics as skm

from fundus_diag.metrics import bootstrap, classification

PER_LABEL = {
    "roc_auc": lambda t, s, c: skm.roc_auc_score(t, s),
    "average_precision": lambda t, s, c: skm.average_precision_score(t, s),
    "precision": lambda t, s, c: skm.precision_score(t, c, zero_division=np.nan),
    "recall": lambda t, s, c: skm.recall_score(t, c),
    "f1": lambda t, s, c: skm.f1_score(t, c),
    "specificity": lambda t, s, c: skm.recall_score(t, c, pos_label=0),
    "mcc": lambda t, s, c: skm.matthews_corrcoef(t, c),
    "brier": lambda t, s, c: skm.brier_score_loss(t, s),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--labels", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--resamples", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--loop", type=int, default=2, help="resamples of the loop: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()

    y, p, called, patients = made_up(args.rows, args.labels)
    ours, loop, apart = [], [], 0.0
    for seed in range(args.repeats):
        begin = time.perf_counter()
        statistic = classification.statistic(y, p, called, official=True)
        draws = bootstrap.distribution(statistic, patients, args.resamples, seed, args.labels)
        ours.append(time.perf_counter() - begin)

        weights = np.concatenate(list(bootstrap.resamples(patients, args.loop, seed)), axis=1)
        begin = time.perf_counter()
        for k, w in enumerate(weights.T):
            for name, values in by_scikit_learn(y, p, called, w).items():
                apart = max(apart, np.abs(draws[name][k] - values).max())
        loop.append((time.perf_counter() - begin) / args.loop * args.resamples)

    ratio = np.array(loop) / ours
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{args.resamples} resamples of {args.rows} x {args.labels} scores")
    print(f"{'':24}{'median s':>10}{'least':>10}{'most':>10}")
    for name, values in (("weights, all at once", ours), ("scikit-learn loop", loop)):
        print(f"{name:24}{np.median(values):10.2f}{min(values):10.2f}{max(values):10.2f}")
    print(f"{'ratio':24}{np.median(ratio):10.1f}{ratio.min():10.1f}{ratio.max():10.1f}")
    print(f"largest difference {apart:.1e}; peak memory of the process {memory:.0f} MB")


def made_up(n_rows, n_labels):
    """Predictions of a fair classifier: two rows per patient, labels from rare to common."""
    rng = np.random.default_rng(0)
    y = (rng.random((n_rows, n_labels)) < np.geomspace(0.03, 0.45, n_labels)).astype(float)
    p = 1 / (1 + np.exp(-(rng.normal(size=y.shape) + 1.5 * y - 2)))
    return y, p, classification.call(p, np.full(n_labels, 0.3)), np.arange(n_rows) // 2


def by_scikit_learn(y, p, called, weights):
    """The figures of one resample, given as repeated rows."""
    rows = np.repeat(np.arange(len(y)), weights)
    truth, score, call = y[rows], p[rows], called[rows]
    columns = range(y.shape[1])
    out = {
        f"labels.{name}": np.array([f(truth[:, k], score[:, k], call[:, k]) for k in columns])
        for name, f in PER_LABEL.items()
    }
    out["micro.roc_auc"] = skm.roc_auc_score(truth.ravel(), score.ravel())
    out["micro.average_precision"] = skm.average_precision_score(truth.ravel(), score.ravel())
    return out


if __name__ == "__main__":
    main()
