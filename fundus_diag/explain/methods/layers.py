"""The layers of a classifier that have places: which can be explained, and which first."""

import keras

from fundus_diag.models.classifier import cam_layers
from fundus_diag.models.layers.attention import AttentionWeights


def usable(model):
    """Names of the encoder's layers that put out maps, or tokens of more than one place."""
    return [x.name for x in model.layers if not x.name.startswith("head_") and _is_map(x)]


def scales(model):
    """Those of `classifier.cam_layers` that have more than one place: of small pictures not all."""
    there = usable(model)
    return tuple(name for name in cam_layers(model) if name in there)


def has_tokens(model, name):
    """Whether a layer puts out tokens (N, t, C) instead of a map (N, h, w, C)."""
    return len(model.get_layer(name).output.shape) == 3


def pooled_map(model):
    """Name of the layer that the head pools; None where that is a class token."""
    name = model.get_layer("head_pool").input._keras_history.operation.name
    return name if name in usable(model) else None


def last_map(model):
    """The layer that the head pools; behind a class token the last in which places matter."""
    pooled = pooled_map(model)
    return (pooled,) if pooled else scales(model)[-1:]


def _is_map(layer):
    if isinstance(layer, keras.layers.InputLayer | AttentionWeights):
        return False
    shape = getattr(layer.output, "shape", ())
    return len(shape) in (3, 4) and all(n is None or n > 1 for n in shape[1:-1])
