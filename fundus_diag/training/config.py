"""Everything that decides a training run, with its defaults, units and ranges."""

import dataclasses
from typing import Literal

from fundus_diag.metrics.thresholds import parse_criterion
from fundus_diag.training.recipes import RECIPES
from fundus_diag.training.run_config import RunConfig
from fundus_diag.utils.errors import UsageError

# What a run did before there was a flag for it.
BEFORE = {"most_repeats": 0.0, "phase1_views": 0, "select": "composite"}


@dataclasses.dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Train a classifier in two phases: the head alone, then everything."""

    encoder: str = "se_xception"
    """Network: se_xception (_small: for small pictures and quick runs), efficientnet_lite0 (its
    weights come with pip), resnet50, cvt_13, mae_vit_base, retfound, med_former or another of
    docs/encoders.md. A name that is unknown lists all."""
    encoder_options: tuple[str, ...] = ()
    """Changes of the network, NAME=VALUE, such as depths=1,1,4 or patch=8."""
    weights: str = "imagenet"
    """Start of the encoder: imagenet, none (random), a weights file, or that of another run."""
    unit: Literal["eye", "patient"] = "eye"
    """What is diagnosed: one photograph, or both eyes of a patient together."""
    task: Literal["multi_label", "grade"] = "multi_label"
    """Independent labels, or exclusive grades (columns grade_0, grade_1, ..)."""
    grade_head: Literal["softmax", "ordinal"] = "softmax"
    """Of --task grade: a logit a grade, or one score that is cut at rising thresholds."""
    pool: Literal["mean", "class_token"] = "mean"
    """What the head sees of a transformer: the mean of its patches, or its class token."""
    image_size: int | None = None
    """Side of the square picture the network sees, px. Default: the encoder's, 299 for Xception,
    224 for most others."""

    recipe: Literal["auto", *RECIPES] = "auto"
    """Defaults of the schedule; auto: scratch with --weights none, else the encoder's own."""
    phase1_epochs: int | None = None
    """Epochs with the encoder frozen. Default: the recipe's."""
    phase2_epochs: int | None = None
    """Epochs with everything training. Default: the recipe's."""
    phase1_views: int = 1
    """Views of each training photograph that phase 1 of a pretrained encoder learns from; the
    encoder looks at each once, in whatever number of epochs. 1: the photograph; more: augmented
    ones too; 0: the encoder looks anew in every step, at another view."""
    unfreeze_from: str | None = None
    """First block of the encoder that phase 2 trains, named as its layers are (blocks.9, block12);
    those before it stay frozen. Default: all train. A name that is unknown lists all."""
    phase1_rate: float | None = None
    """Highest learning rate of phase 1. Default: the recipe's."""
    phase2_rate: float | None = None
    """Highest learning rate of phase 2. Default: the recipe's."""
    schedule: Literal["cosine", "steps"] | None = None
    """Of a phase's rate: a cosine, or a tenth after each quarter. Default: the recipe's."""
    final_rate: float | None = None
    """Learning rate at the end of a phase's cosine, as a share of its highest."""
    warmup: float | None = None
    """Share of a phase's steps over which the rate rises from 0. Default: the recipe's."""
    layer_decay: float | None = None
    """Rate of each block over that of the next one up; 1: all alike. Default: the recipe's."""
    drop_path: float | None = None
    """Stochastic depth of the last block, rising from 0; of transformers and EfficientNet.
    Default: the recipe's."""
    weight_decay: float | None = None
    """Decoupled weight decay (AdamW). Default: the recipe's."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; 0 is off. Default: the recipe's."""
    ema: float | None = None
    """Epochs over which weights are averaged for scoring and keeping; 0 is off."""
    patience: int | None = None
    """Epochs of a phase without a better validation score before it ends; 0 never ends early.
    Default: the recipe's."""
    batch_size: int | None = None
    """Rows per step (patients with --unit patient). Default: the recipe's, mostly 32."""
    dropout: float | None = None
    """Dropout rate before the logits. Default: the recipe's."""

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
    """Alpha of Mixup; 0: off. Default: the recipe's."""
    cutmix: float | None = None
    """Alpha of CutMix; 0: off. Default: the recipe's."""
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
    """Thresholds chosen on val: f1 (the best), sensitivity=0.9 or specificity=0.95."""

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
        # Here, and not above: it imports Keras.
        from fundus_diag.models.encoders import preset_of

        preset, recipe = preset_of(self.encoder), self.recipe
        if recipe == "auto":
            recipe = "scratch" if self.weights == "none" else preset.recipe
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        defaults = {"image_size": preset.image_size, **RECIPES[recipe]}
        defaults["select"] = "composite" if self.task == "grade" else "average_precision"
        config = dataclasses.replace(self, **{**defaults, **given, "recipe": recipe})
        config._check()
        return config

    def _check(self):
        from fundus_diag.data.augment import LARGEST_RAND_AUGMENT
        from fundus_diag.models.layers.preprocessing import LARGEST, SMALLEST

        limits = {
            "image_size": (SMALLEST, LARGEST),
            "phase1_epochs": (0, 10_000),
            "phase2_epochs": (0, 10_000),
            "phase1_views": (0, 100),
            "phase1_rate": (0, 1),
            "phase2_rate": (0, 1),
            "final_rate": (0, 1),
            "warmup": (0, 0.9),
            "layer_decay": (0.01, 1),
            "drop_path": (0, 0.9),
            "weight_decay": (0, 1),
            "clip_norm": (0, 1e6),
            "ema": (0, 1000),
            "patience": (0, 10_000),
            "batch_size": (1, 65_536),
            "dropout": (0, 0.99),
            "oversample_to": (0, 100),
            "label_smoothing": (0, 0.9),
            "mixup": (0, 100),
            "cutmix": (0, 1),
            "rand_augment": (0, LARGEST_RAND_AUGMENT),
        }
        self.check(limits)
        parse_criterion(self.criterion)
        if self.phase1_epochs + self.phase2_epochs == 0:
            raise UsageError("--phase1-epochs and --phase2-epochs: both 0, nothing to train")
        if self.reweight and not 1 <= self.reweight <= 100:
            raise UsageError(f"--reweight {self.reweight}: 0 (off) or from 1 to 100")
        if self.most_repeats and not 1 <= self.most_repeats <= 1e6:
            raise UsageError(f"--most-repeats {self.most_repeats}: 0 (no limit) or from 1 to 1e6")
        if self.task == "grade" and self.reweight:
            raise UsageError("--reweight: only for --task multi_label")
        if self.task == "multi_label" and self.grade_head != "softmax":
            raise UsageError("--grade-head: only for --task grade")
        if self.task == "grade" and self.criterion != "f1":
            raise UsageError(
                f"--criterion {self.criterion}: only for --task multi_label; grades are called by "
                "the largest probability"
            )
