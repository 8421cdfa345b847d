"""What decides the two phases of any network that starts from an encoder."""

import dataclasses
from typing import Literal

from fundus_diag.training.recipes import RECIPES
from fundus_diag.training.run_config import RunConfig
from fundus_diag.utils.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Schedule(RunConfig):
    """An encoder, the weights it starts from, and how long and how fast it learns."""

    encoder: str = "se_xception"
    """Network: se_xception (_small: for small pictures and quick runs), efficientnet_lite0 (its
    weights come with pip), resnet50, cvt_13, mae_vit_base, retfound, med_former or another of
    docs/how-to/encoders.md. A name that is unknown lists all."""
    encoder_options: tuple[str, ...] = ()
    """Changes of the network, NAME=VALUE, such as depths=1,1,4 or patch=8."""
    weights: str = "imagenet"
    """Start of the encoder: imagenet, none (random), a weights file, or that of another run."""
    image_size: int | None = None
    """Side of the square picture the network sees, px. Default: the encoder's, 299 for Xception,
    224 for most others."""

    recipe: Literal["auto", *RECIPES] = "auto"
    """Defaults of the schedule; auto: scratch with --weights none, else the encoder's own."""
    phase1_epochs: int | None = None
    """Epochs with the encoder frozen."""
    phase2_epochs: int | None = None
    """Epochs with everything training."""
    unfreeze_from: str | None = None
    """First block of the encoder that phase 2 trains, named as its layers are (blocks.9, block12);
    those before it stay frozen. Default: all train. A name that is unknown lists all."""
    phase1_rate: float | None = None
    """Highest learning rate of phase 1."""
    phase2_rate: float | None = None
    """Highest learning rate of phase 2."""
    schedule: Literal["cosine", "steps"] | None = None
    """Of a phase's rate: a cosine, or a tenth after each quarter."""
    final_rate: float | None = None
    """Learning rate at the end of a phase's cosine, as a share of its highest."""
    warmup: float | None = None
    """Share of a phase's steps over which the rate rises from 0."""
    layer_decay: float | None = None
    """Rate of each block over that of the next one up; 1: all alike."""
    drop_path: float | None = None
    """Stochastic depth of the last block, rising from 0; of transformers and EfficientNet."""
    weight_decay: float | None = None
    """Decoupled weight decay (AdamW)."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; 0 is off."""
    ema: float | None = None
    """Epochs over which weights are averaged for scoring and keeping; 0 is off."""
    patience: int | None = None
    """Epochs of a phase without a better validation score before it ends; 0 never ends early."""
    batch_size: int | None = None
    """Rows per step (patients with --unit patient)."""

    def settled(self, defaults):
        """The same with the values of its recipe filled in, and other defaults than the recipe's.

        Args:
            defaults: {field: value} where no flag is given.
        """
        # Here, and not above: it imports Keras.
        from fundus_diag.models.encoders import preset_of

        preset, recipe = preset_of(self.encoder), self.recipe
        if recipe == "auto":
            recipe = "scratch" if self.weights == "none" else preset.recipe
        known = {x.name for x in dataclasses.fields(self)}
        found = {k: v for k, v in RECIPES[recipe].items() if k in known} | defaults
        found.setdefault("image_size", preset.image_size)
        missing = {k: v for k, v in found.items() if getattr(self, k) is None}
        return dataclasses.replace(self, **missing, recipe=recipe)

    def check(self, limits):
        """Refuses what no run can do.

        Args:
            limits: {field: (low, high)} of the run's own fields.

        Raises:
            UsageError: a value out of its range, or flags that contradict each other.
        """
        from fundus_diag.models.layers.preprocessing import LARGEST, SMALLEST

        own = {
            "image_size": (SMALLEST, LARGEST),
            "phase1_epochs": (0, 10_000),
            "phase2_epochs": (0, 10_000),
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
        }
        super().check({**own, **limits})
        if self.phase1_epochs + self.phase2_epochs == 0:
            raise UsageError("--phase1-epochs and --phase2-epochs: both 0, nothing to train")
