"""A run directory, read back: the model, what it was trained on, and its predictions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from fundus_diag.imaging import preprocess
from fundus_diag.metrics import calibration, classification
from fundus_diag.models.classifier import build_classifier
from fundus_diag.models.encoders import has_option
from fundus_diag.models.options import parse_options
from fundus_diag.models.weights.load import load_classifier
from fundus_diag.runs.run_files import read_config
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.utils.errors import DataError, UsageError

WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class Run:
    """A trained classifier with everything that its use needs.

    Attributes:
        run_dir: where it was read from.
        config: `config.json`.
        model: flat Keras classifier; pictures to logits, float32.
        points: operating points (`calibration.fit_operating_points`), None before they are fitted.
    """

    run_dir: Path
    config: dict
    model: object
    points: dict | None

    @property
    def labels(self):
        """Label names, in the order of the logits."""
        return tuple(self.config["labels"])

    @property
    def thresholds(self):
        """(L,) thresholds on the calibrated probability, NaN where a label has none."""
        return calibration.thresholds_array(self.points, self.labels)

    def call(self, probabilities):
        """Which labels calibrated probabilities (N, L) call: (N, L) bool.

        Labels at their thresholds (never one that has none), of grades the likeliest.
        """
        if self.config["task"] == "grade":
            return classification.call_grade(probabilities) == 1
        return np.asarray(probabilities) >= self.thresholds

    def predict(self, images, mask=None, batch_size=16):
        """Calibrated probabilities (N, L), computed in float32.

        Args:
            images: pictures (N, S, S, 3), RGB in [0, 255], or a list of photograph files. For runs
                over two eyes (N, 2, S, S, 3), left first, or a list of (left, right) files with
                None for a missing eye.
            mask: (N, 2), 1 where the eye was photographed; only with pairs of pictures, where None
                means all.
            batch_size: pictures (or pairs) at a time.

        Raises:
            DataError: a file cannot be read, or a patient has no eye at all.
        """
        if not hasattr(images, "shape"):
            images, mask = self._load(images)
        inputs = tf.constant(np.asarray(images, np.float32))
        if self.config["unit"] == "patient":
            mask = np.ones((len(images), 2)) if mask is None else np.asarray(mask)
            if (mask.sum(axis=1) == 0).any():
                raise DataError("a patient without any eye cannot be predicted")
            inputs = {"images": inputs, "mask": tf.constant(mask, tf.float32)}
        batches = tf.data.Dataset.from_tensor_slices(inputs).batch(batch_size)
        logits = self.model.predict(batches, verbose=0)
        return calibration.apply_calibration(logits, self.points, self.labels)

    def _load(self, files):
        size, crop = self.config["image_size"], self.config["crop"]
        if self.config["unit"] == "eye":
            return np.stack([preprocess.load_picture(f, size, crop) for f in files]), None
        blank = np.zeros((size, size, 3), np.float32)  # masked: the model does not see it
        mask = np.array([[eye is not None for eye in pair] for pair in files], np.float32)
        pictures = [
            [blank if eye is None else preprocess.load_picture(eye, size, crop) for eye in pair]
            for pair in files
        ]
        return np.array(pictures), mask


def load_run(run_dir, finished=True):
    """Opens a run.

    Args:
        run_dir: folder that `train` made.
        finished: whether the run has to be complete. False is for the training itself.

    Raises:
        DataError: no run is there, it is not finished, or its files do not fit each other.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir, finished)
    model = build_model(config)
    load_classifier(run_dir / WEIGHTS, model)
    path = run_dir / "thresholds.json"
    points = load_operating_points(path) if finished else None
    return Run(run_dir, config, model, points)


def build_model(config, weights=None):
    """The classifier that a `config.json` describes; `weights` as `build_classifier` takes them."""
    flags = config.get("flags", {})
    options = parse_options(config["encoder"], flags.get("encoder_options", ()))
    if flags.get("drop_path"):
        if not has_option(config["encoder"], "drop_path"):
            raise UsageError(
                f"--drop-path {flags['drop_path']} (given, or of --recipe {flags.get('recipe')}): "
                f"--encoder {config['encoder']} has none; --drop-path 0"
            )
        options["drop_path"] = flags["drop_path"]
    return build_classifier(
        config["encoder"],
        config["image_size"],
        len(config["labels"]),
        unit=config["unit"],
        weights=weights,
        pool=flags.get("pool", "mean"),
        ordinal=flags.get("grade_head") == "ordinal",
        dropout=flags.get("dropout", 0.5),
        **options,
    )
