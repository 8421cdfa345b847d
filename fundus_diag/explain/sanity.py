"""Sanity check of maps: they have to change when the network's weights are randomised.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.1, cascading randomisation from
the top down, https://arxiv.org/abs/1810.03292
"""

import keras
import numpy as np

from fundus_diag.explain.cam import maps
from fundus_diag.explain.faithfulness import rank_correlation


def cascade(model, images, method, labels, layers=None, mask=None, seed=0, batch_size=8):
    """Rank correlation of fused maps with those of a network randomised further and further down.

    The entries of each weight array are shuffled, which keeps their distribution: with values drawn
    anew the signal would die at the stored BatchNorm statistics, and the maps with it.

    Args:
        model, images, method, labels, layers, mask, batch_size: of `cam.maps`. The weights are as
            before when this returns.
        seed: of the shuffling.

    Returns:
        List of (stage, correlations): the block randomised last, "head" first, and an array of one
        Spearman correlation a map, NaN where one of the two is constant.
    """

    def draw():
        options = {"mask": mask, "batch_size": batch_size}
        found = maps(model, images, method, labels, layers, **options)
        return found.reshape(-1, *found.shape[-2:])

    before = {x.name: x.get_weights() for x in model.layers if x.weights}
    real, rng, stages = draw(), np.random.default_rng(seed), []
    try:
        for stage, names in _stages(model):
            for name in names:
                shuffled = [rng.permuted(w.ravel()).reshape(w.shape) for w in before[name]]
                model.get_layer(name).set_weights(shuffled)
            pairs = zip(real, draw(), strict=True)
            stages.append((stage, np.array([rank_correlation(a, b) for a, b in pairs])))
    finally:
        for name, weights in before.items():
            model.get_layer(name).set_weights(weights)
    return stages


def _stages(model):
    """[(name of a block, its layers)] from the head down; BatchNorm stays as it is."""
    blocks = {}
    for layer in reversed(model.layers):
        if layer.weights and not isinstance(layer, keras.layers.BatchNormalization):
            blocks.setdefault(layer.name.split("_")[0], []).append(layer.name)
    return list(blocks.items())
