"""Weights of encoders: published ones ported by name, and files of our own. Loading is strict."""

import re
from pathlib import Path

from fundus_diag.models.encoders import build_encoder, has_option, preset_of
from fundus_diag.models.weights import h5
from fundus_diag.models.weights.namings import POSITIONS
from fundus_diag.models.weights.strict import fill, fit_positions, own_targets
from fundus_diag.utils.errors import DataError, UsageError

MOST_LISTED = 8  # differences of a file that was written for another encoder


def weight_terms(encoder, weights):
    """What an encoder started from, `--weights` of its run, with its terms: one line."""
    if weights == "none":
        return "none: trained from scratch"
    upstream = preset_of(encoder).published
    if weights == "imagenet" and upstream is not None:
        return f"ImageNet weights of {upstream.title} ({upstream.terms})"
    name = re.split(r"[/\\]", str(weights))[-1]
    return f"the file {name}: its owner's terms apply"


def load_encoder(encoder, image_size, weights, **options):
    """Encoder with the weights asked for.

    Args:
        encoder: name in `ENCODERS`.
        image_size: px.
        weights: "none", "imagenet" or a file: `.weights.h5` as `encoder.save_weights` and
            `fundus-diag port` write it, that of a run, whose head is left out, or one as the
            encoder's weights of ImageNet are published.
            A position embedding of another grid is resized. Where the file has no final `norm`, as
            after fine-tuning, the encoder has none.
        **options: of the encoder.

    Returns:
        (model, pretrained): `pretrained` is False for "none".

    Raises:
        UsageError: there are no such weights for this encoder.
        DataError: the file is missing, is no weights file, or does not fit.
    """
    if weights == "none":
        return build_encoder(encoder, image_size, **options), False
    upstream = preset_of(encoder).published
    if weights == "imagenet":
        if upstream is None:
            raise UsageError(
                f"--weights imagenet: there are none for --encoder {encoder}; "
                "use --weights none or a file"
            )
        model = build_encoder(encoder, image_size, **options)
        upstream.imagenet(model)
        return model, True
    path = Path(weights)
    if not path.is_file():
        raise DataError(f"{path}: no such weights file (--weights imagenet | none | FILE)")
    if path.name.endswith(".weights.h5"):
        return _load_own(path, encoder, image_size, options), True
    if upstream is not None and path.suffix == upstream.suffix:
        model = build_encoder(encoder, image_size, **options)
        upstream.file(path, model)
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


def _load_own(path, encoder, image_size, options):
    arrays = {k: v for k, v in h5.own_arrays(path).items() if not k.startswith("head_")}
    if has_option(encoder, "final_norm") and not any(key.startswith("norm/") for key in arrays):
        options = {**options, "final_norm": False}
    model = build_encoder(encoder, image_size, **options)
    targets = own_targets(model)
    arrays = fit_positions(targets, arrays, f"{POSITIONS}/0")
    fill(path, f"--encoder {model.name}", targets, arrays, most=MOST_LISTED)
    return model
