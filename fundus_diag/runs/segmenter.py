"""A segmenter's run directory, read back: the model, its thresholds, and what it says."""

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fundus_diag.imaging.preprocess import map_to_original
from fundus_diag.models.geometry import pixels
from fundus_diag.models.segmenter import build_segmenter, parse_decoder_options
from fundus_diag.models.weights.load import load_classifier
from fundus_diag.runs.contents import THRESHOLDS, WEIGHTS
from fundus_diag.runs.freeze import inference
from fundus_diag.runs.run import options_of
from fundus_diag.runs.run_files import SEGMENTER, read_config
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.runs.windows import over_windows
from fundus_diag.utils.mixed_precision import precision


@dataclass(frozen=True)
class Segmenter:
    """A trained segmenter.

    Attributes:
        run_dir: where it was read from.
        config: `config.json`.
        model: Keras model from pictures (B, P, P, 3) to logits (B, P, P, K), float32.
        points: thresholds.json.
        score: function of the same, traced or frozen.
        arithmetic: context that it is called in.
    """

    run_dir: Path
    config: dict
    model: object
    points: dict
    score: object
    arithmetic: object = contextlib.nullcontext

    @property
    def classes(self):
        """Names of the K classes, in the order of the logits."""
        return tuple(self.config["classes"])

    @property
    def labels(self):
        """The same names, as other programs are told them."""
        return self.classes

    def call(self, probabilities):
        """Which classes probabilities (.., K) call: bool."""
        return np.asarray(probabilities) >= self.thresholds

    @property
    def thresholds(self):
        """(K,) thresholds on the probability."""
        return np.array([self.points["labels"][x]["threshold"] for x in self.classes])

    def on_picture(self, picture):
        """Probabilities (S, S, K) float32 of a square picture (S, S, 3) in [0, 255]."""
        side, overlap = self.config["patch_size"], self.config["overlap"]
        with self.arithmetic():
            return over_windows(self.score, picture, side, overlap)

    def on_photograph(self, loaded):
        """Probabilities (H, W, K) float32 of a photograph; 0 outside of the square that was seen.

        `loaded`: `preprocess.Loaded` at the run's image size and crop.
        """
        said = self.on_picture(loaded.picture)
        height, width = loaded.photograph.shape[:2]
        return map_to_original(said[None], loaded.box, height, width, pixels(len(said)))[0].numpy()


def load_segmenter(run_dir, arithmetic="float32"):
    """`Segmenter` of a finished run.

    Args:
        run_dir: folder.
        arithmetic: see `freeze.frozen_precision`.

    Raises:
        DataError: there is none, it is of another task, or a file is damaged.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir, SEGMENTER)
    with precision("float32"):
        model = build_from(config)
    load_classifier(run_dir / WEIGHTS, model)
    points = load_operating_points(run_dir / THRESHOLDS)
    config = config | {"unit": "eye", "task": "multi_label"}  # each photograph by itself
    exact = functools.partial(precision, "float32")  # no TF32 on GPUs
    context = exact if arithmetic == "float32" else contextlib.nullcontext
    return Segmenter(run_dir, config, model, points, inference(model, arithmetic), context)


def build_from(config, weights=None):
    """The network that a segmenter's `config.json` describes.

    Args:
        config: of it, its facts and flags.
        weights: encoder to start from, or None.

    Raises:
        UsageError: an option or an encoder that does not fit.
    """
    flags, encoder, network = config["flags"], config["encoder"], config["network"]
    own = [flags.get(x) for x in ("encoder_options", "drop_path", "recipe")]
    return build_segmenter(
        network,
        encoder,
        config["patch_size"],
        len(config["classes"]),
        weights,
        decoder_options=parse_decoder_options(network, flags.get("decoder_options") or ()),
        **options_of(encoder, own[0] or (), *own[1:]),
    )
