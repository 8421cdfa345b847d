"""What is chosen and fitted comes from val: computed again from the table and the weights kept.

In these photographs val says another thing than train: what was taken from train would be seen.
"""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats
from sklearn import metrics as skm
from tiny import make_photographs, train_only

from fundus_diag import load_run
from fundus_diag.imaging.preprocess import load_picture

LABELS = ["A", "B"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder, rows of val, their logits by the weights kept)."""
    manifest = make_photographs(tmp_path_factory.mktemp("photographs"), patients=60)
    table = pd.read_csv(manifest)
    val = table["split"] == "val"
    table.loc[val, "A"] = 1 - table.loc[val, "A"]
    table["B"] = table["B"].mask(val & table["B"].notna(), np.arange(len(table)) % 2)
    table.to_csv(manifest, index=False)
    folder = tmp_path_factory.mktemp("runs") / "run"
    flags = {"phase2_rate": 0.01, "select": "average_precision", "no_augment": True}
    assert train_only(manifest, folder, **flags) == 0
    pictures = [np.asarray(load_picture(manifest.parent / x, 32, "fundus"))
                for x in table["image"][val]]  # fmt: skip
    logits = load_run(folder).model.predict(np.stack(pictures).astype("float32"), verbose=0)
    return folder, table[val].reset_index(drop=True), logits.astype(float)


def graded(run, label):
    """(truth, logits) of the rows of val that are graded for a label."""
    _, table, logits = run
    use = table[label].notna().to_numpy()
    return table[label][use].to_numpy() == 1, logits[use, LABELS.index(label)]


def best_f1(truth, scores):
    """(F1, recall, accuracy) of the best cut; of equally good ones that with the fewest calls."""
    best = (-1.0,)
    for cut in np.unique(scores):
        called = scores >= cut
        f1 = skm.f1_score(truth, called)
        if f1 >= best[0]:
            best = f1, skm.recall_score(truth, called), skm.accuracy_score(truth, called)
    return best


def test_the_figures_of_the_epoch_kept_are_those_of_val(run):
    folder, _, _ = run
    config = json.loads((folder / "config.json").read_text())
    history = pd.read_csv(folder / "history.csv").set_index("epoch")
    row = history.loc[config["best_epoch"]]
    assert config["best_epoch"] == history["val_macro_average_precision"].idxmax()
    per_label, losses = [], []
    for label in LABELS:
        truth, z = graded(run, label)
        weight = np.where(truth, config["data"]["pos_weight"][label], 1)
        p = special.expit(np.where(truth, z, -z))
        losses.append(-(weight * np.log(p)).sum())
        per_label.append(
            (*best_f1(truth, z), skm.roc_auc_score(truth, z), skm.average_precision_score(truth, z))
        )
    f1, recall, accuracy, auc, precision = np.mean(per_label, axis=0)
    want = {
        "val_macro_f1": f1,
        "val_macro_recall": recall,
        "val_accuracy": accuracy,
        "val_composite": (f1 + recall + accuracy) / 3,
        "val_macro_roc_auc": auc,
        "val_macro_average_precision": precision,
        "val_loss": sum(losses) / len(run[1]) / 2,
    }
    for name, value in want.items():
        assert row[name] == pytest.approx(value, abs=2e-4), name


@pytest.mark.parametrize("label", LABELS)
def test_calibration_and_threshold_are_fitted_on_val(run, label):
    entry = json.loads((run[0] / "thresholds.json").read_text())["labels"][label]
    truth, z = graded(run, label)
    assert (entry["positives"], entry["negatives"]) == (truth.sum(), (~truth).sum())
    assert entry["positives"] >= 10  # fewer would lean on a prior

    def loss(theta, prior=0.0):
        u = theta[0] * z + theta[1]
        return np.logaddexp(0, np.where(truth, -u, u)).sum() + prior / 2 * (theta[0] - 1) ** 2

    slope, intercept = optimize.minimize(loss, [1, 0], 0.1, method="Nelder-Mead").x
    best_without = optimize.minimize_scalar(lambda b: loss([0, b]), (-20, 20)).fun
    if slope <= 0 or 2 * (best_without - loss([slope, intercept])) < stats.chi2.ppf(0.95, 1):
        slope, intercept = optimize.minimize(loss, [1, 0], 1.0, method="Nelder-Mead").x
    if slope <= 0:  # the ranking is not turned round
        slope = 1.0
        intercept = optimize.brentq(lambda b: special.expit(z + b).sum() - truth.sum(), -50, 50)
    assert [entry["slope"], entry["intercept"]] == pytest.approx([slope, intercept], abs=2e-3)
    p = special.expit(entry["slope"] * z + entry["intercept"])
    assert skm.f1_score(truth, p >= entry["threshold"]) == pytest.approx(best_f1(truth, p)[0])


def test_the_weights_kept_are_weights_alone(run):
    with h5py.File(run[0] / "model.weights.h5") as file:
        assert set(file) & {"layers", "optimizer"} == {"layers"}


def test_predictions_of_val_hold_the_truth_of_the_table(run):
    folder, table, _ = run
    got = pd.read_csv(folder / "predictions_val.csv")
    assert got["image"].tolist() == table["image"].tolist()
    for label in LABELS:
        np.testing.assert_array_equal(got[f"y_{label}"], table[label].astype(float))
