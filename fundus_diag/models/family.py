"""What the file of a family of encoders says of them, beside the network itself."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Published:
    """Weights of ImageNet that a network is published with.

    Attributes:
        title: what is said of them.
        terms: their licence, and what else binds who uses them.
        suffix: of the files that they are published as, which `file` reads.
        imagenet: `imagenet(encoder)` sets the encoder to them; a `DataError` where they cannot be
            had.
        file: `file(path, encoder)`, the same from a file as upstream writes it.
    """

    title: str
    terms: str
    suffix: str
    imagenet: Callable
    file: Callable


@dataclass(frozen=True)
class Preset:
    """What is known of one encoder; the defaults serve one that nothing describes.

    Attributes:
        options: of the family's `feature_map`, where they are not its defaults.
        image_size: side of the pictures where no flag says, px.
        recipe: name of the schedule, in `training.recipes.RECIPES`, of its fine-tuning.
        published: the weights of "imagenet". None where there are none.
        decoder: blocks and channels of the decoder that pretrains it as a masked autoencoder.
            None is the published one.
        float32_on_cpu: whether it learns no slower in float32 than in bfloat16 on processors that
            have it (`benchmarks/train_step.py --throughout`): then `auto` takes float32.
    """

    options: dict = field(default_factory=dict)
    image_size: int = 224
    recipe: str = "se_xception"
    published: Published | None = None
    decoder: tuple | None = None
    float32_on_cpu: bool = False


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
