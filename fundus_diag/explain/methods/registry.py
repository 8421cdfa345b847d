"""The methods by name, those that a classifier has maps by, and the layers that they explain."""

import keras

from fundus_diag.explain.methods import attention
from fundus_diag.models.classifier import cam_layers
from fundus_diag.models.layers.attention import AttentionWeights
from fundus_diag.utils.errors import UsageError

METHODS = ("layer_cam", "grad_cam", "grad_cam_pp", "score_cam", *attention.METHODS, "vit_cx")
ENGINE = ("layer_cam", "grad_cam")  # for several layers at once, and for tokens
ONE_MAP = ("grad_cam_pp", "score_cam")  # one layer whose output is a map
SAME_FOR_ALL_LABELS = ("rollout",)


def method_name(text):
    """A method by its name here, however it is written: "LayerCAM", "layer-cam", "layercam"."""
    known = {name.replace("_", ""): name for name in METHODS}
    plain = text.lower().replace("-", "").replace("_", "").replace("++", "pp")
    plain = plain.removeprefix("attention")
    if plain not in known:
        raise UsageError(f"--methods {text}: there are {', '.join(METHODS)}")
    return known[plain]


def possible(model):
    """Those of `METHODS` that a classifier has maps by, at the layers that they take by default."""
    found = [x for x in METHODS if not _obstacle(model, x)]
    return tuple(x for x in found if x not in ONE_MAP or _pooled_map(model))


def layer_names(model, method, layers=None):
    """The layers to explain, checked; the defaults where `layers` is None.

    Empty for the methods that go through all blocks.

    Raises:
        UsageError: no such method or layer, or the network has no maps by this method; those that
            there are are named.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r}: there are {', '.join(METHODS)}")
    obstacle = _obstacle(model, method)
    if obstacle:
        raise UsageError(f"{method}: {obstacle}; possible: {', '.join(possible(model))}")
    if method in attention.METHODS:
        if layers:
            raise UsageError(f"--layers: {method} takes none, it goes through all blocks")
        return ()
    usable = _usable(model)
    layers = tuple(_default(model, method, usable) if layers is None else layers)
    wrong = [name for name in layers if name not in usable]
    if wrong or not layers:
        raise UsageError(
            f"layer {', '.join(wrong) or '(none)'}: the layers are {', '.join(usable)}"
        )
    if method not in ENGINE and len(layers) > 1:
        raise UsageError(f"--layers: {method} takes one layer, not {len(layers)}")
    if method in ONE_MAP and len(model.get_layer(layers[0]).output.shape) == 3:
        raise UsageError(f"{method}: {layers[0]} has tokens, not a map; use {' or '.join(ENGINE)}")
    return layers


def _obstacle(model, method):
    """Why a method has no maps of a network at all; empty where it has."""
    if method in attention.METHODS and not attention.has_attention(model):
        return f"{model.name} has no attention over its whole map"
    if method == "vit_cx" and not any(x.name.endswith(".attend") for x in model.layers):
        return f"{model.name} is no transformer"
    if method == "score_cam" and isinstance(model.input, dict):
        return "not for runs over two eyes"
    return ""


def _default(model, method, usable):
    if method == "layer_cam":
        return cam_layers(model)
    norms = [name for name in usable if name.endswith(".norm1")]
    if method == "vit_cx" and norms:
        return norms[-1:]  # what enters the last block, as in the authors' code
    # Where the head pools the class token, the last layer in which places still matter.
    return (_pooled_map(model) or cam_layers(model)[-1],)


def _pooled_map(model):
    """Name of the layer that the head pools; None where that is a class token."""
    name = model.get_layer("head_pool").input._keras_history.operation.name
    return name if name in _usable(model) else None


def _usable(model):
    return [x.name for x in model.layers if not x.name.startswith("head_") and _is_map(x)]


def _is_map(layer):
    """Whether a layer puts out maps (N, h, w, C) or tokens (N, t, C) of more than one place."""
    if isinstance(layer, keras.layers.InputLayer | AttentionWeights):
        return False
    shape = getattr(layer.output, "shape", ())
    return len(shape) in (3, 4) and all(n is None or n > 1 for n in shape[1:-1])
