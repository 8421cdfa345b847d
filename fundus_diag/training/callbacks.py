"""What is shown of an epoch, while it runs and after it."""

import math

import keras

from fundus_diag.utils.progress import bar


class EpochBar(keras.callbacks.Callback):
    """The bar of one epoch: steps, running loss, and the label scores of the epoch before.

    The epoch ends with the first batch that leaves no finite loss: nothing comes after it.
    """

    def __init__(self, title, steps, scores=""):
        super().__init__()
        self.progress = bar()
        self.task = self.progress.add_task(title, total=steps)
        self.title, self.scores = title, scores

    def on_train_begin(self, logs=None):
        self.progress.start()

    def on_train_batch_end(self, batch, logs=None):
        text = f"{self.title}: loss {logs['loss']:.4f}  {self.scores}"
        self.progress.update(self.task, advance=1, description=text)
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.progress.stop()


def label_scores(history, labels):
    """ROC AUC on `val` of each label after the last epoch of a history; empty for grades."""
    if not history or f"val_roc_auc_{labels[0]}" not in history[-1]:
        return ""
    return " ".join(f"{x} {history[-1][f'val_roc_auc_{x}']:.2f}" for x in labels)


def summary_line(row, labels):
    """One line on a finished epoch, from its row of `history.csv`."""
    figures = f"loss {row['loss']:.4f}, val loss {row['val_loss']:.4f}, "
    if "val_kappa" in row:
        return figures + f"accuracy {row['val_accuracy']:.3f}, kappa {row['val_kappa']:.3f}"
    figures += f"F1 {row['val_macro_f1']:.3f}, ROC AUC {row['val_macro_roc_auc']:.3f}: "
    return figures + label_scores([row], labels)
