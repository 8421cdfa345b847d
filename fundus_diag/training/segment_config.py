"""Everything that decides the training of a segmenter, with its defaults, units and ranges."""

import dataclasses
import math
from typing import ClassVar, Literal

from fundus_diag.training.schedule import Schedule
from fundus_diag.utils.errors import UsageError


@dataclasses.dataclass(frozen=True)
class SegmentConfig(Schedule):
    """Train a segmenter in two phases: the decoder alone, then everything."""

    # In place of a recipe's. A decoder starts from nothing whatever the encoder starts from.
    OWN: ClassVar = {
        "image_size": 512,
        "phase1_epochs": 2,
        "phase2_epochs": 40,
        "phase1_rate": 1e-3,
        "phase2_rate": 1e-3,
        "batch_size": 8,
    }

    network: Literal["unet", "transunet", "unetr"] = "unet"
    """Decoder: U-Net's on any convolutional encoder, TransUNet, or UNETR on mae_vit_* and
    retfound."""
    decoder_options: tuple[str, ...] = ()
    """Changes of the decoder, NAME=VALUE, such as width=0.5; of transunet channels=192 depth=4
    heads=3."""
    encoder: str = "efficientnet_lite0"
    """Network that the decoder stands on; see docs/how-to/encoders.md. A name that is unknown lists
    all."""
    classes: tuple[str, ...] = ()
    """What is segmented: columns mask_<name> of the table. Default: all but mask_fov and those of a
    second observer (mask_<name>_2)."""
    soft_masks: bool = False
    """Masks hold shares, such as of observers who agree, from 0 to the brightest; a pixel is of a
    class where the share is half at least."""
    image_size: int | None = None
    """Side of the square picture that patches are cut from, px."""
    patch_size: int | None = None
    """Side of what the network sees at once, px. Default: 256, or --image-size where that is
    less."""
    patches: int | None = None
    """Patches of each photograph an epoch. Default: twice as many as cover it."""
    patch_share: float = 0.5
    """Share of the patches that are laid about a pixel of a class, evenly over the classes, so that
    small lesions are seen."""
    overlap: float = 0.5
    """Share of a window's side that the next one overlaps it by, where whole pictures are
    predicted; windows weigh by a Gaussian."""
    miss_weight: float = 0.5
    """Weight of missed pixels in the Tversky index of the loss, from 0 to 1; 0.5: Dice."""
    augment: bool = True
    """Turn, zoom, mirror, brightness, contrast, colour."""

    def resolved(self):
        """The same with the recipe's values filled in.

        Raises:
            UsageError: a value out of its range, or flags that contradict each other.
        """
        size = self.image_size or self.OWN["image_size"]
        side = self.patch_size or min(256, size)
        patches = 1 if side >= size else 2 * math.ceil(size / side) ** 2
        config = self.settled({**self.OWN, "patch_size": side, "patches": patches})
        config._check()
        return config

    def _check(self):
        from fundus_diag.models.layers.preprocessing import SMALLEST

        limits = {
            "image_size": (SMALLEST, 8192),
            "patch_size": (SMALLEST, 2048),
            "patches": (1, 10_000),
            "patch_share": (0, 1),
            "overlap": (0, 0.9),
            "miss_weight": (0, 1),
        }
        self.check(limits)
        if self.patch_size > self.image_size:
            raise UsageError(
                f"--patch-size {self.patch_size}: larger than --image-size {self.image_size}"
            )
        if self.cache == "none":
            raise UsageError("--cache none: patches are cut from decoded photographs: ram or disk")
        if len(set(self.classes)) < len(self.classes):
            raise UsageError("--classes: one stands twice")
