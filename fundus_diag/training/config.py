"""Everything that decides a training run, with its defaults, units and ranges."""

import dataclasses
from typing import Literal

from fundus_diag.training.schedule import Schedule
from fundus_diag.utils.errors import UsageError

# What a run did before there was a flag for it.
BEFORE = {"most_repeats": 0.0, "phase1_views": 0, "select": "composite"}


@dataclasses.dataclass(frozen=True)
class TrainConfig(Schedule):
    """Train a classifier in two phases: the head alone, then everything."""

    unit: Literal["eye", "patient"] = "eye"
    """What is diagnosed: one photograph, or both eyes of a patient together."""
    task: Literal["multi_label", "grade", "findings"] = "multi_label"
    """Independent labels, or exclusive grades (columns grade_0, grade_1, ..), or labels that are
    words: findings of docs/how-to/words.md, by which phrases are scored that no table has."""
    without_labels: tuple[str, ...] = ()
    """Labels of the table that are left out, such as findings that are asked for later."""
    grade_head: Literal["softmax", "ordinal"] = "softmax"
    """Of --task grade: a logit a grade, or one score that is cut at rising thresholds."""
    pool: Literal["mean", "class_token"] = "mean"
    """What the head sees of a transformer: the mean of its patches, or its class token."""
    phase1_views: int = 1
    """Views of each training photograph that phase 1 of a pretrained encoder learns from; the
    encoder looks at each once, in whatever number of epochs. 1: the photograph; more: augmented
    ones too; 0: the encoder looks anew in every step, at another view."""
    dropout: float | None = None
    """Dropout rate before the logits."""

    oversample_to: float = 1.0
    """Rows of labels rarer than the median are repeated to this times its count; 0: off."""
    most_repeats: float = 10.0
    """A positive counts at most so often an epoch, by repetition and weight together; 0: no limit.
    More makes a network learn a few photographs by heart."""
    pos_weight: Literal["median", "multiplied", "none"] = "median"
    """Weight of positives: median / count of the label after repetition, or 1. Repeated labels
    are at the median already, so that it lowers what is more common. multiplied: of the counts
    before repetition, so that rare labels are raised twice, as in the original system."""
    reweight: float = 0.0
    """Raise the weights of labels that validation misses, at most by this factor; 0: off."""
    label_smoothing: float | None = None
    """Share of each target that is spread evenly over both answers, or over the grades."""

    augment: bool = True
    """Mirror, rotate, zoom, shift, brightness, contrast."""
    mixup: float | None = None
    """Alpha of Mixup; 0: off."""
    cutmix: float | None = None
    """Alpha of CutMix; 0: off."""
    rand_augment: float = 0.0
    """Strength of RandAugment, up to 0.2; 0: off."""

    select: Literal["composite", "average_precision", "roc_auc"] | None = None
    """What on val chooses the epoch: the mean of F1, recall and accuracy (of grades: of accuracy
    and kappa), or the macro average precision, or the macro ROC AUC. Default: average_precision,
    of grades composite."""
    resampled_val_on_purpose: bool = False
    """A mistake, to show how much it flatters: val is scored with its rare rows repeated as
    those of train are."""
    criterion: str = "f1"
    """Thresholds chosen on val: f1 (the best), sensitivity=0.9 or specificity=0.95; of grades that
    of the referable ones."""
    referable_cut: int | None = None
    """Of grades, the first that is referred. Default: 2, of two grades 1."""

    def going_on(self, flags):
        """The same, but that flags which the run was started without are as it was made then.

        Args:
            flags: {name: value} that an interrupted run was started with; None for a new run.
        """
        if flags is None:
            return self
        unknown = {name: value for name, value in BEFORE.items() if name not in flags}
        return dataclasses.replace(self, **unknown)

    def resolved(self):
        """The same with the recipe's values filled in.

        Raises:
            UsageError: a value out of its range, or flags that contradict each other.
        """
        select = "composite" if self.task == "grade" else "average_precision"
        config = self.settled({"select": select})
        if self.task == "findings":  # words read the map, which is too large to be kept of each row
            config = dataclasses.replace(config, phase1_views=0)
        config._check()
        return config

    def _check(self):
        from fundus_diag.data.augment import LARGEST_RAND_AUGMENT
        from fundus_diag.metrics.thresholds import parse_criterion

        limits = {
            "phase1_views": (0, 100),
            "dropout": (0, 0.99),
            "oversample_to": (0, 100),
            "label_smoothing": (0, 0.9),
            "mixup": (0, 100),
            "cutmix": (0, 1),
            "rand_augment": (0, LARGEST_RAND_AUGMENT),
        }
        self.check(limits)
        parse_criterion(self.criterion)
        if self.reweight and not 1 <= self.reweight <= 100:
            raise UsageError(f"--reweight {self.reweight}: 0 (off) or from 1 to 100")
        if self.most_repeats and not 1 <= self.most_repeats <= 1e6:
            raise UsageError(f"--most-repeats {self.most_repeats}: 0 (no limit) or from 1 to 1e6")
        if self.task == "grade" and self.reweight:
            raise UsageError("--reweight: only for --task multi_label")
        if self.task != "grade" and self.grade_head != "softmax":
            raise UsageError("--grade-head: only for --task grade")
        if self.task != "grade" and self.referable_cut is not None:
            raise UsageError("--referable-cut: only for --task grade")
