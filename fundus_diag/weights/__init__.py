"""Weights of encoders: published ones ported by name, and files of our own. Loading is strict."""

from pathlib import Path

from fundus_diag.errors import DataError, UsageError
from fundus_diag.weights.xception import imagenet_xception, port_xception, xception_from_file


def load_encoder(encoder, image_size, weights, build):
    """Encoder with the weights asked for.

    Args:
        encoder: name of the encoder.
        image_size: px.
        weights: "none", "imagenet" or a file: `.weights.h5` as `encoder.save_weights` writes it,
            or the `.h5` of `keras.applications.Xception` without its top.
        build: function of the image size that makes the encoder, `ENCODERS[encoder]`.

    Returns:
        (model, pretrained): `pretrained` is False for "none".

    Raises:
        UsageError: there are no such weights for this encoder.
        DataError: the file is missing, is no weights file, or does not fit.
    """
    model = build(image_size)
    if weights == "none":
        return model, False
    if weights == "imagenet":
        if encoder != "se_xception":
            raise UsageError(
                f"--weights imagenet: there are none for --encoder {encoder}; "
                "use --weights none or a file"
            )
        port_xception(imagenet_xception(), model)
        return model, True
    path = Path(weights)
    if not path.is_file():
        raise DataError(f"{path}: no such weights file (--weights imagenet | none | FILE)")
    try:
        if path.name.endswith(".weights.h5"):
            model.load_weights(path)
        elif path.suffix == ".h5" and encoder == "se_xception":
            port_xception(xception_from_file(path), model)
        else:
            raise DataError(f"{path}: weights of --encoder {encoder} end in .weights.h5")
    except DataError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path}: does not fit --encoder {encoder}: {reason}") from error
    return model, True
