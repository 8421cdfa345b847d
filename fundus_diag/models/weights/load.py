"""Weights of encoders: published ones ported by name, and files of our own. Loading is strict."""

from pathlib import Path

from fundus_diag.models.weights import h5
from fundus_diag.models.weights.keras_xception import (
    imagenet_xception,
    port_xception,
    port_xception_file,
)
from fundus_diag.models.weights.strict import fill, fit_positions, own_targets
from fundus_diag.utils.errors import DataError, UsageError

MOST_LISTED = 8  # differences of a file that was written for another encoder


def load_encoder(encoder, image_size, weights, build):
    """Encoder with the weights asked for.

    Args:
        encoder: name of the encoder.
        image_size: px.
        weights: "none", "imagenet" or a file: `.weights.h5` as `encoder.save_weights` and
            `fundus-diag port` write it, or the `.h5` of `keras.applications.Xception` without its
            top. A position embedding of another grid is resized. Where the file has no final
            `norm`, as after fine-tuning, the encoder has none.
        build: function of the image size, and options, that makes the encoder, `ENCODERS[encoder]`.

    Returns:
        (model, pretrained): `pretrained` is False for "none".

    Raises:
        UsageError: there are no such weights for this encoder.
        DataError: the file is missing, is no weights file, or does not fit.
    """
    if weights == "none":
        return build(image_size), False
    if weights == "imagenet":
        if encoder != "se_xception":
            raise UsageError(
                f"--weights imagenet: there are none for --encoder {encoder}; "
                "use --weights none or a file"
            )
        model = build(image_size)
        port_xception(imagenet_xception(), model)
        return model, True
    path = Path(weights)
    if not path.is_file():
        raise DataError(f"{path}: no such weights file (--weights imagenet | none | FILE)")
    if path.name.endswith(".weights.h5"):
        return _load_own(path, image_size, build), True
    if path.suffix == ".h5" and encoder == "se_xception":
        model = build(image_size)
        port_xception_file(path, model)
        return model, True
    raise DataError(
        f"{path}: weights of --encoder {encoder} end in .weights.h5; `fundus-diag port` makes them"
    )


def load_classifier(path, model):
    """Sets all weights of a classifier from the `.weights.h5` of a run.

    Raises:
        DataError: the file is missing, is no weights file, or does not fit.
    """
    fill(
        path, "the config.json beside it", own_targets(model), h5.own_arrays(path), most=MOST_LISTED
    )


def weights_record(weights):
    """Where a weights file comes from, as `fundus-diag port` recorded it; None where unknown.

    `weights` as in `load_encoder`.
    """
    return h5.read_record(weights) if str(weights).endswith(".weights.h5") else None


def _load_own(path, image_size, build):
    arrays = h5.own_arrays(path)
    model = build(image_size)
    targets = own_targets(model)
    if "norm/0" in targets and not any(key.startswith("norm/") for key in arrays):
        model = build(image_size, final_norm=False)
        targets = own_targets(model)
    arrays = fit_positions(targets, arrays, "pos_embed/0")
    fill(path, f"--encoder {model.name}", targets, arrays, most=MOST_LISTED)
    return model


# What `--weights` names on the command line, with its terms.
WEIGHT_TERMS = {
    "none": "none: trained from scratch",
    "imagenet": "ImageNet weights of keras.applications (Apache-2.0; ImageNet's own terms are "
    "for non-commercial research)",
}
