"""Weights of the networks of `keras.applications`, which Keras downloads or has in its cache."""

from dataclasses import replace

import keras

from fundus_diag.models.family import Published
from fundus_diag.models.weights.h5 import keras_arrays
from fundus_diag.models.weights.strict import Array, fill, own_targets
from fundus_diag.utils.errors import DataError

IMAGENET = "ImageNet's own terms are for non-commercial research"


def published(network, licence, renamed=None, mirrored=()):
    """`Published` weights of a network that is built as Keras builds it.

    Args:
        network: its name in `keras.applications`.
        licence: of the weights, by Keras's documentation.
        renamed: function that gives {Keras's name: ours}, of the layers that are called otherwise
            here, for a list of Keras's names.
        mirrored: names of convolutions whose input is RGB here and was BGR there.
    """

    def filled(path, source, encoder):
        ours, arrays = renamed(list(source)) if renamed else {}, {}
        for layer, found in source.items():
            for i, array in enumerate(found):
                flip = layer in mirrored and i == 0
                array = replace(array, read=_mirrored(array)) if flip else array
                arrays[f"{ours.get(layer, layer)}/{i}"] = array
        fill(path, f"--encoder {encoder.name}", own_targets(encoder), arrays)

    title = f"keras.applications.{network}"
    return Published(
        title=title,
        terms=f"{licence}, by Keras's documentation; {IMAGENET}",
        suffix=".h5",
        imagenet=lambda encoder: filled(title, arrays_of(fetched(network)), encoder),
        file=lambda path, encoder: filled(path, keras_arrays(path), encoder),
    )


def fetched(network):
    """A network of `keras.applications`, without top, with the weights of ImageNet.

    Raises:
        DataError: they can be had neither from the network nor from Keras's cache.
    """
    try:
        return getattr(keras.applications, network)(weights="imagenet", include_top=False)
    except Exception as error:  # Keras raises a bare Exception when the download fails
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            "--weights imagenet: the weights could not be fetched and are not in Keras's cache "
            f"({reason}); give the file with --weights FILE, or train with --weights none"
        ) from error


def arrays_of(model):
    """{layer: [Array, ..]} of the layers of a network that have any."""
    return {
        layer.name: [
            Array(f"{layer.name}/{i}", x.shape, str(x.dtype), lambda x=x: x)
            for i, x in enumerate(layer.get_weights())
        ]
        for layer in model.layers
        if layer.weights
    }


def _mirrored(array):
    """Reads a kernel (h, w, I, O) with its inputs in the opposite order."""
    return lambda: array.read()[:, :, ::-1]
