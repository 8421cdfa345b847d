"""What is shown of an epoch, while it runs and after it."""

import math
import time

import keras
import numpy as np

from fundus_diag.utils.progress import bar

ENOUGH = 5.0  # s of steps that tell how long the others will take
MOST_SHOWN, LOWEST_SHOWN = 12, 3  # labels whose scores a line has; of more the lowest


class EpochBar(keras.callbacks.Callback):
    """The bar of one epoch: steps, running loss, and the label scores of the epoch before.

    The epoch ends with the first batch that leaves no finite loss: nothing comes after it.

    Args:
        title, scores: texts beside the bar.
        steps: of the epoch.
        told: function of the seconds of a step, called once, as soon as they can be told. The first
            step, which traces the network, does not count.
    """

    def __init__(self, title, steps, scores="", told=None):
        super().__init__()
        self.progress = bar()
        self.task = self.progress.add_task(title, total=steps)
        self.title, self.steps, self.scores, self.told = title, steps, scores, told
        self.began = None

    def on_train_begin(self, logs=None):
        self.progress.start()

    def on_train_batch_end(self, batch, logs=None):
        text = f"{self.title}: loss {logs['loss']:.4f}  {self.scores}"
        self.progress.update(self.task, advance=1, description=text)
        self._time(batch)
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True

    def _time(self, batch):
        now = time.monotonic()
        self.began = now if batch == 0 else self.began
        enough = now - self.began >= ENOUGH or batch == self.steps - 1
        if self.told and batch and enough:
            self.told((now - self.began) / batch)
            self.told = None


def label_scores(history, labels):
    """ROC AUC on `val` of each label after the last epoch of a history; empty for grades.

    Of many labels, such as findings, the lowest few: all are in history.csv.
    """
    if not history or f"val_roc_auc_{labels[0]}" not in history[-1]:
        return ""
    scores = {x: history[-1][f"val_roc_auc_{x}"] for x in labels}
    if len(labels) <= MOST_SHOWN:
        return " ".join(f"{x} {value:.2f}" for x, value in scores.items())
    known = sorted((x for x in labels if not np.isnan(scores[x])), key=scores.get)[:LOWEST_SHOWN]
    lowest = ", ".join(f"{x} {scores[x]:.2f}" for x in known)
    return f"lowest of {len(labels)} labels {lowest}"


def summary_line(row, labels):
    """One line on a finished epoch, from its row of `history.csv`."""
    figures = f"loss {row['loss']:.4f}, val loss {row['val_loss']:.4f}, "
    if "val_kappa" in row:
        return figures + f"accuracy {row['val_accuracy']:.3f}, kappa {row['val_kappa']:.3f}"
    figures += f"F1 {row['val_macro_f1']:.3f}, ROC AUC {row['val_macro_roc_auc']:.3f}: "
    return figures + label_scores([row], labels)
