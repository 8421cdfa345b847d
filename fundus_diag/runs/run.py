"""A run directory, read back: the model, what it was trained on, and its predictions."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from fundus_diag.data.labels import EYES
from fundus_diag.data.pairing import stack_eyes
from fundus_diag.imaging import preprocess
from fundus_diag.metrics import calibration, classification
from fundus_diag.models.classifier import build_classifier
from fundus_diag.models.encoders import has_option
from fundus_diag.models.options import parse_options
from fundus_diag.models.weights.load import load_classifier
from fundus_diag.runs.contents import THRESHOLDS, WEIGHTS
from fundus_diag.runs.familiarity import read_familiarity
from fundus_diag.runs.quality import read_limits
from fundus_diag.runs.run_files import read_config
from fundus_diag.runs.thresholds import load_operating_points
from fundus_diag.utils.errors import DataError, UsageError
from fundus_diag.utils.mixed_precision import precision

SLACK = 1e-3  # beyond [0, 255], of who computed in fractions
# Of the network, beside what config.json says first: its encoder, size, unit and labels.
OWN_FLAGS = ("encoder_options", "drop_path", "recipe", "pool", "grade_head", "dropout")


@dataclass(frozen=True, repr=False)
class Run:
    """A trained classifier with everything that its use needs.

    Attributes:
        run_dir: where it was read from.
        config: `config.json`.
        model: flat Keras classifier; pictures to logits, float32.
        points: operating points (`calibration.fit_operating_points`), None before they are fitted.
        limits: that its training photographs keep (`quality.read_limits`), None of older runs.
        familiar: what they look like (`familiarity.read_familiarity`), None of older runs.
    """

    run_dir: Path
    config: dict
    model: object
    points: dict | None
    limits: dict | None = None
    familiar: dict | None = None

    def __repr__(self) -> str:
        what, size = self.config["encoder"], self.config["image_size"]
        labels = ", ".join(self.labels[:8]) + (" .." if len(self.labels) > 8 else "")
        both = " of both eyes" if self.config["unit"] == "patient" else ""
        return f"<Run {self.run_dir}: {what}, {size} px{both}; {labels}>"

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the logits."""
        return tuple(self.config["labels"])

    @property
    def thresholds(self) -> np.ndarray:
        """(L,) thresholds on the calibrated probability, NaN where a label has none."""
        return calibration.thresholds_array(self.points, self.labels)

    def call(self, probabilities: np.ndarray) -> np.ndarray:
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
            DataError: a file cannot be read, the pictures have another shape, type or range, there
                is none, or a patient has no eye at all.
        """
        if not hasattr(images, "shape"):
            images, mask = self._load(list(images))
        images = self._checked(np.asarray(images))
        pair = self.config["unit"] == "patient"
        mask = _checked_mask(mask, len(images), pair)
        inputs = tf.constant(images)
        if pair:
            inputs = {"images": inputs, "mask": tf.constant(mask)}
        with precision("float32"):
            batches = tf.data.Dataset.from_tensor_slices(inputs).batch(batch_size)
            logits = self.model.predict(batches, verbose=0)
        return calibration.apply_calibration(logits, self.points, self.labels)

    def _checked(self, images):
        """Pictures as float32, or a DataError that says what is expected and what came."""
        size = self.config["image_size"]
        eyes = (2,) if self.config["unit"] == "patient" else ()
        shape = (*eyes, size, size, 3)
        expected = f"pictures (N, {', '.join(map(str, shape))}), RGB in [0, 255], are expected"
        if images.shape[1:] != shape:
            raise DataError(f"{expected}; these have the shape {images.shape}")
        if not len(images):
            raise DataError(f"{expected}; there is none")
        if images.dtype.kind not in "uif":
            raise DataError(f"{expected}; these are of type {images.dtype}")
        low, high = images.min(), images.max()
        if not (low >= -SLACK and high <= 255 + SLACK):  # what is no number fails as well
            raise DataError(f"{expected}; these lie from {low:g} to {high:g}")
        images = images.astype(np.float32)
        if high <= 1 and (images % 1).any():
            raise DataError(f"{expected}; these lie from {low:g} to {high:g}: multiply by 255?")
        return images

    def check_listed(self, files):
        """Refuses a list that is none of photograph files, of pairs where the run reads both eyes.

        Raises:
            DataError: it is empty, or holds something else.
        """
        pair = self.config["unit"] == "patient"
        what = "(left, right) photograph files" if pair else "photograph files"
        if not files:
            raise DataError(f"a list of {what} is expected; it is empty")
        for item in files:
            eyes = list(item) if pair and isinstance(item, tuple | list) else [item]
            fine = all(isinstance(x, str | os.PathLike) or (pair and x is None) for x in eyes)
            if not fine or len(eyes) != 1 + pair:
                found = type(item).__name__
                raise DataError(f"a list of {what}, or an array, is expected; it holds a {found}")

    def _load(self, files):
        self.check_listed(files)
        size, crop = self.config["image_size"], self.config["crop"]
        if self.config["unit"] == "eye":
            return np.stack([preprocess.load_picture(f, size, crop) for f in files]), None
        named = [dict(zip(EYES, pair, strict=True)) for pair in files]
        return stack_eyes(
            [
                {eye: preprocess.load_picture(f, size, crop) for eye, f in pair.items() if f}
                for pair in named
            ],
            size,
        )


def _checked_mask(mask, count, pair):
    """The mask of pairs as (N, 2) float32 of 1 and 0; None of single eyes."""
    if not pair:
        if mask is not None:
            raise DataError("a mask is for runs over two eyes; this one reads single ones")
        return None
    mask = np.ones((count, 2)) if mask is None else np.asarray(mask)
    if mask.shape != (count, 2) or mask.dtype.kind not in "buif" or not np.isin(mask, (0, 1)).all():
        raise DataError(f"a mask ({count}, 2) of 1 and 0 is expected, not {mask.shape}")
    if (mask.sum(axis=1) == 0).any():
        raise DataError("a patient without any eye cannot be predicted")
    return mask.astype(np.float32)


def load_run(run_dir, config=None, kind=Run):
    """Opens a finished run.

    Args:
        run_dir: folder that `train` made.
        config: its config.json, where `read_config` has read it already.
        kind: `Run`, or a class of the same attributes.

    Raises:
        DataError: no run is there, it is not finished, or its files do not fit each other.
    """
    run_dir = Path(run_dir)
    config = config or read_config(run_dir)
    with precision("float32"):  # whatever the policy outside
        model = build_model(**network(config))
    load_classifier(run_dir / WEIGHTS, model)
    points = load_operating_points(run_dir / THRESHOLDS)
    familiar = read_familiarity(run_dir, model)
    return kind(run_dir, config, model, points, read_limits(run_dir), familiar)


def network(config):
    """Arguments of `build_model` by a run's config.json."""
    flags = config["flags"]
    own = {name: flags[name] for name in OWN_FLAGS if name in flags}
    facts = {name: config[name] for name in ("encoder", "image_size", "unit")}
    if config.get("task") == "findings":
        own["phrases"] = [config["phrases"][label] for label in config["labels"]]
    return {**facts, "num_labels": len(config["labels"]), **own}


def build_model(
    encoder,
    image_size,
    num_labels,
    unit,
    *,
    encoder_options=(),
    drop_path=0.0,
    recipe=None,
    pool="mean",
    grade_head="softmax",
    dropout=0.5,
    phrases=None,
    weights=None,
):
    """The classifier of a run, by the values of its flags; see `TrainConfig`.

    Args:
        weights: encoder to start from, as `build_classifier` takes it.
        phrases: of --task findings, the texts of each label.
        recipe: where `drop_path` may come from, for the message.

    Raises:
        UsageError: the encoder does not have what a flag asks for.
    """
    options = options_of(encoder, encoder_options, drop_path, recipe)
    return build_classifier(
        encoder,
        image_size,
        num_labels,
        unit=unit,
        weights=weights,
        pool=pool,
        ordinal=grade_head == "ordinal",
        dropout=dropout,
        phrases=phrases,
        **options,
    )


def options_of(encoder, encoder_options=(), drop_path=0.0, recipe=None):
    """Options of a run's encoder, by the values of its flags; see `build_model`.

    Raises:
        UsageError: the encoder does not have what a flag asks for.
    """
    options = parse_options(encoder, encoder_options)
    if drop_path:
        if not has_option(encoder, "drop_path"):
            raise UsageError(
                f"--drop-path {drop_path} (given, or of --recipe {recipe}): "
                f"--encoder {encoder} has none; --drop-path 0"
            )
        options["drop_path"] = drop_path
    return options
