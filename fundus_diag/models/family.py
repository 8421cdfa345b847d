"""What the file of a family of encoders says of them, beside the network itself."""

from dataclasses import dataclass, field
from types import ModuleType


@dataclass(frozen=True)
class Preset:
    """What is known of one encoder; the defaults serve one that nothing describes.

    Attributes:
        options: of the family's `feature_map`, where they are not its defaults.
        image_size: side of the pictures where no flag says, px.
        recipe: name of the schedule, in `training.recipes.RECIPES`, of its fine-tuning.
        keras_weights: module that ports the weights of a network of `keras.applications`, as
            `weights.keras_xception` does: `TITLE`, `port_imagenet(encoder)` for "imagenet" and
            `port_file(path, encoder)` for a `.h5`. None where there is no such network.
        decoder: blocks and channels of the decoder that pretrains it as a masked autoencoder.
            None is the published one.
    """

    options: dict = field(default_factory=dict)
    image_size: int = 224
    recipe: str = "se_xception"
    keras_weights: ModuleType | None = None
    decoder: tuple | None = None


@dataclass(frozen=True)
class Naming:
    """How one program names the arrays of a family: with `renames` its names become ours.

    Attributes:
        title: what is said and recorded of it.
        mark: pattern of names that only this naming has.
        renames: (pattern, replacement), applied one after the other.
        left_out: patterns of names, as the file has them, that are not for an encoder: heads and
            their norms, decoders of pretraining, counters.
        joint: pattern of renamed names whose array is that of queries, keys and values one after
            the other; its two groups are what stands before and behind `q`, `k` and `v`.
        note: what who ports such weights should know.
    """

    title: str
    mark: str
    renames: tuple
    left_out: tuple
    joint: str | None = None
    note: str = ""
