"""Everything that decides a pretraining run, with its defaults, units and ranges.

Defaults of the method are those of He et al. 2022, table 8, https://arxiv.org/abs/2111.06377, but
for epochs, warm-up and batch size, which were for 1.3 million pictures, and the decoders of small
encoders.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from fundus_diag.data.labels import SPLITS
from fundus_diag.training.run_config import RunConfig
from fundus_diag.utils.errors import UsageError

# With fewer photographs a step the rate falls by the square root, as Adam's should: Malladi et al.
# 2022, https://arxiv.org/abs/2205.10287. In proportion, small steps would hardly learn.
PUBLISHED_RATE, PUBLISHED_BATCH = 2.4e-3, 4096


@dataclasses.dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Pretrain an encoder on photographs without labels, as a masked autoencoder."""

    manifest: Path
    """Table of photographs: image, patient, eye, and split where there is one. Labels are not
    read."""

    splits: tuple[Literal[*SPLITS], ...] = ("train",)
    """Rows to learn from. A table without a column split is taken whole."""
    val_loss: bool = False
    """Report the loss on the rows of val after every epoch; nothing is chosen by it."""
    encoder: str = "mae_vit_tiny"
    """Network: mae_vit_tiny or another ViT. A name that is unknown lists all."""
    image_size: int = 224
    """Side of the square picture the network sees, px; a multiple of 16."""

    mask_ratio: float = 0.75
    """Share of the patches that are hidden."""
    decoder_depth: int | None = None
    """Blocks of the decoder. Default: the published 8, fewer beside a small encoder."""
    decoder_width: int | None = None
    """Channels of the decoder, a multiple of 32. Default: the published 512, fewer beside a small
    encoder."""
    normalise_target: bool = True
    """Standardising each patch by its own mean and deviation before it is painted."""

    epochs: int = 200
    """Times that every photograph is seen."""
    warmup_epochs: int = 15
    """Epochs over which the rate rises from 0; then it falls to 0 along a cosine."""
    batch_size: int = 64
    """Photographs per step."""
    rate: float | None = None
    """Highest learning rate. Default: the published 2.4e-3 for 4096 photographs a step, less by the
    square root of their number for fewer: 3e-4 for 64."""
    weight_decay: float = 0.05
    """Decoupled weight decay (AdamW) of the kernels; biases, norms and tokens are spared."""
    augment: bool = True
    """Mirror, and cut a random square out of each photograph."""
    smallest_crop: float = 0.2
    """Least share of the photograph's area in that square; 1: the whole photograph."""
    source_size: int | None = None
    """Side of the picture that the square is cut from, px; above --image-size the cut stays
    sharper, for more memory. Default: --image-size."""

    pictures_every: int = 10
    """Epochs between pictures of the reconstruction; 0: only at the end."""

    def resolved(self):
        """The same with every default filled in.

        Raises:
            UsageError: a value out of its range, or flags that contradict each other.
        """
        # Here, and not above: it imports Keras.
        from fundus_diag.models.masked_autoencoder import decoder_of

        depth, width = decoder_of(self.encoder)
        defaults = {
            "decoder_depth": depth,
            "decoder_width": width,
            "source_size": self.image_size,
            "rate": PUBLISHED_RATE * min(1.0, self.batch_size / PUBLISHED_BATCH) ** 0.5,
        }
        missing = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        # In the order of the splits, each once: the same rows are the same run.
        splits = tuple(x for x in SPLITS if x in self.splits)
        config = dataclasses.replace(self, **missing, splits=splits)
        config._check()
        return config

    def _check(self):
        from fundus_diag.models.layers.preprocessing import LARGEST, SMALLEST

        self.check(
            {
                "image_size": (2 * SMALLEST, LARGEST),
                "source_size": (2 * SMALLEST, 2 * LARGEST),
                "mask_ratio": (0.05, 0.95),
                "decoder_depth": (1, 64),
                "decoder_width": (32, 4096),
                "epochs": (1, 100_000),
                "warmup_epochs": (0, 10_000),
                "batch_size": (1, 65_536),
                "rate": (0, 1),
                "weight_decay": (0, 1),
                "smallest_crop": (0.01, 1),
                "pictures_every": (0, 100_000),
            },
        )
        if self.warmup_epochs >= self.epochs:
            raise UsageError(f"--warmup-epochs {self.warmup_epochs}: not below --epochs")
        if not self.splits:
            raise UsageError("--splits: name one of train, val, test at least")
        if self.val_loss and "val" in self.splits:
            raise UsageError("--val-loss: val is not held out with --splits val")
        if self.source_size != self.image_size and not self.augment:
            raise UsageError("--source-size: only with random crops, not with --no-augment")
