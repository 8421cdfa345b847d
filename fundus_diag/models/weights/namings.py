"""Arrays of other programs under our names, by the `NAMINGS` of the families.

What a naming leaves out has no counterpart here. A joint `qkv` is three arrays.
"""

import re
from dataclasses import replace

from keras import layers

from fundus_diag.models.weights.strict import Target

POSITIONS = "pos_embed"
_SUFFIXES = {
    "kernel": ".weight",
    "gamma": ".weight",
    "bias": ".bias",
    "beta": ".bias",
    "moving_mean": ".running_mean",
    "moving_variance": ".running_var",
    "token": "",
    "embedding": "",
}
# PyTorch's (O, I, h, w) to (h, w, I, O), a channel's own (C, 1, h, w) to (h, w, C, 1), (O, I) to
# (I, O).
_AXES = {
    layers.Conv2D: (2, 3, 1, 0),
    layers.DepthwiseConv2D: (2, 3, 0, 1),
    layers.Dense: (1, 0),
}


def translate(naming, arrays):
    """({our name: Array}, {pattern: names left out by it}) of a file's arrays."""
    ours, left_out = {}, {}
    for name, array in arrays.items():
        pattern = next((p for p in naming.left_out if re.fullmatch(p, name)), None)
        if pattern:
            left_out.setdefault(pattern, []).append(name)
            continue
        for key, part in _split(naming, _rename(naming, name), array).items():
            # A second array of the same name is not used, and the file is refused for it.
            ours[f"{name} (again)" if key in ours else key] = part
    return ours, left_out


def torch_targets(model):
    """Variables of an encoder under our names with PyTorch's endings: {name: Target}."""
    targets = {}
    for layer in model.layers:
        for variable in layer.weights:
            axes = _AXES.get(type(layer)) if variable.name == "kernel" else None
            targets[layer.name + _SUFFIXES[variable.name]] = Target(variable, axes)
    return targets


def _rename(naming, name):
    for pattern, replacement in naming.renames:
        name = re.sub(pattern, replacement, name)
    return name


def _split(naming, name, array):
    """{name: Array}; the three parts of a joint one, (3 C, ...) to (C, ...) each."""
    joint = re.fullmatch(naming.joint, name) if naming.joint else None
    if not joint or not array.shape or array.shape[0] % 3:
        return {name: array}
    width = array.shape[0] // 3

    def part(k):
        return lambda: array.read()[k * width : (k + 1) * width]

    return {
        f"{joint[1]}{kind}{joint[2]}": replace(
            array,
            name=f"{array.name} ({kind})",
            shape=(width, *array.shape[1:]),
            read=part(k),
        )
        for k, kind in enumerate("qkv")
    }
