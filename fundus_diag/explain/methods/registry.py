"""The methods by name, those that a classifier has maps by, and the layers that they explain.

A method is a file beside this one and a row of `METHODS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fundus_diag.explain.methods import attention, gradients, score_cam, vit_cx, words
from fundus_diag.explain.methods.layers import has_tokens, last_map, pooled_map, scales, usable
from fundus_diag.models import geometry
from fundus_diag.utils.errors import UsageError


@dataclass(frozen=True)
class Method:
    """What has to be known of a method.

    Attributes:
        make: function (name of the method, model, layers, `Settings`) to a function (inputs, chosen
            (B, K) numbers of logits) to raw maps, not below 0: a list of (N, h, w, K), one a layer.
            N is B, or 2 B for pairs of eyes, whose inputs are a dict of `images` and `mask`.
        layers: how many it takes: "several", "one", or "none", as it goes through all blocks.
        default: function of the model to the layers that it takes where none are named.
        grids: function (model, layers) to where the cells of its raw maps stand, a `geometry.Grid`
            for each.
        tokens: whether these may put out tokens instead of a map.
        eigen: whether it knows `eigen_smooth`.
        shallow: whether maps of fine layers are scaled as LayerCAM does before they are fused.
        all_labels: whether all labels of a picture cost it what one does.
        slow: whether it runs the network hundreds of times for a picture. It is left out where no
            method is named.
        same_for_all_labels: whether it asks where the network looks, not for which label.
        obstacle: function of the model to why it has no maps by this method; "" where it has.
    """

    make: Callable
    layers: str = "one"
    default: Callable = last_map
    grids: Callable = geometry.grids
    tokens: bool = True
    eigen: bool = False
    shallow: bool = True
    all_labels: bool = False
    slow: bool = False
    same_for_all_labels: bool = False
    obstacle: Callable = lambda model: ""


METHODS = {
    "layer_cam": Method(gradients.make, layers="several", default=scales, eigen=True),
    "grad_cam": Method(gradients.make, layers="several", eigen=True),
    "grad_cam_pp": Method(gradients.make, tokens=False),
    "score_cam": Method(score_cam.make, tokens=False, all_labels=True, obstacle=score_cam.no_pairs),
    "rollout": Method(
        attention.make,
        layers="none",
        grids=attention.grids,
        shallow=False,
        same_for_all_labels=True,
        obstacle=attention.obstacle,
    ),
    "chefer": Method(
        attention.make,
        layers="none",
        grids=attention.grids,
        shallow=False,
        obstacle=attention.obstacle,
    ),
    "words": Method(
        words.make,
        layers="none",
        grids=words.grids,
        shallow=False,
        all_labels=True,
        obstacle=words.obstacle,
    ),
    "vit_cx": Method(
        vit_cx.make,
        default=vit_cx.last_tokens,
        shallow=False,
        all_labels=True,
        slow=True,
        obstacle=vit_cx.obstacle,
    ),
}


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
    found = [name for name, method in METHODS.items() if not method.obstacle(model)]
    return tuple(name for name in found if METHODS[name].tokens or pooled_map(model))


def layer_names(model, method, layers=None):
    """The layers to explain, checked; the defaults where `layers` is None.

    Empty for the methods that go through all blocks.

    Raises:
        UsageError: no such method or layer, or the network has no maps by this method; those that
            there are are named.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r}: there are {', '.join(METHODS)}")
    known = METHODS[method]
    obstacle = known.obstacle(model)
    if obstacle:
        raise UsageError(f"{method}: {obstacle}; possible: {', '.join(possible(model))}")
    if known.layers == "none":
        if layers:
            raise UsageError(f"--layers: {method} takes none, it goes through all blocks")
        return ()
    there = usable(model)
    layers = tuple(known.default(model) if layers is None else layers)
    wrong = [name for name in layers if name not in there]
    if wrong or not layers:
        raise UsageError(f"--layers {' '.join(wrong)}: there are {', '.join(there)}")
    if known.layers == "one" and len(layers) > 1:
        raise UsageError(f"--layers: {method} takes one layer, not {len(layers)}")
    if not known.tokens and has_tokens(model, layers[0]):
        others = " or ".join(name for name, x in METHODS.items() if x.layers == "several")
        raise UsageError(f"{method}: {layers[0]} has tokens, not a map; use {others}")
    return layers
